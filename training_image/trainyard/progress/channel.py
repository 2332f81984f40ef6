"""The progress channel: bounded snapshots, appended to a file that the operator reads through Ray's dashboard.

Every line is a whole snapshot (manifests/contract/progress.schema.json), at most 64 KiB, written with one O_APPEND
write, so a reader never sees half of one and needs only the last. Non-finite numbers never go on the wire.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainyard.metrics import as_number, is_finite_number

SCHEMA_VERSION = 1
MAX_LINE_BYTES = 65536
MAX_METRICS = 64
MAX_TRIALS = 100
MAX_TRIAL_METRICS = 8
MAX_TRIAL_PARAMETERS = 16
MAX_CONDITIONS = 8
MAX_NON_FINITE = 64
MAX_SUMMARY = 64
_STATE_ORDER = {"Failed": 0, "Running": 1, "Succeeded": 2, "Pending": 3}

Snapshot = dict[str, Any]


class ProgressFile:
    """Appends lines; several processes of one job may, because the sequence number is read under the file's lock."""

    def __init__(self, path: Path, job_id: str) -> None:
        self.path = path
        self.job_id = job_id

    def append(self, change: Callable[[Snapshot], Snapshot], *, final: bool = False) -> None:
        """Append the snapshot that `change` makes from the last snapshot (from an empty one at first).

        Nothing is appended after a final line.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            last = _last_line(descriptor)
            if last.get("final"):
                return
            header = {
                "schemaVersion": SCHEMA_VERSION,
                "jobId": self.job_id,
                "seq": last.get("seq", 0) + 1,
                "time": time.time(),
                "final": final,
            }
            body = {key: value for key, value in last.items() if key not in header and key != "nonFinite"}
            os.write(descriptor, encode(header | change(body)))
        finally:
            os.close(descriptor)

    def last(self) -> Snapshot:
        """Return the last line, or an empty snapshot when there is none."""
        if not self.path.exists():
            return {}
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return _last_line(descriptor)
        finally:
            os.close(descriptor)


def _last_line(descriptor: int) -> Snapshot:
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 2 * MAX_LINE_BYTES, max(0, size - 2 * MAX_LINE_BYTES))
    lines = tail.split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines else {}


class Progress:
    """A driver's current snapshot, published at most every `interval` seconds, or at once when its state changes.

    Any thread may change and publish it.
    """

    def __init__(self, file: ProgressFile, interval: float = 0.5, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = file
        self._interval = interval
        self._clock = clock
        self._published = -float("inf")
        self._finished = False
        self._lock = threading.RLock()
        self.snapshot: Snapshot = {"progress": {}}

    def update(self, **sections: Any) -> None:
        """Replace whole sections of the snapshot; None removes one."""
        with self._lock:
            for name, value in sections.items():
                if value is None:
                    self.snapshot.pop(name, None)
                else:
                    self.snapshot[name] = value

    def publish(self, *, now: bool = False) -> None:
        """Append the snapshot, unless one was appended within the interval and `now` is false."""
        with self._lock:
            if self._finished or (not now and self._clock() - self._published < self._interval):
                return
            self._published = self._clock()
            self.file.append(lambda _: self.snapshot)

    def condition(self, type_: str, status: str, reason: str, message: str) -> None:
        """Set a condition that people should see, and publish it at once."""
        with self._lock:
            others = [item for item in self.snapshot.get("conditions", []) if item["type"] != type_]
            new = {"type": type_, "status": status, "reason": reason, "message": message}
            self.update(conditions=[*others, new])
            self.publish(now=True)

    def finish(self, *, failure: Mapping[str, Any] | None = None, summary: Mapping[str, Any] | None = None) -> None:
        """Write the final line, once; later calls do nothing."""
        if self._finished:
            return
        self.update(failure=dict(failure) if failure else None, summary=dict(summary) if summary else None)
        self._finished = True
        self.file.append(lambda _: self.snapshot, final=True)


def failure(kind: str, reason: str, message: str, field: str = "") -> dict[str, str]:
    """The `failure` section: `kind` is User (never retried) or Run."""
    section = {"kind": kind, "reason": reason[:64] or "Error", "message": _clip_middle(message, 2048)}
    return section | ({"field": field[:256]} if field else {})


def _clip_middle(text: str, limit: int) -> str:
    """Keep both ends: a traceback has its message at the end, and a list of faults has its first fault at the start."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]}\n...\n{text[-half:]}"


def encode(snapshot: Snapshot) -> bytes:
    """Return the line for `snapshot`: only finite numbers, of limited length, with a newline at the end."""
    non_finite: list[str] = []
    line = _without_non_finite(_bounded(snapshot), "", non_finite)
    if non_finite:
        line["nonFinite"] = [name[:256] for name in non_finite[:MAX_NON_FINITE]]
    encoded = _dump(line)
    for shrink in (_drop_trial_metrics, _drop_summary, _drop_metrics):
        if len(encoded) <= MAX_LINE_BYTES:
            return encoded
        shrink(line)
        encoded = _dump(line)
    while len(encoded) > MAX_LINE_BYTES and line.get("trials", {}).get("items"):
        items = line["trials"]["items"]
        line["trials"]["items"] = items[: len(items) // 2]
        encoded = _dump(line)
    return encoded


def _dump(line: Snapshot) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _without_non_finite(value: Any, path: str, found: list[str]) -> Any:
    if isinstance(value, Mapping):
        kept = {}
        for key, item in value.items():
            name = f"{path}.{key}" if path else str(key)
            if isinstance(item, float) and not is_finite_number(item):
                found.append(name)
            else:
                kept[str(key)] = _without_non_finite(item, name, found)
        return kept
    if isinstance(value, list | tuple):
        return [_without_non_finite(item, f"{path}.{index}", found) for index, item in enumerate(value)]
    return value


def _bounded(snapshot: Snapshot) -> Snapshot:
    line = dict(snapshot)
    line.setdefault("progress", {})
    if "metrics" in line:
        line["metrics"] = _numbers(line["metrics"], MAX_METRICS)
    if "trials" in line:
        line["trials"] = _bounded_trials(line["trials"])
    if "best" in line:
        line["best"] = _bounded_best(line["best"])
    if "conditions" in line:
        line["conditions"] = [
            item | {"message": item["message"][:1024]} for item in line["conditions"][-MAX_CONDITIONS:]
        ]
    if "summary" in line:
        line["summary"] = {key: _scalar(value) for key, value in list(line["summary"].items())[:MAX_SUMMARY]}
    return line


def _bounded_trials(trials: Snapshot) -> Snapshot:
    items = sorted(trials["items"], key=lambda item: _STATE_ORDER[item["state"]])[:MAX_TRIALS]
    kept = {id(item) for item in items}
    bounded = dict(trials, items=[_bounded_trial(item) for item in trials["items"] if id(item) in kept])
    if "best" in trials:
        bounded["best"] = _bounded_best(trials["best"])
    return bounded


def _bounded_trial(item: Snapshot) -> Snapshot:
    bounded = dict(item, id=str(item["id"])[:64], parameters=_parameters(item["parameters"]))
    if "metrics" in item:
        bounded["metrics"] = _numbers(item["metrics"], MAX_TRIAL_METRICS)
    if "hostname" in item:
        bounded["hostname"] = item["hostname"][:253]
    if "error" in item:
        bounded["error"] = _clip_middle(item["error"], 512)
    return bounded


def _bounded_best(best: Snapshot) -> Snapshot:
    bounded = dict(best)
    if "parameters" in best:
        bounded["parameters"] = _parameters(best["parameters"])
    if "metrics" in best:
        bounded["metrics"] = _numbers(best["metrics"], MAX_TRIAL_METRICS)
    return bounded


def _numbers(metrics: Mapping[str, Any], limit: int) -> Snapshot:
    """Numbers only; NaN stays for now, so that its name is listed."""
    numbers = {name: number for name, value in metrics.items() if (number := as_number(value)) is not None}
    return dict(list(numbers.items())[:limit])


def _parameters(parameters: Mapping[str, Any]) -> Snapshot:
    return {key: _scalar(value) for key, value in list(parameters.items())[:MAX_TRIAL_PARAMETERS]}


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:256]


def _drop_trial_metrics(line: Snapshot) -> None:
    for item in line.get("trials", {}).get("items", []):
        item.pop("metrics", None)


def _drop_summary(line: Snapshot) -> None:
    line.pop("summary", None)


def _drop_metrics(line: Snapshot) -> None:
    line.pop("metrics", None)
