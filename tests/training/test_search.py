"""Searches and single trainables on real Ray: plain tasks for generators, Tune for the rest."""

import csv
import io
import json
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from trainyard import search, trial_tasks
from trainyard.errors import InvalidConfiguration
from trainyard.launch import Started
from trainyard.manifest import normalise_numbers
from trainyard.progress import Progress, ProgressFile
from trainyard.run import Identity
from trainyard.search import AllTrialsFailed
from trainyard.specification import parse
from trainyard.storage import at_directory
from trainyard.trainables import load

pytestmark = pytest.mark.usefixtures("ray_session")


def run(folder, spec):
    spec = normalise_numbers({"seed": 1} | spec)
    progress = Progress(ProgressFile(folder / "progress.jsonl", "job"))
    started = Started(
        Identity("search"), parse(spec), {"spec": spec}, at_directory(folder), progress, Console(file=io.StringIO())
    )
    summary = search.run(started)
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


def test_a_grid_of_a_generator_runs_as_tasks_within_its_limit(tmp_path):
    assert trial_tasks.suits(load("functions:generator")) or "ray.tune" in sys.modules
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
    with pytest.raises(InvalidConfiguration, match="did you mean generator"):
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


def test_an_algorithm_is_searched_and_each_trial_keeps_its_checkpoint(tmp_path):
    spec = {
        "algorithm": {
            "name": "PPO",
            "config": {"train_batch_size_per_learner": 200, "minibatch_size": 100, "num_epochs": 1},
            "model": {"fcnet_hiddens": [16]},
        },
        "environment": {"name": "CartPole-v1"},
        "sampling": {"envRunners": 0},
        "stop": {"iterations": 2},
        "search": {
            "parameters": [{"path": "algorithm.config.lr", "grid": [0.001, 0.01]}],
            "metric": "train/return_mean",
            "mode": "max",
        },
    }
    done = run(tmp_path, spec)
    assert [(row["lr"], row["epochs"], row["state"]) for row in done.rows] == [
        ("0.001", "2", "Succeeded"),
        ("0.01", "2", "Succeeded"),
    ]
    for trial in ("trial-1", "trial-2"):
        assert (tmp_path / "trials" / trial / "checkpoints" / "2" / "trainyard.json").exists()
        assert (tmp_path / "trials" / trial / "progress.csv").exists()


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
