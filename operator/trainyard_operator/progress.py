"""What a driver says about itself: the last whole line of its progress file. Pure; manifests/contract has the schema.

A line comes from a training pod, so nothing in it is trusted: what is not as the schema says is refused with a reason.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA_VERSION = 1
MAX_LINE = 65536


class ProgressError(ValueError):
    """The progress file's tail cannot be used; the message says what is wrong with it."""


@dataclass(frozen=True)
class ProgressLine:
    """A snapshot, validated at its top; `trials`, `best`, `checkpoint` and `summary` in the schema's form."""

    job_id: str
    seq: int
    time: float
    final: bool
    started_iteration: int
    progress: Mapping[str, float]
    metrics: Mapping[str, float]
    trials: Mapping[str, Any] | None
    best: Mapping[str, Any] | None
    checkpoint: Mapping[str, Any] | None
    conditions: tuple[Mapping[str, str], ...]
    failure: Mapping[str, str] | None
    summary: Mapping[str, Any] | None
    raw: str


def last_line(tail: bytes) -> bytes | None:
    """The last newline-terminated, non-empty line of a file's tail; None when there is none yet.

    A tail without a newline at its end has a line that is still being written: it is left out.
    """
    end = tail.rfind(b"\n")
    if end < 0:
        return None
    lines = [line for line in tail[:end].split(b"\n") if line.strip()]
    return lines[-1] if lines else None


def parse(tail: bytes, job: str) -> ProgressLine | None:
    """The snapshot in a tail of the progress file of `job`; None when there is none yet or it is another job's.

    Raises ProgressError when the last line is no line of the schema.
    """
    line = last_line(tail)
    if line is None:
        return None
    if len(line) > MAX_LINE:
        raise ProgressError(f"a line of {len(line)} bytes; at most {MAX_LINE} are allowed")
    try:
        data = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ProgressError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ProgressError(f"not a JSON object but {type(data).__name__}")
    if data.get("schemaVersion") != SCHEMA_VERSION:
        raise ProgressError(f"schemaVersion {data.get('schemaVersion')!r}; this operator reads {SCHEMA_VERSION}")
    if data.get("jobId") != job:
        return None
    return _snapshot(data, job, line.decode(errors="replace"))


def newer(old: ProgressLine | None, new: ProgressLine | None) -> ProgressLine | None:
    """The one with the higher seq for the same job; another job's `old` is dropped by the caller."""
    if old is None or new is None:
        return new or old
    return new if new.job_id != old.job_id or new.seq >= old.seq else old


def _snapshot(data: Mapping[str, Any], job: str, raw: str) -> ProgressLine:
    return ProgressLine(
        job_id=job,
        seq=_field(data, "seq", _is_count, required=True),
        time=_field(data, "time", _is_number, required=True),
        final=_field(data, "final", _is_bool, required=True),
        started_iteration=_field(data, "startedIteration", _is_count) or 0,
        progress=_numbers(_field(data, "progress", _is_object, required=True), "progress"),
        metrics=_numbers(_field(data, "metrics", _is_object) or {}, "metrics"),
        trials=_trials(_field(data, "trials", _is_object)),
        best=_best(_field(data, "best", _is_object), "best"),
        checkpoint=_checkpoint(_field(data, "checkpoint", _is_object)),
        conditions=tuple(_texts(c, ("type", "status", "reason", "message")) for c in _objects(data, "conditions", 8)),
        failure=_failure(_field(data, "failure", _is_object)),
        summary=_field(data, "summary", _is_object),
        raw=raw,
    )


def _trials(trials: Any) -> Mapping[str, Any] | None:
    if trials is None:
        return None
    for key in ("total", "pending", "running", "succeeded", "failed"):
        _field(trials, key, _is_count, required=True)
    for item in _objects(trials, "items", 100):
        _texts(item, ("id", "state"))
        _field(item, "parameters", _is_object, required=True)
        _numbers(_field(item, "metrics", _is_object) or {}, "trials.items.metrics")
    _best(_field(trials, "best", _is_object), "trials.best")
    return dict(trials)


def _best(best: Any, where: str) -> Mapping[str, Any] | None:
    if best is None:
        return None
    _texts(best, ("metric",), where)
    _field(best, "value", _is_number, required=True)
    return dict(best)


def _checkpoint(checkpoint: Any) -> Mapping[str, Any] | None:
    if checkpoint is None:
        return None
    for key in ("latest", "best"):
        if (one := _field(checkpoint, key, _is_object)) is not None:
            _texts(one, ("uri",), f"checkpoint.{key}")
            _field(one, "iteration", _is_count, required=True)
    return dict(checkpoint)


def _failure(failure: Any) -> Mapping[str, str] | None:
    if failure is None:
        return None
    optional = ("field",) if "field" in failure else ()
    return _texts(failure, ("kind", "reason", "message", *optional), "failure")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; non-finite numbers are left out and listed in nonFinite")


def _field(data: Mapping[str, Any], key: str, check: Callable[[Any], bool], *, required: bool = False) -> Any:
    value = data.get(key)
    if value is None and not required:
        return None
    if not check(value):
        raise ProgressError(f"{key} is {json.dumps(value)[:80]}, not as the schema says")
    return value


def _objects(data: Mapping[str, Any], key: str, most: int) -> list[Mapping[str, Any]]:
    value = data.get(key, [])
    if not isinstance(value, list) or len(value) > most or not all(isinstance(v, dict) for v in value):
        raise ProgressError(f"{key} is not a list of at most {most} objects")
    return value


def _texts(data: Mapping[str, Any], keys: tuple[str, ...], where: str = "") -> Mapping[str, str]:
    for key in keys:
        if not isinstance(data.get(key), str):
            raise ProgressError(f"{where or 'an item'}.{key} is not a text")
    return {key: data[key] for key in keys}


def _numbers(data: Mapping[str, Any], where: str) -> Mapping[str, float]:
    for key, value in data.items():
        if not _is_number(value):
            raise ProgressError(f"{where}.{key} is {json.dumps(value)[:80]}, not a finite number")
    return dict(data)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)
