"""Reads a run's folder as plain data. Missing data is absent, never invented."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainyard import metrics as names
from trainyard.errors import UserError
from trainyard.reports.run_facts import RUN_FILE, episode_file
from trainyard.spec.search_points import short_names

PROGRESS_FILE = "progress.csv"
TRIALS_FILE = "trials.csv"
TRIALS_FOLDER = "trials"
SUMMARY_FILE = "summary.json"

# Columns of trials.csv before the parameters and after the metrics.
_FIRST = ("trial",)
_LAST = ("duration_seconds", "state", "error")

Columns = dict[str, np.ndarray]

LARGEST_DRAWN = 1e100


class NothingToReport(UserError):
    """The folder has no table from which a report could be made."""


@dataclass(frozen=True)
class TrialResult:
    """One row of trials.csv. `parameters` has the texts of the file; `metrics` has only finite numbers."""

    number: int
    id: str
    parameters: dict[str, str]
    hostname: str
    epochs: int
    metrics: dict[str, float]
    seconds: float
    state: str
    error: str
    history: Columns = field(default_factory=dict)


@dataclass(frozen=True)
class RunFolder:
    """The files that a run has left.

    Attributes:
        facts: run.json; for a folder of an older version without run.json, the facts of summary.json.
        curves: the columns of progress.csv, float64, NaN where a row has no value; rows in order of iteration.
        trials: rows of trials.csv, each with the columns of its own progress.csv if it has one.
        episodes: `validation` and `test` to the results of `trainyard.reports.account_episodes.record`.
    """

    path: Path
    facts: dict[str, Any]
    summary: dict[str, Any]
    curves: Columns
    trials: list[TrialResult]
    episodes: dict[str, dict[str, Any]]

    @property
    def spec(self) -> dict[str, Any]:
        return self.facts.get("specification", {})

    @property
    def is_search(self) -> bool:
        return bool(self.spec.get("search")) or len(self.trials) > 1


def read(path: Path) -> RunFolder:
    """Read the folder of a run.

    Raises:
        NothingToReport: the folder has neither progress.csv nor trials.csv.
    """
    if not (path / PROGRESS_FILE).is_file() and not (path / TRIALS_FILE).is_file():
        raise NothingToReport(
            f"{path} has neither {PROGRESS_FILE} nor {TRIALS_FILE}; give the folder of a run "
            "(trainyard run prints it as `results`)"
        )
    summary = _json(path / SUMMARY_FILE)
    facts = _json(path / RUN_FILE) or _facts_of(path, summary)
    episodes = {kind: found for kind in ("validation", "test") if (found := _json(path / episode_file(kind)))}
    trials = _trials(path, facts.get("specification", {}))
    return RunFolder(path, facts, summary, read_columns(path / PROGRESS_FILE), trials, episodes)


def read_columns(path: Path) -> Columns:
    """Read a table of numbers; NaN for a cell that is empty or not a number. Empty for a missing file."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        header = [name for name in reader.fieldnames or [] if name]
    return {name: np.array([as_number(row.get(name)) for row in rows], dtype=np.float64) for name in header}


def as_number(text: str | None) -> float:
    """A finite number, or NaN for anything else."""
    try:
        number = float(text or "nan")
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.is_file() else {}


def _facts_of(path: Path, summary: dict[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": path.resolve().name}
    facts |= {key: summary[key] for key in ("seed", "ended", "seconds", "iterations") if key in summary}
    if "bestMetric" in summary and "bestIteration" in summary:
        facts["selection"] = {"metric": summary["bestMetric"], "mode": "max"}
        facts["best"] = {"value": summary["bestValue"], "iteration": summary["bestIteration"]}
    prefixes = ("convergence/", "overfitting/", "generalisation/")
    facts["findings"] = {name: value for name, value in summary.items() if name.startswith(prefixes)}
    return facts


def _trials(path: Path, spec: dict[str, Any]) -> list[TrialResult]:
    if not (path / TRIALS_FILE).is_file():
        return []
    with (path / TRIALS_FILE).open(newline="") as file:
        rows = list(csv.reader(file))
    if not rows:
        return []
    header, first, last = rows[0], len(_FIRST), len(_LAST)
    searched = [parameter.get("path", "") for parameter in spec.get("search", {}).get("parameters", [])]
    # Parameters stand before the hostname; a metric of the same name comes after it.
    width = header.index("hostname") - first if not searched else len(short_names(searched))
    found = []
    for number, row in enumerate(rows[1:], start=1):
        parameters = dict(zip(header[first : first + width], row[first : first + width], strict=True))
        hostname, epochs = row[first + width : first + width + 2]
        cells = zip(header[first + width + 2 : -last], row[first + width + 2 : -last], strict=True)
        seconds, state, error = row[-last:]
        found.append(
            TrialResult(
                number=number,
                id=row[0],
                parameters=parameters,
                hostname=hostname,
                epochs=int(as_number(epochs)) if epochs else 0,
                metrics={name: value for name, text in cells if math.isfinite(value := as_number(text))},
                seconds=as_number(seconds),
                state=state,
                error=error,
                history=read_columns(path / TRIALS_FOLDER / f"trial-{number}" / PROGRESS_FILE),
            )
        )
    return found


def is_drawable(values: np.ndarray) -> np.ndarray:
    """Which values are finite and small enough for the arithmetic of an axis."""
    return np.abs(values) <= LARGEST_DRAWN  # False for NaN


def finite_points(columns: Columns, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    """The rows in which both columns have a value that can be drawn; empty if one of the columns is missing."""
    if x not in columns or y not in columns:
        return np.empty(0), np.empty(0)
    both = is_drawable(columns[x]) & is_drawable(columns[y])
    return columns[x][both], columns[y][both]


def last_value(columns: Columns, name: str) -> float | None:
    """The last value of a column, or None."""
    values = columns.get(name, np.empty(0))
    values = values[np.isfinite(values)]
    return float(values[-1]) if len(values) else None


def value_at(columns: Columns, name: str, iteration: int) -> float | None:
    """The value of a column in the row of an iteration, or None."""
    x, y = finite_points(columns, names.TIME_ITERATION, name)
    found = y[x == iteration]
    return float(found[-1]) if len(found) else None
