"""`trainyard.report(...)`: shows the progress, metrics and trials of any Ray program in its TrainingRun."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainyard.metrics import Metrics, as_number
from trainyard.progress.channel import ProgressFile, Snapshot

PROGRESS_FILE_VARIABLE = "TRAINYARD_PROGRESS_FILE"
JOB_ID_VARIABLE = "TRAINYARD_JOB_ID"
TRIAL_STATES = ("Pending", "Running", "Succeeded", "Failed")

_PROGRESS_KEYS = {
    "percent": "percent",
    "iteration": "iteration",
    "env_steps": "envSteps",
    "episodes": "episodes",
    "episode_return_mean": "episodeReturnMean",
}


def report(
    *,
    percent: float | None = None,
    iteration: int | None = None,
    env_steps: int | None = None,
    episodes: int | None = None,
    episode_return_mean: float | None = None,
    metrics: Mapping[str, float] | None = None,
    trial: Mapping[str, Any] | None = None,
) -> bool:
    """Report the progress of the program; values that are not given stay as they were reported last.

    Call it from the program that `spec.entrypoint` starts (not from its Ray tasks, which may run on another pod).
    Outside a TrainingRun nothing happens and False is returned, so a program also runs alone without a change.

    Args:
        percent: share of the work that is done, 0 to 100.
        iteration: number of the step; the program decides what a step is.
        env_steps: environment steps so far, of all workers together.
        episodes: finished episodes so far.
        episode_return_mean: mean return of recent episodes.
        metrics: numbers by name, those of numpy and torch included; at most 64 names are kept.
        trial: one trial, added or replaced by its id: `{"id": "a", "state": "Running", "parameters": {"lr": 0.1},
            "metrics": {...}, "hostname": ..., "iteration": ..., "durationSeconds": ..., "error": ...}`.

    Raises:
        ValueError: a percent outside 0 to 100, a negative count, a metric that is no number, or a trial without id or
            with an unknown state.
    """
    given = {
        "percent": _plain(percent),
        "iteration": _plain(iteration),
        "env_steps": _plain(env_steps),
        "episodes": _plain(episodes),
        "episode_return_mean": _plain(episode_return_mean),
    }
    progress = {_PROGRESS_KEYS[name]: value for name, value in given.items() if value is not None}
    _check(given, trial)
    if metrics is not None:
        metrics = _numbers(metrics, "metrics")
    if trial is not None and "metrics" in trial:
        trial = {**trial, "metrics": _numbers(trial["metrics"], "metrics of a trial")}
    path = os.environ.get(PROGRESS_FILE_VARIABLE)
    if not path:
        return False

    def change(last: Snapshot) -> Snapshot:
        snapshot = dict(last)
        snapshot["progress"] = {**last.get("progress", {}), **progress}
        if metrics is not None:
            snapshot["metrics"] = {**last.get("metrics", {}), **metrics}
        if trial is not None:
            snapshot["trials"] = _with_trial(last.get("trials"), trial)
        return snapshot

    ProgressFile(Path(path), os.environ.get(JOB_ID_VARIABLE, "local")).append(change)
    return True


def _plain(value: Any) -> Any:
    """A number of numpy or torch as a plain one; anything else as it is, for `_check` to refuse."""
    number = as_number(value)
    return value if number is None else number


def _numbers(given: Mapping[str, Any], what: str) -> Metrics:
    """Raises ValueError: a value that is no number, not even a single one in an array."""
    numbers = {name: as_number(value) for name, value in given.items()}
    if wrong := [f"{name} ({type(given[name]).__name__})" for name, number in numbers.items() if number is None]:
        raise ValueError(f"{what} must be numbers, one each; these are not: {', '.join(wrong)}")
    return {name: number for name, number in numbers.items() if number is not None}


def _check(given: Mapping[str, float | None], trial: Mapping[str, Any] | None) -> None:
    percent = given["percent"]
    if percent is not None and not 0 <= percent <= 100:
        raise ValueError(f"percent is {percent}; give a number from 0 to 100")
    for name in ("iteration", "env_steps", "episodes"):
        count = given[name]
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 0):
            raise ValueError(f"{name} is {count!r}; give a whole number of at least 0")
    if trial is not None:
        if not trial.get("id"):
            raise ValueError("trial has no id; give each trial its own name")
        if trial.get("state", "Running") not in TRIAL_STATES:
            raise ValueError(f"trial state is {trial['state']!r}; use one of {', '.join(TRIAL_STATES)}")


def _with_trial(trials: Snapshot | None, trial: Mapping[str, Any]) -> Snapshot:
    items = {item["id"]: item for item in (trials or {}).get("items", [])}
    old = items.get(str(trial["id"]), {"state": "Running", "parameters": {}})
    items[str(trial["id"])] = {**old, **trial, "id": str(trial["id"])}
    return count_trials(list(items.values()))


def count_trials(items: list[Snapshot], total: int | None = None) -> Snapshot:
    """The `trials` section for these trials; the trials of `total` that are not listed count as pending."""
    counts = {state: sum(1 for item in items if item["state"] == state) for state in TRIAL_STATES}
    total = max(total or 0, len(items))
    return {
        "total": total,
        "pending": counts["Pending"] + total - len(items),
        "running": counts["Running"],
        "succeeded": counts["Succeeded"],
        "failed": counts["Failed"],
        "items": items,
    }
