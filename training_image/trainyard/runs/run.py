"""One run (or one trial of a search) as the driver loop and its callbacks see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from trainyard.metrics import VALIDATION, Metrics, is_finite_number
from trainyard.runs.checkpoints import Checkpoint
from trainyard.runs.stopping import Counters
from trainyard.runs.storage import RunStorage
from trainyard.spec.sections import Specification

SELECTION_WITHOUT_EVALUATION = "train/return_mean"


@dataclass(frozen=True)
class Selection:
    """The metric by which one policy is better than another."""

    metric: str
    mode: Literal["max", "min"] = "max"

    @property
    def by_validation(self) -> bool:
        return self.metric.startswith(VALIDATION)


@dataclass(frozen=True)
class Best:
    """The best value of the selection metric so far."""

    value: float
    iteration: int


@dataclass(frozen=True)
class Identity:
    """Whose run this is: the object's name and uid, the Ray job, and the operator's counters."""

    name: str
    namespace: str = "default"
    uid: str = ""
    job_id: str = "local"
    attempt: int = 1
    submission: int = 1


@dataclass(frozen=True)
class RestoredReplay:
    """The replay buffer after going on from a checkpoint. missing: why it is empty; empty text when nothing is."""

    steps: int
    missing: str = ""


@dataclass
class Run:
    """What callbacks may read while a run goes on. Only the driver loop changes it.

    Attributes:
        document: the TrainingRun as it was read; `document["spec"]` has every field, the operator's too.
        metrics: the latest finite value of every metric.
        restored_iteration: the iteration of the checkpoint that this attempt goes on from; 0 for a fresh start.
        lost_iterations: those that the attempt before had done after that checkpoint; they are done again.
        resumed_from: what was taken of another run's checkpoint, in words; "" when nothing was.
        restored_checkpoints: the latest and the best one, where there are such, when this attempt starts.
        restored_best: the metrics that were saved with the best one.
        restored_replay: what came back with it of the replay buffer; None when the algorithm has none.
        findings: verdicts on the run's curves and the numbers behind them, set at its end.
        foreach_env_runner: calls a function with every env runner, where it runs, between two of its samples.
        listen: has a function called in the driver with the episodes that arrive whole (asynchronous collection).
    """

    identity: Identity
    specification: Specification
    document: dict[str, Any]
    storage: RunStorage
    counters: Counters = field(default_factory=Counters)
    metrics: Metrics = field(default_factory=dict)
    restored_iteration: int = 0
    lost_iterations: int = 0
    resumed_from: str = ""
    restored_checkpoints: tuple[Checkpoint, ...] = ()
    restored_best: Metrics = field(default_factory=dict)
    restored_replay: RestoredReplay | None = None
    best: Best | None = None
    findings: dict[str, float | str] = field(default_factory=dict)
    foreach_env_runner: Callable[[Callable[[Any], None]], None] = lambda call: None
    listen: Callable[[Callable[[list[Any]], None]], None] = lambda call: None

    @property
    def selection(self) -> Selection:
        """By early stopping's metric; else by the validation return; else by the training return."""
        specification = self.specification
        if specification.early_stopping is not None:
            return Selection(specification.early_stopping.metric, specification.early_stopping.mode)
        if specification.evaluation is not None:
            return Selection(f"{VALIDATION}return_mean")
        return Selection(SELECTION_WITHOUT_EVALUATION)

    def take(self, metrics: Metrics) -> None:
        """Keep the latest finite values."""
        self.metrics.update({name: value for name, value in metrics.items() if is_finite_number(value)})


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `error` is None for a run that reached one of its stop criteria."""

    reason: str
    seconds: float
    error: BaseException | None = None
