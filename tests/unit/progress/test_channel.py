"""The progress channel against its contract, manifests/contract/progress.schema.json."""

import json
import math
import multiprocessing
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from trainyard.progress import report as reporting
from trainyard.progress.channel import MAX_LINE_BYTES, Progress, ProgressFile, encode, failure
from trainyard.progress.report import count_trials, report

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "manifests" / "contract" / "progress.schema.json").read_text())
)
HEADER = {"schemaVersion": 1, "jobId": "job", "seq": 1, "time": 1.0, "final": False}


def lines(path: Path) -> list[dict]:
    text = path.read_text()
    assert text.endswith("\n")
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        SCHEMA.validate(line)
    return found


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def channel(tmp_path):
    clock = Clock()
    progress = Progress(ProgressFile(tmp_path / "p.jsonl", "job"), interval=0.5, clock=clock)
    return progress, tmp_path / "p.jsonl", clock


def test_lines_count_from_one_and_hold_a_whole_snapshot(channel):
    progress, path, clock = channel
    progress.update(progress={"iteration": 1, "percent": 10.0}, metrics={"train/loss": 0.5})
    progress.publish()
    clock.now = 1.0
    progress.update(progress={"iteration": 2, "percent": 20.0})
    progress.publish()
    progress.finish(summary={"iterations": 2})
    first, second, final = lines(path)
    assert [line["seq"] for line in (first, second, final)] == [1, 2, 3]
    assert second["metrics"] == {"train/loss": 0.5}
    assert (second["final"], final["final"]) == (False, True)
    assert final["summary"] == {"iterations": 2}


def test_lines_are_held_back_within_the_interval_unless_something_changed_state(channel):
    progress, path, clock = channel
    progress.publish()
    clock.now = 0.4
    progress.publish()
    assert len(lines(path)) == 1
    progress.publish(now=True)
    assert len(lines(path)) == 2


def test_nothing_follows_the_final_line(channel):
    progress, path, _ = channel
    progress.finish(failure=failure("User", "InvalidConfiguration", "spec.seed: is 'x'", "spec.seed"))
    progress.publish(now=True)
    progress.finish()
    ProgressFile(path, "job").append(lambda last: last)
    (only,) = lines(path)
    assert only["failure"]["field"] == "spec.seed"


def test_conditions_replace_those_of_their_type(channel):
    progress, path, _ = channel
    progress.condition("CheckpointsNotKept", "True", "NoStorage", "one")
    progress.condition("CheckpointsNotKept", "False", "Stored", "two")
    assert [item["message"] for item in lines(path)[-1]["conditions"]] == ["two"]


def test_non_finite_numbers_are_left_out_and_named():
    line = encode(HEADER | {"progress": {"episodeReturnMean": math.nan}, "metrics": {"a": math.inf, "b": 1.0}})
    snapshot = json.loads(line)
    SCHEMA.validate(snapshot)
    assert snapshot["metrics"] == {"b": 1.0}
    assert snapshot["nonFinite"] == ["progress.episodeReturnMean", "metrics.a"]


def test_what_is_true_or_false_is_no_metric():
    trials = count_trials([{"id": "a", "state": "Running", "parameters": {}, "metrics": {"done": True, "reward": 1.5}}])
    snapshot = json.loads(encode(HEADER | {"progress": {}, "metrics": {"done": False, "a": 1}, "trials": trials}))
    SCHEMA.validate(snapshot)
    assert snapshot["metrics"] == {"a": 1}
    assert snapshot["trials"]["items"][0]["metrics"] == {"reward": 1.5}


def big_trials(count):
    metrics = {f"a-rather-long-metric-name-{index}": 1.0 / 3 for index in range(20)}
    parameters = {f"a.rather.long.path.{index}": "v" * 300 for index in range(20)}
    states = ["Succeeded", "Running", "Failed", "Pending"]
    items = [
        {"id": str(index), "state": states[index % 4], "parameters": parameters, "metrics": metrics, "error": "e" * 900}
        for index in range(count)
    ]
    return count_trials(items)


@pytest.mark.parametrize("count", [1, 20, 100, 1000])
def test_a_line_is_bounded_and_valid_whatever_it_is_given(count):
    snapshot = HEADER | {
        "progress": {},
        "metrics": {f"metric/{index}": index for index in range(500)},
        "trials": big_trials(count),
        "summary": {f"key{index}": "v" * 1000 for index in range(200)},
        "conditions": [{"type": "A", "status": "True", "reason": "B", "message": "m" * 5000} for _ in range(20)],
        "failure": failure("Run", "X" * 100, "trace\n" * 5000),
    }
    line = encode(snapshot)
    assert len(line) <= MAX_LINE_BYTES
    parsed = json.loads(line)
    SCHEMA.validate(parsed)
    assert parsed["trials"]["total"] == count


def test_failed_and_running_trials_come_before_others_when_not_all_fit():
    items = [{"id": str(i), "state": "Succeeded", "parameters": {}} for i in range(150)]
    items += [{"id": "f", "state": "Failed", "parameters": {}}, {"id": "r", "state": "Running", "parameters": {}}]
    kept = json.loads(encode(HEADER | {"progress": {}, "trials": count_trials(items)}))["trials"]["items"]
    assert len(kept) == 100
    assert {"f", "r"} <= {item["id"] for item in kept}


def test_a_long_failure_message_keeps_its_beginning_and_its_end():
    message = failure("Run", "ValueError", "begin" + "x" * 5000 + "end")["message"]
    assert message.startswith("begin")
    assert message.endswith("end")
    assert len(message) <= 2048


def append_many(path, start):
    for index in range(50):
        ProgressFile(path, "job").append(
            lambda last, value=start + index: {"progress": {}, "metrics": {**last.get("metrics", {}), "n": value}}
        )


def test_several_processes_may_append_without_a_lost_or_repeated_number(tmp_path):
    path = tmp_path / "p.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=append_many, args=(path, 100 * index)) for index in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [line["seq"] for line in lines(path)] == list(range(1, 201))


def test_report_outside_a_run_does_nothing(monkeypatch):
    monkeypatch.delenv(reporting.PROGRESS_FILE_VARIABLE, raising=False)
    assert report(percent=10) is False


def test_reports_add_up(tmp_path, monkeypatch):
    path = tmp_path / "p.jsonl"
    monkeypatch.setenv(reporting.PROGRESS_FILE_VARIABLE, str(path))
    monkeypatch.setenv(reporting.JOB_ID_VARIABLE, "job")
    assert report(percent=10, iteration=1, metrics={"a": 1.0})
    report(metrics={"b": 2.0}, trial={"id": "t1", "parameters": {"lr": 0.1}})
    report(trial={"id": "t1", "state": "Succeeded", "metrics": {"reward": 3.0}})
    report(trial={"id": "t2", "state": "Failed", "error": "boom"})
    last = lines(path)[-1]
    assert last["progress"] == {"percent": 10, "iteration": 1}
    assert last["metrics"] == {"a": 1.0, "b": 2.0}
    assert (last["trials"]["total"], last["trials"]["succeeded"], last["trials"]["failed"]) == (2, 1, 1)
    assert last["trials"]["items"][0]["parameters"] == {"lr": 0.1}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"percent": 101}, "0 to 100"),
        ({"percent": math.nan}, "0 to 100"),
        ({"iteration": -1}, "at least 0"),
        ({"episodes": 1.5}, "whole number"),
        ({"trial": {"state": "Running"}}, "no id"),
        ({"trial": {"id": "a", "state": "Done"}}, "use one of Pending"),
    ],
)
def test_a_wrong_report_is_an_error_at_the_call(arguments, words):
    with pytest.raises(ValueError, match=words):
        report(**arguments)


def test_a_program_reports_numbers_of_numpy_and_is_told_what_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINYARD_PROGRESS_FILE", str(tmp_path / "progress.jsonl"))
    assert report(iteration=np.int64(3), percent=np.float32(50), metrics={"a": np.float32(1.5), "b": np.array([2])})
    line = json.loads((tmp_path / "progress.jsonl").read_text())
    assert line["progress"] == {"iteration": 3, "percent": 50}
    assert line["metrics"] == {"a": 1.5, "b": 2}
    with pytest.raises(ValueError, match=r"these are not: all \(list\), name \(str\)"):
        report(metrics={"all": [1, 2], "name": "x", "b": 1})
