"""The callback that turns an algorithm run into snapshots on the progress channel."""

import logging
import math
import re
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainyard import metrics as names
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import Metrics
from trainyard.progress.channel import Progress
from trainyard.runs.checkpoints import Checkpoint
from trainyard.runs.run import Outcome, Run
from trainyard.runs.stopping import fraction_done

logger = logging.getLogger(__name__)

# Recent iterations alone: episodes of a policy that learns get longer or shorter.
ITERATIONS_OF_THE_ESTIMATE = 10
# Evaluations (or iterations) without a value of a metric that something waits for, after which people are told. The
# first ones may have none for good reasons: no episode has finished, or an account has never moved.
CHANCES = 3


# Conditions about episodes, by the figure that counts them.
_WORTH_TELLING = {
    names.NON_FINITE_EPISODES: (
        "NonFiniteEpisodes",
        "LeftOut",
        "so many episodes had a reward or an observation that is not finite; they are left out",
    ),
    names.CUT_EPISODES: (
        "EpisodesCut",
        "TooLong",
        "so many episodes were ended at maxStepsPerEpisode; raise it, or let the environment end its episodes",
    ),
}


@dataclass
class _Awaited:
    """Metrics that something waits for, the condition that reports missing ones, and what cannot be done until then."""

    condition: str
    metrics: tuple[str, ...]
    consequence: str
    missing: tuple[str, ...] = ()


def _awaited(run: Run) -> list[_Awaited]:
    consequence = "there is no best checkpoint, early stopping by it waits, and a test plays the latest policy"
    stops = tuple(dict.fromkeys(stop.metric for stop in run.specification.stop.metrics))
    return [
        _Awaited("SelectionMetricMissing", (run.selection.metric,), consequence),
        _Awaited("StopMetricMissing", stops, "it cannot end the run"),
    ]


def _measured_in(metric: str) -> str:
    return "evaluations" if metric.startswith(names.VALIDATION) else "iterations"


class ProgressReporter(Callback):
    """Publishes progress after every iteration (bounded in rate), every checkpoint and every evaluation."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._started = time.monotonic()
        self._fraction_at_start = 0.0
        self._ended_well = False
        self._checkpoints: dict[str, Any] = {}
        self._episodes: deque[int] = deque(maxlen=ITERATIONS_OF_THE_ESTIMATE)
        self._chances: Counter[str] = Counter()
        self._awaited: list[_Awaited] = []
        self._waited = False
        self._told: dict[str, float] = {}

    def on_run_start(self, run: Run) -> None:
        self._started = time.monotonic()
        self._awaited = _awaited(run)
        self._fraction_at_start = fraction_done(run.specification.stop, run.counters) or 0.0
        for checkpoint in run.restored_checkpoints:
            self._take(checkpoint)
        if run.restored_iteration:
            self._progress.update(startedIteration=run.restored_iteration)
            self._warn_of_empty_buffer(run)
        if run.lost_iterations:
            self._progress.update(lostIterations=run.lost_iterations)
        self._publish(run, {}, now=True)

    def on_wait(self, run: Run, words: str) -> None:
        self._waited = True
        self._progress.condition("NothingFinished", "True", "StillRunning", words)

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self._goes_on()
        self._tell_of_episodes(iteration.metrics)
        self._episodes.append(len(iteration.episodes))
        self._look_for_metrics(run, "iterations")
        self._publish(run, iteration.metrics, now=False)

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        self._goes_on()
        self._tell_of_episodes(evaluation.metrics)
        if evaluation.kind == "validation":
            self._look_for_metrics(run, "evaluations")
        self._publish(run, evaluation.metrics, now=False)

    def on_checkpoint(self, run: Run, checkpoint: Checkpoint) -> None:
        self._take(checkpoint)
        self._publish(run, {}, now=True)

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        self._ended_well = outcome.error is None
        self._goes_on()
        self._progress.update(analysis=analysis_section(run.findings))
        self._publish(run, {}, now=False)

    def _take(self, checkpoint: Checkpoint) -> None:
        entry = {"uri": checkpoint.uri, "iteration": checkpoint.iteration, "time": checkpoint.time}
        self._checkpoints["best" if checkpoint.best else "latest"] = entry
        self._progress.update(checkpoint=dict(self._checkpoints))

    def _goes_on(self) -> None:
        if self._waited:
            self._waited = False
            self._progress.condition("NothingFinished", "False", "Finished", "the iteration or evaluation has ended")

    def _tell_of_episodes(self, latest: Metrics) -> None:
        """Tell of episodes that are not what a reader of their means takes them for."""
        for figure, (condition, reason, words) in _WORTH_TELLING.items():
            for metric in (f"{kind}/{figure}" for kind in ("train", "validation", "test")):
                if metric in latest and self._told.get(metric) != latest[metric]:
                    self._told[metric] = latest[metric]
                    status = "True" if latest[metric] else "False"
                    self._progress.condition(condition, status, reason, f"{metric} is {latest[metric]:.0f}: {words}")

    def _look_for_metrics(self, run: Run, measured: str) -> None:
        """Report metrics that never have a value, while the user can still do something about it."""
        self._chances[measured] += 1
        for awaited in self._awaited:
            missing = tuple(
                metric
                for metric in awaited.metrics
                if metric not in run.metrics and self._chances[_measured_in(metric)] >= CHANCES
            )
            if missing == awaited.missing:
                continue
            awaited.missing = missing
            if missing:
                message = _message(run, missing, awaited.consequence)
                logger.warning("%s", message)
                self._progress.condition(awaited.condition, "True", "NoValue", message)
            else:
                message = f"{', '.join(awaited.metrics)} has a value now"
                self._progress.condition(awaited.condition, "False", "Measured", message)

    def _warn_of_empty_buffer(self, run: Run) -> None:
        replay, algorithm = run.restored_replay, run.specification.algorithm
        if replay is not None and replay.missing and algorithm is not None:
            self._progress.condition(
                "ReplayBufferRefills",
                "True",
                "NotInCheckpoint",
                f"{algorithm.name} goes on from iteration {run.restored_iteration} with an empty replay buffer: "
                f"{replay.missing}; learning goes on when it has as many steps as before a run's first update",
            )

    def _publish(self, run: Run, latest: Metrics, *, now: bool) -> None:
        """Metrics that are NaN now are kept, so that the line lists their names as non-finite."""
        metrics = {name: value for name, value in run.metrics.items() if not name.startswith(names.RLLIB)}
        metrics |= {
            name: value
            for name, value in latest.items()
            if isinstance(value, float) and math.isnan(value) and not name.startswith(names.RLLIB)
        }
        wanted = {rule.metric for rule in run.specification.stop.metrics} | {run.selection.metric}
        metrics |= {name: run.metrics[name] for name in wanted if name in run.metrics}
        sections: dict[str, Any] = {"progress": self._section(run), "metrics": metrics}
        if run.best is not None:
            sections["best"] = {
                "metric": run.selection.metric,
                "value": run.best.value,
                "iteration": run.best.iteration,
            }
        self._progress.update(**sections)
        self._progress.publish(now=now)

    def _section(self, run: Run) -> dict[str, Any]:
        counters = run.counters
        section: dict[str, Any] = {
            "iteration": counters.iteration,
            "envSteps": counters.env_steps,
            "episodes": counters.episodes,
        }
        for key, name in (
            ("envStepsPerSecond", names.ENV_STEPS_PER_SECOND),
            ("episodesPerSecond", names.EPISODES_PER_SECOND),
            ("episodeReturnMean", names.TRAIN_RETURN_MEAN),
        ):
            if name in run.metrics:
                section[key] = run.metrics[name]
        if self._episodes:
            section["episodesPerIteration"] = sum(self._episodes) / len(self._episodes)
        if self._ended_well:
            # A metric or early stopping may have ended it long before the countable criteria.
            return section | {"percent": 100.0}
        fraction = fraction_done(run.specification.stop, counters)
        if fraction is not None:
            section["percent"] = 100 * fraction
            gained = fraction - self._fraction_at_start
            if gained > 0:
                elapsed = time.monotonic() - self._started
                section["estimatedSecondsLeft"] = elapsed * (1 - fraction) / gained
        return section


def analysis_section(findings: Mapping[str, float | str]) -> dict[str, Any] | None:
    """Findings in the form of a progress line: `overfitting/train_change` becomes `trainChange` in `overfitting`."""
    section: dict[str, Any] = {}
    for name, value in findings.items():
        subject, figure = name.split("/", 1)
        first, *others = re.split("[/_]", figure)
        section.setdefault(subject, {})[first + "".join(map(str.capitalize, others))] = value
    return section or None


def _message(run: Run, missing: tuple[str, ...], consequence: str) -> str:
    prefixes = tuple(metric.partition("/")[0] + "/" for metric in missing)
    known = ", ".join([name for name in run.metrics if name.startswith(prefixes)][:8]) or "none of its kind"
    return (
        f"{', '.join(missing)} has had no value in {CHANCES} {_measured_in(missing[0])}: until it has one "
        f"{consequence}; there are {known}"
    )
