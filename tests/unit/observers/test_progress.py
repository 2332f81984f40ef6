"""What the driver loop tells the operator about an algorithm run."""

import json

from trainyard.callbacks import Evaluation, Iteration
from trainyard.observers.progress import ProgressReporter
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs.run import Identity, Run
from trainyard.runs.stopping import Counters
from trainyard.runs.storage import at_directory
from trainyard.spec.parsing import parse

SPEC = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"episodes": 100}}


def test_the_estimate_of_episodes_per_iteration_is_that_of_the_latest_ten(tmp_path):
    run = Run(Identity("run"), parse(SPEC), {"spec": SPEC}, at_directory(tmp_path))
    reporter = ProgressReporter(Progress(ProgressFile(tmp_path / "progress.jsonl", "job"), interval=0.0))
    reporter.on_run_start(run)
    run.take({"train/return_mean": 1.0})
    finished = 0
    for number, episodes in enumerate([0, 30, 4, 2, 2, 2, 2, 2, 2, 2, 2, 0], 1):
        finished += episodes
        run.counters = Counters(iteration=number, episodes=finished)
        reporter.on_iteration(run, Iteration(number, {}, [{"return": 1.0}] * episodes, 1.0))
    sections = [json.loads(line)["progress"] for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [section.get("episodesPerIteration") for section in sections[:4]] == [None, 0, 15, 34 / 3]
    assert sections[-1]["episodesPerIteration"] == 2
    assert sections[-1]["percent"] == 50


def conditions_of(tmp_path, spec):
    """Returns what takes over an iteration's and its evaluation's metrics, and returns the conditions after them."""
    run = Run(Identity("run"), parse(spec), {"spec": spec}, at_directory(tmp_path))
    reporter = ProgressReporter(Progress(ProgressFile(tmp_path / "progress.jsonl", "job"), interval=0.0))
    reporter.on_run_start(run)

    def conditions_after(number, metrics):
        run.take(metrics)
        reporter.on_iteration(run, Iteration(number, {}, [], 1.0))
        reporter.on_evaluation(run, Evaluation("validation", number, metrics))
        last = (tmp_path / "progress.jsonl").read_text().splitlines()[-1]
        return {item["type"]: item for item in json.loads(last).get("conditions", [])}

    return conditions_after


def test_a_metric_that_never_has_a_value_is_told_with_those_that_have_one_until_it_comes(tmp_path):
    chosen = {"evaluation": {}, "earlyStopping": {"metric": "validation/sharp", "mode": "max", "patience": 3}}
    conditions_after = conditions_of(tmp_path, SPEC | chosen)
    assert [conditions_after(number, {"validation/sharpe": 0.5}) for number in (1, 2)] == [{}, {}]
    told = conditions_after(3, {"validation/sharpe": 0.5})["SelectionMetricMissing"]
    assert told["status"] == "True"
    assert "validation/sharp has had no value in 3 evaluations" in told["message"]
    assert told["message"].endswith("there are validation/sharpe")
    assert conditions_after(4, {"validation/sharp": 1.0})["SelectionMetricMissing"]["status"] == "False"


def test_a_stop_whose_metric_never_has_a_value_is_told_because_it_would_train_for_ever(tmp_path):
    stop = {"metrics": [{"metric": "train/return", "atLeast": 450}, {"metric": "train/return_max", "atLeast": 500}]}
    conditions_after = conditions_of(tmp_path, SPEC | {"stop": stop})
    measured = {"train/return_mean": 20.0, "train/return_max": 30.0}
    assert [conditions_after(number, measured) for number in (1, 2)] == [{}, {}]
    told = conditions_after(3, measured)["StopMetricMissing"]
    assert (told["status"], told["reason"]) == ("True", "NoValue")
    assert told["message"] == (
        "train/return has had no value in 3 iterations: until it has one it cannot end the run; there are "
        "train/return_mean, train/return_max"
    )
    assert conditions_after(4, {"train/return": 1.0})["StopMetricMissing"]["status"] == "False"


def test_episodes_that_are_left_out_or_cut_short_are_a_condition_until_there_are_none(tmp_path):
    conditions_after = conditions_of(tmp_path, SPEC | {"evaluation": {}})
    assert conditions_after(1, {"validation/return_mean": 1.0}) == {}
    told = conditions_after(2, {"validation/cut_episodes": 3, "validation/non_finite_episodes": 1})
    assert told["EpisodesCut"]["status"] == told["NonFiniteEpisodes"]["status"] == "True"
    assert told["EpisodesCut"]["message"].startswith("validation/cut_episodes is 3: ")
    assert conditions_after(3, {"validation/cut_episodes": 0})["EpisodesCut"]["status"] == "False"


def test_what_goes_on_while_nothing_finishes_is_a_condition_until_it_finishes(tmp_path):
    run = Run(Identity("run"), parse(SPEC), {"spec": SPEC}, at_directory(tmp_path))
    reporter = ProgressReporter(Progress(ProgressFile(tmp_path / "progress.jsonl", "job"), interval=0.0))
    reporter.on_run_start(run)
    statuses = []
    words = "validation: 48,000 steps in its episode 1, after 2 min 30 s"
    for call in (
        lambda: reporter.on_wait(run, words),
        lambda: reporter.on_iteration(run, Iteration(1, {}, [], 1.0)),
        lambda: reporter.on_iteration(run, Iteration(2, {}, [], 1.0)),
    ):
        call()
        last = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])
        [condition] = last["conditions"]
        statuses.append((condition["type"], condition["status"], condition["message"] == words))
    finished = ("NothingFinished", "False", False)
    assert statuses == [("NothingFinished", "True", True), finished, finished]
