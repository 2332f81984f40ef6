"""When a run ends: any of the stop criteria, or early stopping."""

from dataclasses import dataclass
from typing import Any

from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import Metrics, better, is_finite_number
from trainyard.specification import EarlyStopping, Stop


@dataclass(frozen=True)
class Counters:
    """Where a run is, over all its attempts. `seconds` is training time."""

    iteration: int = 0
    episodes: int = 0
    env_steps: int = 0
    seconds: float = 0.0


def stop_reason(stop: Stop, counters: Counters, metrics: Metrics) -> str | None:
    """Return why the run ends now, or None. A missing or NaN metric never ends it."""
    reached: list[tuple[float | None, float, str]] = [
        (stop.iterations, counters.iteration, "iterations"),
        (stop.episodes, counters.episodes, "episodes"),
        (stop.env_steps, counters.env_steps, "envSteps"),
        (stop.duration, counters.seconds, "seconds of stop.duration"),
    ]
    for limit, count, what in reached:
        if limit is not None and count >= limit:
            return f"{count:.0f} of {limit:.0f} {what}"
    for rule in stop.metrics:
        value = metrics.get(rule.metric)
        if value is None or not is_finite_number(value):
            continue
        if rule.at_least is not None and value >= rule.at_least:
            return f"{rule.metric} is {value:g}, at least {rule.at_least:g}"
        if rule.at_most is not None and value <= rule.at_most:
            return f"{rule.metric} is {value:g}, at most {rule.at_most:g}"
    return None


def fraction_done(stop: Stop, counters: Counters) -> float | None:
    """Share of the nearest countable criterion that is done, 0 to 1; None when only metrics end the run."""
    pairs = [
        (counters.iteration, stop.iterations),
        (counters.episodes, stop.episodes),
        (counters.env_steps, stop.env_steps),
        (counters.seconds, stop.duration),
    ]
    fractions = [value / limit for value, limit in pairs if limit is not None]
    return min(1.0, max(fractions)) if fractions else None


class EarlyStopper(Callback):
    """Ends a run whose metric no longer improves.

    Patience counts finite values of the metric: values of evaluations for a `validation/...` metric, of iterations for
    any other. A missing or NaN value neither uses patience up nor counts as the best.
    """

    def __init__(self, rule: EarlyStopping) -> None:
        self.rule = rule
        self.best: float | None = None
        self.best_iteration = 0
        self.without_improvement = 0

    def on_iteration(self, run: Any, iteration: Iteration) -> None:
        self.observe(run.counters.iteration, iteration.metrics)

    def on_evaluation(self, run: Any, evaluation: Evaluation) -> None:
        if evaluation.kind == "validation":
            self.observe(evaluation.iteration, evaluation.metrics)

    def stop_reason(self, run: Any) -> str | None:
        return self.reason(run.counters.iteration)

    def observe(self, iteration: int, metrics: Metrics) -> None:
        value = metrics.get(self.rule.metric)
        if value is None or not is_finite_number(value):
            return
        if better(value, self.best, self.rule.mode, self.rule.min_delta):
            self.best, self.best_iteration, self.without_improvement = value, iteration, 0
        else:
            self.without_improvement += 1

    def reason(self, iteration: int) -> str | None:
        """Return why the run ends early after `iteration` iterations, or None."""
        if self.without_improvement < self.rule.patience or iteration < self.rule.min_iterations:
            return None
        return (
            f"early stopping: {self.rule.metric} has not improved in {self.without_improvement} evaluations; "
            f"best {self.best:g} in iteration {self.best_iteration}"
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_iteration": self.best_iteration,
            "without_improvement": self.without_improvement,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best = state["best"]
        self.best_iteration = state["best_iteration"]
        self.without_improvement = state["without_improvement"]
