"""Callbacks: one object per concern; the driver loop calls them at every event of a run.

A callback that must continue after a restart returns its state from `state_dict`. The state is saved with every
checkpoint and restored with it. Units: an iteration is one train() of the algorithm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from trainyard.metrics import Metrics

if TYPE_CHECKING:
    from trainyard.runs.checkpoints import Checkpoint
    from trainyard.runs.run import Outcome, Run


@dataclass(frozen=True)
class Iteration:
    """One finished training iteration.

    Attributes:
        number: counts from 1, over all attempts of the run.
        metrics: this iteration's values by their names in docs/metrics.md, `rllib/...` included; NaN is possible.
        episodes: the episodes that finished in it, each with `return`, `length` and the environment's own figures.
        seconds: wall time of train().
    """

    number: int
    metrics: Metrics
    episodes: list[dict[str, float]]
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation, or the test at the end.

    Attributes:
        kind: `validation` or `test`.
        iteration: the training iteration whose policy was evaluated.
        metrics: by their full names (`validation/return_mean`).
        episodes: RLlib's SingleAgentEpisode objects, whole, with observations, actions, rewards and infos.
        seconds: wall time.
        figures: for each episode, `return`, `length` and the environment's own figures.
    """

    kind: Literal["validation", "test"]
    iteration: int
    metrics: Metrics
    episodes: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    figures: list[Metrics] = field(default_factory=list)


class Callback:
    """Base class: every method does nothing.

    `name` is the key of the callback's state in a checkpoint; a class used twice in one run needs two names.
    """

    @property
    def name(self) -> str:
        return type(self).__name__

    def on_run_start(self, run: Run) -> None:
        """Before the first iteration; a restored run has its counters already (`run.restored_iteration`)."""

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        """After every training iteration, before the evaluation that may follow it."""

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        """After every evaluation, and after the test at the end."""

    def on_wait(self, run: Run, words: str) -> None:
        """When an iteration or evaluation has gone on for another half minute: what it is doing, in one line.

        Called in a thread of its own, while the driver works; every other method is called in the driver's thread.
        """

    def on_checkpoint(self, run: Run, checkpoint: Checkpoint) -> None:
        """After a checkpoint has been written; `checkpoint.best` says whether it is the best so far."""

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        """Once, also after an error or SIGTERM. Called for every callback, even when another one raises."""

    def stop_reason(self, run: Run) -> str | None:
        """The reason to end the run after this iteration, or None; called after the iteration and its evaluation."""
        return None

    def runner_callbacks(self) -> list[Callable[[], Any]]:
        """The factories of the RLlibCallbacks that run inside the env runners: classes, or partials of classes."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """JSON-compatible state that a later attempt needs."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` returned when the checkpoint was written."""
