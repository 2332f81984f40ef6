"""Judges a run's curves at its end; what `trainyard.analysis` finds goes into summary, status and records."""

from __future__ import annotations

import math
from typing import Any

from trainyard import metrics as names
from trainyard.analysis import as_numbers, convergence, generalisation, overfitting
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import TEST, VALIDATION
from trainyard.runs.run import Outcome, Run

TRAIN = "train/"


class Analyst(Callback):
    """Collects the training return, and the metric that selects the best policy where that is a validation's.

    The gap between training and validation is judged by a metric that both have and that means the same on episodes of
    any length: the selection's own name if training has it, else `total_return`; without such a metric there is none.
    """

    def __init__(self) -> None:
        self._train: list[list[float]] = []
        self._validation: list[list[float]] = []

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self._train.append([iteration.number, iteration.metrics.get(names.TRAIN_RETURN_MEAN, math.nan)])

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.kind == "validation":
            metric = run.selection.metric if run.selection.by_validation else f"{VALIDATION}return_mean"
            self._validation.append([evaluation.iteration, evaluation.metrics.get(metric, math.nan)])

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        train = [(x, y) for x, y in self._train]
        found: dict[str, float | str] = as_numbers("convergence", convergence(train))
        if self._validation:
            mode = run.selection.mode if run.selection.by_validation else "max"
            validation = [(x, y) for x, y in self._validation]
            # Training's return is better when larger, whatever the validation's metric is.
            turned = validation if mode == "max" else [(x, -y) for x, y in validation]
            found |= as_numbers("overfitting", overfitting(train, turned))
            found |= _gaps(run)
        run.findings.update(found)

    def state_dict(self) -> dict[str, Any]:
        return {"train": _without_nan(self._train), "validation": _without_nan(self._validation)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._train = list(state["train"])
        self._validation = list(state["validation"])


def _without_nan(points: list[list[float]]) -> list[list[float]]:
    """JSON has no NaN, and a point without a value says nothing."""
    return [point for point in points if math.isfinite(point[1])]


def _gaps(run: Run) -> dict[str, float | str]:
    selected = run.selection.metric.removeprefix(VALIDATION) if run.selection.by_validation else ""
    # Returns of episodes of different lengths do not compare.
    candidates = [name for name in (selected, "total_return") if name and not name.startswith("return_")]
    name = next((name for name in candidates if {TRAIN + name, VALIDATION + name} <= set(run.metrics)), None)
    if name is None:
        return {}
    found: dict[str, float | str] = {"generalisation/metric": name}
    for kind in (VALIDATION, TEST):
        if kind + name in run.metrics:
            gap = generalisation(run.metrics[TRAIN + name], run.metrics[kind + name], run.selection.mode)
            found[f"generalisation/{kind}gap"] = gap.gap
    return found
