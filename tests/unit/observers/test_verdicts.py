"""The verdicts that a run ends with."""

import json
import math

import pytest

from trainyard.callbacks import Evaluation, Iteration
from trainyard.observers.progress import ProgressReporter
from trainyard.observers.verdicts import Analyst
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs import storage
from trainyard.runs.run import Identity, Outcome, Run
from trainyard.spec.parsing import parse
from trainyard_operator.readings.progress_line import parse as parse_line

SPEC = {
    "algorithm": {"name": "PPO"},
    "environment": {"name": "trading"},
    "stop": {"iterations": 30},
    "evaluation": {},
    "earlyStopping": {"metric": "validation/sharpe", "mode": "max", "patience": 3},
}


@pytest.fixture
def run(tmp_path):
    return Run(Identity("run"), parse(SPEC), {"spec": SPEC}, storage.at_directory(tmp_path))


def watched(run, train, validation):
    analyst = Analyst()
    for number, (return_mean, sharpe) in enumerate(zip(train, validation, strict=True), 1):
        analyst.on_iteration(
            run, Iteration(number, {"train/fresh_return_mean": return_mean, "train/return_mean": 7.0}, [], 1.0)
        )
        analyst.on_evaluation(run, Evaluation("validation", number, {"validation/sharpe": sharpe}))
    return analyst


def played(run, analyst, name, *, train, validation, test):
    """Episodes of training, and the last evaluations, with a figure of the environment's own."""
    analyst.on_iteration(run, Iteration(99, {}, [{name: value} for value in train], 1.0))
    for kind, values in (("validation", validation), ("test", test)):
        analyst.on_evaluation(run, Evaluation(kind, 99, {}, figures=[{name: value} for value in values]))


def test_training_that_rises_while_validation_falls_is_called_overfitting(run):
    watched(run, range(30), [-abs(x - 10) for x in range(30)]).on_run_end(run, Outcome("done", 1.0))
    assert run.findings["overfitting/verdict"] == "Yes"
    assert run.findings["overfitting/best_iteration"] == 11
    assert run.findings["convergence/trend"] == "Improving"


def test_the_gap_is_told_by_a_metric_that_both_have(run):
    analyst = watched(run, range(3), range(3))
    played(run, analyst, "total_return", train=[0.4, 0.6] * 10, validation=[0.1] * 5, test=[-0.8, 1.2])
    analyst.on_run_end(run, Outcome("done", 1.0))
    assert run.findings["generalisation/metric"] == "total_return"
    assert run.findings["generalisation/validation/gap"] == pytest.approx(0.4)
    assert run.findings["generalisation/validation/verdict"] == "Better"
    assert run.findings["generalisation/test/gap"] == pytest.approx(0.3)
    assert run.findings["generalisation/test/verdict"] == "Unclear"


def test_a_gap_by_another_metric_than_the_selection_is_not_turned_by_its_mode(tmp_path):
    spec = SPEC | {"earlyStopping": {"metric": "validation/max_drawdown", "mode": "min", "patience": 3}}
    run = Run(Identity("run"), parse(spec), {"spec": spec}, storage.at_directory(tmp_path))
    analyst = watched(run, range(3), range(3))
    played(run, analyst, "total_return", train=[0.5, 0.5], validation=[0.1, 0.1], test=[])
    analyst.on_run_end(run, Outcome("done", 1.0))
    assert run.findings["generalisation/validation/gap"] == pytest.approx(0.4)


def test_a_run_without_validation_has_no_verdict_on_overfitting(run):
    analyst = Analyst()
    analyst.on_iteration(run, Iteration(1, {}, [], 1.0))
    analyst.on_run_end(run, Outcome("done", 1.0))
    assert run.findings == {"convergence/trend": "TooShort", "convergence/points": 0}


def test_a_resumed_run_judges_the_whole_curve(run):
    before = watched(run, [0.0, math.nan, 2.0], [1.0, math.nan, 3.0])
    after = Analyst()
    after.load_state_dict(before.state_dict())
    state = after.state_dict()
    assert (state["fresh"], state["validation"]) == ([[1, 0.0], [3, 2.0]], [[1, 1.0], [3, 3.0]])


def test_a_resumed_run_keeps_the_episodes_that_the_gap_is_told_by(run):
    before, after = watched(run, [1.0], [1.0]), Analyst()
    played(run, before, "sharpe", train=[0.5, math.nan, 0.7], validation=[0.1], test=[])
    after.load_state_dict(json.loads(json.dumps(before.state_dict(), allow_nan=False)))
    after.on_run_end(run, Outcome("done", 1.0))
    assert run.findings["generalisation/validation/gap"] == pytest.approx(0.5)


def test_a_checkpoint_with_a_moving_average_adds_nothing_to_the_curve(run):
    analyst = Analyst()
    analyst.load_state_dict({"train": [[1, 5.0]], "validation": []})
    analyst.on_run_end(run, Outcome("done", 1.0))
    assert run.findings["convergence/points"] == 0


def test_the_final_line_tells_the_operator(run, tmp_path):
    analyst = watched(run, range(30), [-abs(x - 10) for x in range(30)])
    played(run, analyst, "sharpe", train=[0.5] * 20, validation=[0.1] * 5, test=[0.2])
    analyst.on_run_end(run, Outcome("done", 1.0))
    progress = Progress(ProgressFile(tmp_path / "progress.jsonl", "ty-1"))
    ProgressReporter(progress).on_run_end(run, Outcome("done", 1.0))
    progress.finish()
    line = parse_line((tmp_path / "progress.jsonl").read_bytes(), "ty-1")
    assert line.progress["percent"] == 100  # also where early stopping ended it
    said = line.analysis
    assert said["overfitting"]["verdict"] == "Yes"
    assert said["overfitting"]["bestIteration"] == 11
    assert said["convergence"]["trend"] == "Improving"
    assert said["generalisation"] == {
        "metric": "sharpe", "validationGap": pytest.approx(0.4), "testGap": pytest.approx(0.3),
        "validationVerdict": "Better", "testVerdict": "Unclear",
    }  # fmt: skip
