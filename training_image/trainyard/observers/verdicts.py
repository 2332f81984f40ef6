"""Judges a run's curves at its end; the findings of `trainyard.analysis` go into summary, status and records."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

from trainyard import metrics as names
from trainyard.analysis import Generalisation, Mode, as_numbers, convergence, generalisation, overfitting
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import TEST, VALIDATION, WINDOW_EPISODES, Metrics, finite
from trainyard.runs.run import Outcome, Run


class Analyst(Callback):
    """Collects the training return, and the metric that selects the best policy where that is a validation's.

    The training return is that of each iteration's own episodes: neighbours in a moving average share theirs. The gap
    between training and other data is judged episode by episode, by a metric that both have and that means the same on
    episodes of any length: the selection's own name if training has it, else `total_return`; without such a metric
    there is none.
    """

    def __init__(self) -> None:
        self._train: list[list[float]] = []
        self._validation: list[list[float]] = []
        self._trained: deque[Metrics] = deque(maxlen=WINDOW_EPISODES)
        self._played: dict[str, list[Metrics]] = {}

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self._train.append([iteration.number, iteration.metrics.get(names.TRAIN_FRESH_RETURN_MEAN, math.nan)])
        self._trained.extend(finite(episode) for episode in iteration.episodes)

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        self._played[evaluation.kind] = [finite(episode) for episode in evaluation.figures]
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
            found |= self._gaps(run)
        run.findings.update(found)

    def state_dict(self) -> dict[str, Any]:
        return {
            "fresh": _without_nan(self._train),
            "validation": _without_nan(self._validation),
            "trained": list(self._trained),
            "played": self._played,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # In an earlier version the training curve was a moving average: such a checkpoint has no usable curve.
        self._train = list(state.get("fresh", []))
        self._validation = list(state["validation"])
        self._trained.extend(state.get("trained", []))
        self._played = dict(state.get("played", {}))

    def _gaps(self, run: Run) -> dict[str, float | str]:
        selected = run.selection.metric.removeprefix(VALIDATION) if run.selection.by_validation else ""
        # Returns of episodes of different lengths cannot be compared.
        candidates = [name for name in (selected, "total_return") if name and not name.startswith("return_")]
        validation = self._played.get("validation", [])
        name = next((name for name in candidates if _has(self._trained, name) and _has(validation, name)), None)
        if name is None:
            return {}
        found: dict[str, float | str] = {"generalisation/metric": name}
        mode: Mode = run.selection.mode if name == selected else "max"
        for kind in (VALIDATION, TEST):
            episodes = self._played.get(kind.removesuffix("/"), [])
            if _has(episodes, name):
                gap: Generalisation = generalisation(_values(self._trained, name), _values(episodes, name), mode)
                numbers = as_numbers(f"generalisation/{kind}".removesuffix("/"), gap)
                found |= {key: numbers[key] for key in numbers if key.endswith(("/gap", "/verdict"))}
        return found


def _has(episodes: Iterable[Metrics], name: str) -> bool:
    return any(name in episode for episode in episodes)


def _values(episodes: Iterable[Metrics], name: str) -> Sequence[float]:
    return [episode[name] for episode in episodes if name in episode]


def _without_nan(points: list[list[float]]) -> list[list[float]]:
    """JSON has no NaN, and a point without a value says nothing."""
    return [point for point in points if math.isfinite(point[1])]
