"""Metrics that a search waits for and no trial reports: told after the first results, and an error at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from trainyard.errors import UserError, nearest
from trainyard.metrics import RLLIB, TEST, VALIDATION
from trainyard.runs.job import Job
from trainyard.search.trials import TrialTable
from trainyard.spec.sections import Specification

logger = logging.getLogger(__name__)

# Results of one trial without the metric, after which people are told: a trial may give some of its metrics rarely.
CHANCES = 3


class MetricNotReported(UserError):
    """No trial of the search ever had a value of the metric that compares them."""

    field = "spec.search.metric"


@dataclass
class _Awaited:
    """Metrics that something waits for, the condition that tells of missing ones, and what is not done until then."""

    condition: str
    metrics: tuple[str, ...]
    consequence: str
    missing: tuple[str, ...] = ()


class AwaitedMetrics:
    """Compares what the trials report with what the specification waits for."""

    def __init__(self, job: Job, table: TrialTable) -> None:
        self._job = job
        self._table = table
        self._awaited = _awaited(job.specification)
        self._told_dropped: set[str] = set()

    def look(self) -> None:
        """Tell of every metric that is missing, has come after all, or was dropped; of each once."""
        for awaited in self._awaited:
            missing = tuple(metric for metric in awaited.metrics if self._is_missing(metric))
            if missing == awaited.missing:
                continue
            awaited.missing = missing
            if missing:
                message = f"{self._explained(missing)}: until it has one {awaited.consequence}"
                self._tell(awaited.condition, "NoValue", message)
            else:
                message = f"{', '.join(awaited.metrics)} has a value now"
                self._job.progress.condition(awaited.condition, "False", "Measured", message)
        if new := sorted(self._table.dropped.keys() - self._told_dropped):
            self._told_dropped.update(new)
            given = ", ".join(f"{name} ({kind})" for name, kind in sorted(self._table.dropped.items()))
            message = (
                f"these results of trials are no numbers and do not count as metrics: {given}; report one number each"
            )
            self._tell("MetricsDropped", "NotNumbers", message)

    def require(self) -> None:
        """Raise MetricNotReported when the search has ended and no trial ever had its metric."""
        search = self._job.specification.search
        if search is not None and search.metric not in self._table.names:
            raise MetricNotReported(f"{self._explained((search.metric,))}: no trial can be called the best")

    def _tell(self, condition: str, reason: str, message: str) -> None:
        logger.warning("%s", message)
        self._job.progress.condition(condition, "True", reason, message)

    def _is_missing(self, metric: str) -> bool:
        if metric in self._table.names:
            return False
        evaluation = self._job.specification.evaluation
        every = evaluation.every_iterations if evaluation is not None and metric.startswith(VALIDATION) else 1
        results = 0 if metric.startswith(TEST) else max(trial.iteration for trial in self._table.trials)
        return results >= CHANCES * every or any(trial.state == "Succeeded" for trial in self._table.trials)

    def _explained(self, missing: tuple[str, ...]) -> str:
        """Which metrics no trial has, why, and what there is instead."""
        results = sum(trial.iteration for trial in self._table.trials)
        words = f"{', '.join(missing)} has had no value in {results} results"
        if kinds := [f"{name} was {self._table.dropped[name]}" for name in missing if name in self._table.dropped]:
            return f"{words} ({', '.join(kinds)}, not a number)"
        if non_finite := [name for name in missing if name in self._table.non_finite]:
            return f"{words} ({', '.join(non_finite)} was never a finite number)"
        known = sorted(self._table.names)
        if not known:
            return f"{words}; there is no metric at all"
        near = [nearest(name, known) for name in missing]
        guesses = "".join(f"; {guess}" for guess in dict.fromkeys(near) if guess.startswith("did"))
        return f"{words}{guesses}; there are {', '.join(known[:20])}"


def _awaited(specification: Specification) -> list[_Awaited]:
    stops = dict.fromkeys(stop.metric for stop in specification.stop.metrics)
    awaited = []
    if specification.search is not None:
        consequence = "the trials cannot be compared, and without one at the end the run fails"
        awaited.append(_Awaited("SelectionMetricMissing", (specification.search.metric,), consequence))
    # A trial of an algorithm does not report RLlib's own metrics, and stops by them all the same.
    told = tuple(name for name in stops if specification.algorithm is None or not name.startswith(RLLIB))
    return [*awaited, _Awaited("StopMetricMissing", told, "it cannot end a trial")]
