"""Files of every trial, as Tune's own loggers name them: result.json, progress.csv and TensorBoard events.

Tune's loggers took a fifth of a short search's time, and TensorBoard's writers import torch, so a result costs one
appended line here and the rest is made of those lines when the trial ends.
"""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path
from typing import Any

from trainyard.metrics import as_number, finite
from trainyard.search.tensorboard_events import Scalars, write_scalars

FOLDER = "trials"
RESULTS_FILE = "result.json"
CSV_FILE = "progress.csv"
PARAMETERS_FILE = "params.json"
TAG_PREFIX = "ray/tune/"

# What Tune's TensorBoard logger leaves out.
_NO_TAGS = frozenset({"config", "pid", "timestamp", "time_total_s", "training_iteration"})


def trial_folder(index: int) -> str:
    """Name of the folder of the trial of point `index`."""
    return f"trial-{index + 1}"


class TrialLogs:
    """Writes below `folder`/trials, a folder per trial."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER
        self._reported: dict[int, tuple[int, float, float]] = {}

    def report(self, index: int, parameters: dict[str, Any], result: dict[str, Any], hostname: str) -> None:
        """Append one result of a trial; what Tune would have added is added where it is missing."""
        now = time.time()
        iteration, first, before = self._reported.get(index, (0, now, now))
        self._reported[index] = (iteration + 1, first, now)
        row = {
            "training_iteration": iteration + 1,
            "timestamp": int(now),
            "time_this_iter_s": now - before,
            "time_total_s": now - first,
            "hostname": hostname,
        }
        row |= result | {"config": parameters}
        with self._file(index, RESULTS_FILE).open("a") as file:
            file.write(json.dumps(row, default=_written) + "\n")

    def finish(self, index: int, parameters: dict[str, Any]) -> None:
        """Make the table and the events of a trial that has ended; nothing for one without a result."""
        path = self._file(index, RESULTS_FILE)
        if not path.exists():
            return
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        self._file(index, PARAMETERS_FILE).write_text(json.dumps(parameters, indent=2, sort_keys=True, default=str))
        self._write_table(index, [flat(row) for row in rows])
        events = [_scalars(row) for row in rows]
        write_scalars(self._file(index, f"events.out.tfevents.{int(rows[0]['timestamp'])}.trainyard"), events)

    def _write_table(self, index: int, rows: list[dict[str, Any]]) -> None:
        # Tune's table has the columns of the first result only; later ones would be lost.
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with self._file(index, CSV_FILE).open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def _file(self, index: int, name: str) -> Path:
        folder = self._folder / trial_folder(index)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name


def _written(value: Any) -> Any:
    """What JSON does not know: numbers of numpy and torch as plain ones, the rest as text."""
    number = as_number(value)
    return str(value) if number is None else number


def flat(row: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as `a/b`, as Tune flattens them."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}/")
        else:
            found[prefix + key] = value
    return found


def _scalars(row: dict[str, Any]) -> Scalars:
    shown = flat({name: value for name, value in row.items() if name not in _NO_TAGS})
    step = int(row.get("timesteps_total") or row["training_iteration"])
    return Scalars(float(row["timestamp"]), step, {TAG_PREFIX + name: value for name, value in finite(shown).items()})
