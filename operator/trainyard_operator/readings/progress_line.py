"""The last complete line of a driver's progress file. Pure; manifests/contract has the schema.

A line comes from a training pod, so nothing in it is trusted: a line that does not fit the schema is refused with a
reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard_operator.readings.progress_schema import LINE, ProgressError

SCHEMA_VERSION = 1
MAX_LINE = 65536


@dataclass(frozen=True)
class ProgressLine:
    """A snapshot. Its objects are in the schema's form, without unknown fields."""

    job_id: str
    seq: int
    time: float
    final: bool
    started_iteration: int
    lost_iterations: int
    progress: Mapping[str, float]
    metrics: Mapping[str, float]
    trials: Mapping[str, Any] | None
    best: Mapping[str, Any] | None
    checkpoint: Mapping[str, Any] | None
    analysis: Mapping[str, Any] | None
    conditions: tuple[Mapping[str, str], ...]
    failure: Mapping[str, str] | None
    summary: Mapping[str, Any] | None
    raw: str

    @property
    def moves(self) -> bool:
        """Whether the driver has made progress, which means that everything that it needs to train exists."""
        trials = self.trials or {}
        counts = [self.progress.get(key) for key in ("iteration", "envSteps", "episodes", "percent")]
        return any([*counts, trials.get("succeeded"), trials.get("running")])


def last_line(tail: bytes) -> bytes | None:
    """The last non-empty line of a file's tail that ends with a newline; None if there is none yet.

    If the tail does not end with a newline, its last line is still being written and is left out.
    """
    end = tail.rfind(b"\n")
    if end < 0:
        return None
    lines = [line for line in tail[:end].split(b"\n") if line.strip()]
    return lines[-1] if lines else None


def parse(tail: bytes, job: str) -> ProgressLine | None:
    """The snapshot in the tail of the progress file of `job`; None if there is none yet or it is another job's.

    Raises ProgressError if the last line does not fit the schema.
    """
    line = last_line(tail)
    if line is None:
        return None
    if len(line) > MAX_LINE:
        raise ProgressError(f"a line of {len(line)} bytes; at most {MAX_LINE} are allowed")
    try:
        data, text = _load(line)
    except (ValueError, RecursionError) as error:
        raise ProgressError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise ProgressError(f"not a JSON object but {type(data).__name__}")
    if data.get("schemaVersion") != SCHEMA_VERSION:
        found = str(data.get("schemaVersion"))[:80]
        raise ProgressError(f"schemaVersion {found}; this operator reads {SCHEMA_VERSION}")
    if data.get("jobId") != job:
        return None
    return _snapshot({"jobId": job, **LINE(data, "")}, text)


def newer(old: ProgressLine | None, new: ProgressLine | None) -> ProgressLine | None:
    """The snapshot with the higher seq, for the same job; the caller drops `old` if it is another job's."""
    if old is None or new is None:
        return new or old
    return new if new.job_id != old.job_id or new.seq >= old.seq else old


def _snapshot(data: Mapping[str, Any], raw: str) -> ProgressLine:
    return ProgressLine(
        job_id=data["jobId"],
        seq=data["seq"],
        time=data["time"],
        final=data["final"],
        started_iteration=data.get("startedIteration", 0),
        lost_iterations=data.get("lostIterations", 0),
        progress=data["progress"],
        metrics=data.get("metrics", {}),
        trials=data.get("trials"),
        best=data.get("best"),
        checkpoint=data.get("checkpoint"),
        analysis=data.get("analysis"),
        conditions=tuple(data.get("conditions", ())),
        failure=data.get("failure"),
        summary=data.get("summary"),
        raw=raw,
    )


def _load(line: bytes) -> tuple[Any, str]:
    """The JSON of a line and its text.

    Raises ValueError or RecursionError: not UTF-8, not JSON, or with half of a surrogate pair, which UTF-8 cannot hold.
    """
    text = line.decode()
    data = json.loads(text, parse_constant=_refuse_constant)
    if "\\ud" in text.lower():
        json.dumps(data, ensure_ascii=False).encode()
    return data, text


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON; non-finite numbers are left out and listed in nonFinite")
