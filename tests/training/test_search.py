"""Searches and single trainables on real Ray: plain tasks for generators, Tune for the rest."""

import csv
import io
import json
import sys
import time
from types import SimpleNamespace

import pytest
import ray
from rich.console import Console
from sqlalchemy import make_url, text

from tests.specs import small_ppo
from trainyard.errors import InvalidConfiguration
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.recording.database import open_database
from trainyard.runs.job import Job
from trainyard.runs.run import Identity
from trainyard.runs.storage import at_directory
from trainyard.search import driver, on_tasks
from trainyard.search.awaited import MetricNotReported
from trainyard.search.driver import AllTrialsFailed, AllTrialsRefused, try_environments
from trainyard.search.trainables import load
from trainyard.search.worker import STARTED
from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse

pytestmark = pytest.mark.usefixtures("ray_session")


def run(folder, spec):
    spec = normalise_numbers({"seed": 1} | spec)
    progress = Progress(ProgressFile(folder / "progress.jsonl", "job"))
    started = Job(
        Identity("search"), parse(spec), {"spec": spec}, at_directory(folder), progress, Console(file=io.StringIO())
    )
    summary = driver.run(started)
    progress.finish(summary=summary)
    last = json.loads((folder / "progress.jsonl").read_text().splitlines()[-1])
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text())))
    return SimpleNamespace(summary=summary, last=last, rows=rows)


def grid(function, values, config=None, **fields):
    return {
        "trainable": {"function": f"functions:{function}", "config": config or {}},
        "search": {
            "parameters": [{"path": "trainable.config.x", "grid": values}],
            "metric": "reward",
            "mode": "max",
            "resourcesPerTrial": {"cpu": 0.5},
        }
        | fields,
    }


def at_the_same_time(folder):
    """The most trials that ran at one moment."""
    moments = [(float(path.read_text()), 1 if path.suffix == ".begin" else -1) for path in folder.iterdir()]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most


@pytest.mark.parametrize(("function", "processes"), [("generator", 2), ("reporting", 0)])
def test_processes_are_prepared_for_the_first_trials_where_ray_gives_them_these(function, processes, monkeypatch):
    monkeypatch.setattr(on_tasks, "_TUNE_MODULES", ())  # other tests have imported it into this process
    specification = parse(normalise_numbers(grid(function, [1, 2, 3], maxConcurrentTrials=2)))
    prepared = ray.get(on_tasks.prepare(specification))
    assert [kind for kind, _ in prepared] == [STARTED] * processes


def test_a_grid_of_a_generator_runs_as_tasks_within_its_limit(tmp_path):
    assert on_tasks.suits(load("functions:generator")) or "ray.tune" in sys.modules
    (tmp_path / "marks").mkdir()
    config = {"marks": str(tmp_path / "marks"), "seconds": 0.2}
    done = run(tmp_path, grid("generator", [1, 2, 3, 4, 5, 6], config, maxConcurrentTrials=2))
    assert at_the_same_time(tmp_path / "marks") == 2
    assert [row["state"] for row in done.rows] == ["Succeeded"] * 6
    assert [row["epochs"] for row in done.rows] == ["3"] * 6
    assert done.summary["bestTrial"] == "6"
    assert done.summary["bestValue"] == 12
    assert done.last["trials"]["best"]["parameters"] == {"x": 6}
    assert done.last["progress"]["percent"] == 100


def test_the_last_value_compares_trials_on_request(tmp_path):
    done = run(tmp_path, grid("generator", [1, 2], best="Last"))
    assert (done.summary["bestTrial"], done.summary["bestValue"]) == ("2", 2)


def test_a_trial_that_fails_does_not_end_the_search(tmp_path):
    done = run(tmp_path, grid("failing", [1, 2, 3], maxConcurrentTrials=3))
    assert [row["state"] for row in done.rows] == ["Succeeded", "Failed", "Succeeded"]
    assert done.rows[1]["error"] == "ArithmeticError: two is too many"
    assert (done.summary["succeeded"], done.summary["failed"]) == (2, 1)


def test_a_search_whose_trials_all_fail_has_failed(tmp_path):
    with pytest.raises(AllTrialsFailed, match="ArithmeticError: never"):
        run(tmp_path, grid("always_failing", [1, 2]))


def test_a_trial_ends_at_a_stop_criterion(tmp_path):
    done = run(tmp_path, grid("generator", [1], {"epochs": 1000}) | {"stop": {"iterations": 4}})
    assert done.rows[0]["epochs"] == "4"


def test_a_function_that_does_not_exist_is_refused_before_any_trial(tmp_path):
    with pytest.raises(InvalidConfiguration, match="did you mean 'generator'"):
        run(tmp_path, grid("generatr", [1, 2]))


def test_a_single_trainable_is_one_trial(tmp_path):
    done = run(tmp_path, {"trainable": {"function": "functions:generator", "config": {"x": 3}}})
    assert done.summary["reward"] == 3
    assert "trials" not in done.last
    assert done.last["progress"] == {"percent": 100, "iteration": 3}


@pytest.mark.parametrize(("function", "best"), [("reporting", 4), ("returning", 2)])
def test_functions_of_tunes_api_run_under_tune(tmp_path, function, best):
    done = run(tmp_path, grid(function, [1, 2], maxConcurrentTrials=2))
    assert [row["state"] for row in done.rows] == ["Succeeded"] * 2
    assert (done.summary["bestTrial"], done.summary["bestValue"]) == ("2", best)


def test_a_trial_that_fails_under_tune_says_what_it_raised(tmp_path):
    done = run(tmp_path, grid("failing_under_tune", [1, 2, 3]))
    assert [row["state"] for row in done.rows] == ["Failed", "Failed", "Succeeded"]
    errors = [row["error"] for row in done.rows]
    assert errors == ["ArithmeticError: one is too few", "ArithmeticError: two is too many", ""]
    assert done.last["trials"]["items"][1]["error"] == "ArithmeticError: two is too many"


def test_a_trial_whose_process_dies_under_tune_says_so(tmp_path):
    with pytest.raises(AllTrialsFailed, match="the first: ActorDiedError: "):
        run(tmp_path, grid("killed", [1]))


def test_an_algorithms_trial_that_fails_says_what_its_environment_raised(tmp_path):
    spec = {
        "algorithm": {"name": "PPO"},
        "environment": {"name": "environments:Broken"},
        "sampling": {"envRunners": 0},
        "stop": {"iterations": 1},
        "search": {
            "parameters": [{"path": "algorithm.config.lr", "grid": [0.001]}],
            "metric": "train/return_mean",
            "mode": "max",
        },
    }
    with pytest.raises(AllTrialsFailed, match="the first: ZeroDivisionError: the simulator has no more fuel"):
        run(tmp_path, spec)


def search_over(path, values, **environment):
    return {
        "algorithm": {"name": "PPO", "config": {"train_batch_size_per_learner": 200, "minibatch_size": 100}},
        "environment": environment,
        "sampling": {"envRunners": 0},
        "stop": {"iterations": 1},
        "search": {"parameters": [{"path": path, "grid": values}], "metric": "train/return_mean", "mode": "max"},
    }


def test_a_search_whose_trials_all_meet_numbers_that_are_not_finite_is_the_users_error(tmp_path):
    spec = search_over("algorithm.config.lr", [0.001], name="environments:Spoilt")
    with pytest.raises(AllTrialsRefused, match=r"the first: NonFiniteNumber: environment 0 of .*: the reward is nan"):
        run(tmp_path, spec)


def test_environments_that_only_some_trials_have_are_tried_before_the_first(ray_session):
    spec = search_over("environment.config.length", [10, 20, "long"], name="environments:Constant")
    points = [{"environment.config.length": value} for value in (10, 20, "long")]
    with pytest.raises(InvalidConfiguration, match=r"with environment.config.length long: .*step\(\) raised TypeError"):
        try_environments(spec, points)


def test_an_algorithm_is_searched_and_each_trial_keeps_its_checkpoint(tmp_path):
    driver = {
        "parameters": [{"path": "algorithm.config.lr", "grid": [0.001, 0.01]}],
        "metric": "train/return_mean",
        "mode": "max",
    }
    done = run(tmp_path, small_ppo(stop={"iterations": 2}, search=driver))
    assert [(row["lr"], row["epochs"], row["state"]) for row in done.rows] == [
        ("0.001", "2", "Succeeded"),
        ("0.01", "2", "Succeeded"),
    ]
    for trial in ("trial-1", "trial-2"):
        assert (tmp_path / "trials" / trial / "checkpoints" / "2" / "trainyard.json").exists()
        assert (tmp_path / "trials" / trial / "progress.csv").exists()


def recorded(folder, query, url=None):
    """Rows of the search's own SQLite file, or of the database at `url`."""
    engine = open_database(url or f"sqlite:///{folder}/database/recording.sqlite")
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()
    return found


GAPS = """
select e.episode from episodes e left join steps s on s.run_id = e.run_id and s.episode = e.episode
group by e.run_id, e.episode, e.length having count(s.t) <> e.length or max(s.t) <> e.length - 1
"""


def recorded_search(values, environment="CartPole-v1", **fields):
    sections = {
        "environment": {"name": environment},
        "sampling": {"envRunners": 0, "envsPerRunner": 2},
        "stop": {"iterations": 2},
        "evaluation": {"everyIterations": 2, "episodes": 2},
        "recording": {"steps": "All"},
        "search": {
            "parameters": [{"path": "algorithm.config.lr", "grid": values}],
            "metric": "train/return_mean",
            "mode": "max",
            "maxConcurrentTrials": 2,
            "resourcesPerTrial": {"cpu": 0.5},
        },
    }
    return small_ppo(**sections | fields)


def own_database(server):
    """A new database of a server that other tests use, too."""
    name = f"search_{time.monotonic_ns()}"
    engine = open_database(server).execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine.dispose()
    return str(make_url(server).set(database=name))


def test_two_trials_at_once_write_into_one_postgresql_what_they_counted(tmp_path, postgresql_url, monkeypatch):
    url = own_database(postgresql_url)
    monkeypatch.setenv("TRAINYARD_DATABASE_URL", url)
    recording = {"steps": "All", "database": {"secretRef": {"name": "database"}}}
    values = [0.001, 0.01, 0.1]
    # Remote env runners, which have to find out whose they are.
    sampling = {"envRunners": 1, "envsPerRunner": 2, "cpusPerEnvRunner": 0.5}
    (tmp_path / "marks").mkdir()
    environment = {
        "name": "trading",
        "config": {"asset": "KO", "episode_length": 30},
        "wrappers": [{"name": "environments:Meeting", "config": {"folder": str(tmp_path / "marks")}}],
    }
    spec = recorded_search(values, recording=recording, sampling=sampling)
    done = run(tmp_path, spec | {"environment": environment})
    assert [row["state"] for row in done.rows] == ["Succeeded"] * 3
    assert not (tmp_path / "database").exists()

    def found(query):
        return recorded(tmp_path, query, url)

    begun_before_the_first_ended = "select count(*) from trials where started < (select min(ended) from trials)"
    assert found(begun_before_the_first_ended) == [(2,)]
    counted = [
        (row["trial"], int(float(row["time/env_steps"])), int(float(row["train/episodes"]))) for row in done.rows
    ]
    assert all(steps >= 400 and episodes > 0 for _, steps, episodes in counted)
    played = (
        "select trial, sum(length), count(ended) from live_episodes where kind = 'train' group by trial order by trial"
    )
    assert found(played) == counted
    written = (
        "select e.trial, count(*) from live_steps s join live_episodes e using (run_id, episode) "
        "where e.kind = 'train' group by e.trial order by e.trial"
    )
    assert found(written) == [row[:2] for row in counted]
    assert found(GAPS) == []
    # Nothing is superseded, so the tables hold no more than the live rows, and no step or trade is there twice.
    for table in ("episodes", "steps", "trades", "iterations", "evaluations"):
        assert found(f"select count(*) from {table}") == found(f"select count(*) from live_{table}")
    assert found("select count(*) from trades")[0][0] > 0
    step_of_trade = "from trades join steps using (run_id, episode, t)"
    assert found(f"select count(*) {step_of_trade}") == found("select count(*) from trades")
    # Each trial's rows carry its own iterations, and every runner is one incarnation of its trial.
    assert found("select trial, iteration from live_iterations order by 1, 2") == [
        (str(trial), iteration) for trial in (1, 2, 3) for iteration in (1, 2)
    ]
    runners = "select distinct trial, runner, incarnation from episodes where kind = 'train' order by 1"
    assert found(runners) == [(str(trial), 1, 0) for trial in (1, 2, 3)]
    assert [lr for (lr,) in found("select (parameters ->> 'lr')::float from trials order by trial")] == values
    assert found("select count(distinct run_id), max(attempt), max(outcome) from attempts") == [
        (1, 1, "3 of 3 trials succeeded")
    ]


def test_every_trial_of_a_recorded_search_has_exactly_the_rows_that_it_counted(tmp_path):
    done = run(tmp_path, recorded_search([0.001, 0.01]))
    assert [row["state"] for row in done.rows] == ["Succeeded"] * 2
    counted = [
        (row["trial"], int(float(row["time/env_steps"])), int(float(row["train/episodes"]))) for row in done.rows
    ]
    assert all(steps >= 400 for _, steps, _ in counted)

    of_training = "from live_episodes e where e.kind = 'train'"
    steps = (
        "select e.trial, count(*) from live_steps s join episodes e on e.run_id = s.run_id and e.episode = s.episode"
    )
    assert recorded(tmp_path, f"{steps} where e.kind = 'train' group by 1 order by 1") == [row[:2] for row in counted]
    assert recorded(tmp_path, f"select trial, sum(length) {of_training} group by 1 order by 1") == [
        row[:2] for row in counted
    ]
    finished = f"select trial, count(*) {of_training} and ended is not null group by 1 order by 1"
    assert recorded(tmp_path, finished) == [(trial, episodes) for trial, _, episodes in counted]
    assert recorded(tmp_path, GAPS) == []
    assert recorded(tmp_path, "select trial, iteration from live_iterations order by 1, 2") == [
        (trial, iteration) for trial in ("1", "2") for iteration in (1, 2)
    ]
    assert recorded(tmp_path, "select trial, kind, episodes from live_evaluations order by 1") == [
        (trial, "validation", 2) for trial in ("1", "2")
    ]
    # One run, one attempt, and a row for each trial with the parameters of the table.
    assert recorded(tmp_path, "select count(*) from runs") == [(1,)]
    assert recorded(tmp_path, "select attempt, outcome from attempts") == [(1, "2 of 2 trials succeeded")]
    trials = recorded(tmp_path, "select trial, parameters, outcome, live_until from trials order by 1")
    assert [(trial, json.loads(parameters)["lr"]) for trial, parameters, _, _ in trials] == [
        ("1", 0.001),
        ("2", 0.01),
    ]
    assert {outcome for _, _, outcome, _ in trials} == {"2 of 2 iterations"}
    # A later attempt of a trial goes on from the position in its own checkpoint, which has all of its rows.
    for trial in ("1", "2"):
        state = json.loads(
            (tmp_path / "trials" / f"trial-{trial}" / "checkpoints" / "2" / "trainyard.json").read_text()
        )
        position = state["callbacks"]["TrialRecording"]["position"]
        last = recorded(tmp_path, f"select max(position) from iterations where trial = '{trial}'")
        assert last[0][0] <= position


def test_a_second_attempt_at_a_recorded_search_goes_on_from_every_trials_checkpoint(tmp_path):
    # One after the other in one process, which samples by itself: whose episodes are they?
    spec = recorded_search([0.001, 0.01])
    spec["search"] |= {"maxConcurrentTrials": 1}
    run(tmp_path, spec)
    before = recorded(tmp_path, "select * from steps order by episode, t")
    done = run(tmp_path, spec | {"stop": {"iterations": 3}})
    assert recorded(tmp_path, "select * from steps order by episode, t")[: len(before)] == before
    assert recorded(tmp_path, "select trial, attempt, iteration from live_iterations order by 1, 2, 3") == [
        (trial, attempt, iteration) for trial in ("1", "2") for attempt, iteration in ((1, 1), (1, 2), (2, 3))
    ]
    counted = [(row["trial"], int(float(row["time/env_steps"]))) for row in done.rows]
    of_training = "select trial, sum(length) from live_episodes where kind = 'train' group by 1 order by 1"
    assert recorded(tmp_path, of_training) == counted
    assert recorded(tmp_path, GAPS) == []


def test_a_recorded_trial_that_fails_keeps_what_was_committed_and_how_it_ended(tmp_path):
    with pytest.raises(AllTrialsFailed, match="the simulator has no more fuel"):
        run(tmp_path, recorded_search([0.001], environment="environments:Broken"))
    assert recorded(tmp_path, "select trial, outcome from trials") == [("1", "ZeroDivisionError")]
    assert recorded(tmp_path, "select outcome from attempts") == [("0 of 1 trials succeeded",)]


def test_a_misspelt_parameter_path_is_refused_before_any_trial(tmp_path):
    spec = {
        "algorithm": {"name": "PPO"},
        "environment": {"name": "CartPole-v1"},
        "stop": {"iterations": 1},
        "search": {
            "parameters": [{"path": "algorithm.config.lrr", "grid": [0.001]}],
            "metric": "train/return_mean",
            "mode": "max",
        },
    }
    with pytest.raises(InvalidConfiguration, match=r"spec\.algorithm\.config\.lrr: is no parameter of PPO"):
        run(tmp_path, spec)


@pytest.mark.parametrize("function", ["of_numpy", "of_numpy_under_tune"])
def test_numbers_of_numpy_choose_the_best_trial(function, tmp_path):
    done = run(tmp_path, grid(function, [1, 3, 2]))
    assert (done.summary["bestTrial"], done.summary["bestValue"]) == ("2", 3)
    assert [row["loss"] for row in done.rows] == ["0.5"] * 3


@pytest.mark.parametrize("function", ["generator", "returning"])
def test_a_search_by_a_metric_that_no_trial_reports_is_the_users_error(function, tmp_path):
    with pytest.raises(MetricNotReported, match=r"did you mean reward\?"):
        run(tmp_path, grid(function, [1, 2], metric="rewrad"))
    last = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])
    told = {item["type"]: item for item in last["conditions"]}["SelectionMetricMissing"]
    assert (told["status"], "there are" in told["message"]) == ("True", True)
    assert (tmp_path / "trials.csv").exists()
    assert "rewrad" in (tmp_path / "report.html").read_text()
