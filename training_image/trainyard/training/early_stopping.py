"""Early stopping: ends a run whose metric no longer improves."""

from typing import Any

from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import Metrics, better, is_finite_number
from trainyard.spec.sections import EarlyStopping


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
