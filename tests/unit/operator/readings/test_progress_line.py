"""Lines of a driver's progress file: what is used, what is ignored, what is refused."""

import json
from pathlib import Path

import jsonschema
import pytest

from trainyard_operator.readings.progress_line import MAX_LINE, last_line, newer, parse
from trainyard_operator.readings.progress_schema import ProgressError

JOB = "ty-u-1-1"
SCHEMA = json.loads((Path(__file__).parents[4] / "manifests" / "contract" / "progress.schema.json").read_text())
FULL = {
    "schemaVersion": 1,
    "jobId": JOB,
    "seq": 4,
    "time": 1_760_000_000.5,
    "final": True,
    "startedIteration": 2,
    "lostIterations": 3,
    "progress": {"percent": 50.0, "iteration": 5, "envSteps": 2000, "estimatedSecondsLeft": 3.5},
    "metrics": {"train/loss": 0.25},
    "trials": {
        "total": 2,
        "pending": 0,
        "running": 1,
        "succeeded": 1,
        "failed": 0,
        "items": [{"id": "t1", "state": "Running", "parameters": {"lr": 0.1}, "metrics": {"reward": 2.5}}],
        "best": {"metric": "reward", "value": 2.5, "trial": "t1"},
    },
    "checkpoint": {"latest": {"uri": "file:///x/5", "iteration": 5, "time": 1.0}},
    "conditions": [{"type": "CheckpointsNotKept", "status": "True", "reason": "NoStorage", "message": "m"}],
    "failure": {"kind": "Run", "reason": "ValueError", "message": "no"},
    "summary": {"return": 195.0, "note": "x"},
    "nonFinite": ["metrics.train/kl"],
}


def written(**changes) -> bytes:
    return json.dumps({**FULL, **changes}).encode() + b"\n"


def test_the_example_of_these_tests_is_one_of_the_schema() -> None:
    jsonschema.validate(FULL, SCHEMA)


def test_a_line_of_the_schema_is_read_whole() -> None:
    line = parse(written(), JOB)
    assert (line.seq, line.final, line.started_iteration, line.lost_iterations) == (4, True, 2, 3)
    assert line.progress["envSteps"] == 2000
    assert line.trials["best"]["value"] == 2.5
    assert line.checkpoint["latest"]["iteration"] == 5
    assert line.failure == {"kind": "Run", "reason": "ValueError", "message": "no"}
    assert line.summary == {"return": 195.0, "note": "x"}
    assert line.conditions[0]["type"] == "CheckpointsNotKept"
    assert json.loads(line.raw) == FULL


def test_the_smallest_line_of_the_schema_is_read() -> None:
    small = {k: FULL[k] for k in ("schemaVersion", "jobId", "seq", "time", "final")} | {"progress": {}}
    jsonschema.validate(small, SCHEMA)
    assert parse(json.dumps(small).encode() + b"\n", JOB).trials is None


@pytest.mark.parametrize(
    ("tail", "line"),
    [
        (b"", None),
        (b"half a li", None),
        (b"one\n", b"one"),
        (b"one\ntwo\n", b"two"),
        (b"one\nhalf a li", b"one"),
        (b"one\n\n", b"one"),
        (b"\n", None),
    ],
)
def test_the_last_line_with_a_newline_counts(tail, line) -> None:
    assert last_line(tail) == line


def test_a_line_that_is_being_written_is_left_for_the_next_reading() -> None:
    assert parse(written(seq=1) + written(seq=2)[:-20], JOB).seq == 1


def test_another_jobs_line_is_ignored() -> None:
    assert parse(written(jobId="ty-u-1-2"), JOB) is None


def test_a_lower_number_does_not_replace_a_higher_one() -> None:
    three, four = parse(written(seq=3), JOB), parse(written(seq=4), JOB)
    assert newer(four, three) is four
    assert newer(three, four) is four
    assert newer(None, three) is three
    assert newer(three, None) is three


def test_another_jobs_first_line_replaces_the_last_jobs_last() -> None:
    old, new = parse(written(seq=9), JOB), parse(written(seq=1, jobId="ty-u-2-2"), "ty-u-2-2")
    assert newer(old, new) is new


@pytest.mark.parametrize(
    "tail",
    [
        b"\x00\xff\xfe\n",
        b"not json\n",
        b"[1, 2]\n",
        b"[" * 100_000 + b"\n",
        written(schemaVersion=2),
        written(seq=-1),
        written(seq=True),
        written(seq="3"),
        written(final="yes"),
        written(progress=[1]),
        written(progress={"iteration": "3"}),
        written(metrics={"x": None}),
        written(progress={"percent": float("nan")}),
        written(progress={"percent": float("-inf")}),
        written(time=12345).replace(b"12345", b"1e999"),
        written(trials={"total": 1}),
        written(trials={**FULL["trials"], "items": [{"id": "x"}]}),
        written(trials={**FULL["trials"], "items": [FULL["trials"]["items"][0]] * 101}),
        written(best={"metric": 3, "value": 1}),
        written(checkpoint={"latest": {"uri": "x"}}),
        written(conditions=[{"type": "X"}]),
        written(failure={"kind": "Run"}),
        written(summary=[1]),
        b'{"x": "' + b"y" * MAX_LINE + b'"}\n',
    ],
)
def test_garbage_is_refused_with_a_reason(tail) -> None:
    with pytest.raises(ProgressError) as caught:
        parse(tail, JOB)
    assert str(caught.value)
    assert len(str(caught.value)) < 500
