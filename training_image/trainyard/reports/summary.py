"""The summary of a finished run: summary.json, the final progress line and the table on the terminal."""

import json
from typing import Any

from trainyard import metrics as names
from trainyard.metrics import finite
from trainyard.runs.run import Outcome, Run

FILE = "summary.json"


def of_training(run: Run, outcome: Outcome) -> dict[str, Any]:
    """Numbers and words that stay when the cluster is deleted; no paths in pods."""
    specification = run.specification
    summary: dict[str, Any] = {
        "algorithm": specification.algorithm.name if specification.algorithm else None,
        "environment": specification.environment.name if specification.environment else None,
        "seed": specification.seed,
        "ended": outcome.reason,
        "iterations": run.counters.iteration,
        "envSteps": run.counters.env_steps,
        "episodes": run.counters.episodes,
        "seconds": round(outcome.seconds, 3),
    }
    if run.restored_iteration:
        summary["restoredIteration"] = run.restored_iteration
    if run.lost_iterations:
        summary["lostIterations"] = run.lost_iterations
    if run.resumed_from:
        summary["resumedFrom"] = run.resumed_from
    if run.best is not None:
        summary["bestMetric"] = run.selection.metric
        summary["bestValue"] = run.best.value
        summary["bestIteration"] = run.best.iteration
    shown = {name: value for name, value in finite(run.metrics).items() if not name.startswith(names.RLLIB)}
    return summary | run.findings | shown


def write(run: Run, summary: dict[str, Any]) -> None:
    run.storage.keep_text(FILE, json.dumps(summary, indent=2) + "\n")
