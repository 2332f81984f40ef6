"""The verdicts that a run ends with."""

import math

import pytest

from trainyard.callbacks import Evaluation, Iteration
from trainyard.observers.progress import ProgressReporter
from trainyard.observers.verdicts import Analyst
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs import storage
from trainyard.runs.run import Identity, Outcome, Run
from trainyard.spec.parsing import parse
from trainyard_operator.progress import parse as parse_line

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
        analyst.on_iteration(run, Iteration(number, {"train/return_mean": return_mean}, [], 1.0))
        analyst.on_evaluation(run, Evaluation("validation", number, {"validation/sharpe": sharpe}))
    return analyst


def test_training_that_rises_while_validation_falls_is_called_overfitting(run):
    watched(run, range(30), [-abs(x - 10) for x in range(30)]).on_run_end(run, Outcome("done", 1.0))
    assert run.findings["overfitting/verdict"] == "Yes"
    assert run.findings["overfitting/best_iteration"] == 11
    assert run.findings["convergence/trend"] == "Improving"


def test_the_gap_is_told_by_a_metric_that_both_have(run):
    run.take({"train/total_return": 0.5, "validation/total_return": 0.1, "test/total_return": 0.2})
    watched(run, range(3), range(3)).on_run_end(run, Outcome("done", 1.0))
    assert run.findings["generalisation/metric"] == "total_return"
    assert run.findings["generalisation/validation/gap"] == pytest.approx(0.4)
    assert run.findings["generalisation/test/gap"] == pytest.approx(0.3)


def test_a_run_without_validation_has_no_verdict_on_overfitting(run):
    analyst = Analyst()
    analyst.on_iteration(run, Iteration(1, {}, [], 1.0))
    analyst.on_run_end(run, Outcome("done", 1.0))
    assert run.findings == {"convergence/trend": "TooShort", "convergence/points": 0}


def test_a_resumed_run_judges_the_whole_curve(run):
    before = watched(run, [0.0, math.nan, 2.0], [1.0, math.nan, 3.0])
    after = Analyst()
    after.load_state_dict(before.state_dict())
    assert after.state_dict() == {"train": [[1, 0.0], [3, 2.0]], "validation": [[1, 1.0], [3, 3.0]]}


def test_the_final_line_tells_the_operator(run, tmp_path):
    run.take({"train/sharpe": 0.5, "validation/sharpe": 0.1, "test/sharpe": 0.2})
    watched(run, range(30), [-abs(x - 10) for x in range(30)]).on_run_end(run, Outcome("done", 1.0))
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
        "metric": "sharpe", "validationGap": pytest.approx(0.4), "testGap": pytest.approx(0.3)
    }  # fmt: skip
