"""The status of a TrainingRun as a value. `status_form` reads and writes the API's form. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from trainyard_operator.vocabulary import TERMINAL, ConditionType, Phase

KEPT_ATTEMPTS = 5
MAX_MESSAGE = 2048
MAX_LOG_TAIL = 4096


@dataclass(frozen=True)
class Condition:
    """A metav1.Condition."""

    type: str
    status: str
    reason: str
    message: str
    observed_generation: int
    last_transition_time: datetime


@dataclass(frozen=True)
class Attempt:
    """One ended attempt. `exit_code` is the driver's, None if there was none."""

    number: int
    cluster_name: str | None
    job_id: str | None
    start_time: datetime | None
    end_time: datetime
    reason: str
    message: str = ""
    exit_code: int | None = None
    log_tail: str = ""


@dataclass(frozen=True)
class FailureStatus:
    """Why the run, or its last attempt, failed. `field` is the path of the field to correct, if there is one."""

    kind: str
    reason: str
    message: str
    log_tail: str = ""
    exit_code: int | None = None
    field: str | None = None


@dataclass(frozen=True)
class Status:
    """All permanent knowledge of the operator about a run. Fields that are None are absent in the API.

    `attempt_start_time` starts the clocks of both deadlines: the cluster's creation, or the last release of quota; None
    while no time counts (queued, suspended, between attempts). `active_seconds` is the sum of the closed periods.
    `cluster_name` is set once the cluster of the attempt exists, `job_id` once Ray has accepted the submission.
    `cluster_ready_time` is when all pods of the attempt's cluster were ready for the first time, `progress_time` when
    the driver of the job reported progress for the first time. `provisioning_steps` is the progress of the attempt's
    pods (policies/provisioning_failure.py), reached at `provisioning_step_time`.
    """

    observed_generation: int | None = None
    started_generation: int | None = None
    phase: Phase = Phase.PENDING
    conditions: tuple[Condition, ...] = ()
    attempt: int = 1
    submission: int = 1
    failures: int = 0
    attempts: tuple[Attempt, ...] = ()
    cluster_name: str | None = None
    job_id: str | None = None
    start_time: datetime | None = None
    completion_time: datetime | None = None
    seed: int | None = None
    active_seconds: float = 0
    attempt_start_time: datetime | None = None
    cluster_ready_time: datetime | None = None
    submit_time: datetime | None = None
    progress_time: datetime | None = None
    provisioning_steps: int | None = None
    provisioning_step_time: datetime | None = None
    next_attempt_time: datetime | None = None
    resources: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None
    trials: Mapping[str, Any] | None = None
    best: Mapping[str, Any] | None = None
    checkpoint: Mapping[str, Any] | None = None
    analysis: Mapping[str, Any] | None = None
    failure: FailureStatus | None = None
    results: Mapping[str, Any] | None = None
    resumed_from: Mapping[str, Any] | None = None

    @property
    def terminal(self) -> bool:
        return self.phase in TERMINAL

    @property
    def attempt_over(self) -> bool:
        """The current attempt has ended: its cluster is no longer needed, and the next attempt has no number yet."""
        return bool(self.attempts) and self.attempts[-1].number == self.attempt

    def active_for(self, now: datetime) -> float:
        """Seconds that count towards spec.activeDeadlineSeconds."""
        since = self.attempt_start_time
        return self.active_seconds + (0 if since is None else max(0.0, (now - since).total_seconds()))

    def condition(self, kind: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == kind), None)

    def is_true(self, kind: str) -> bool:
        condition = self.condition(kind)
        return condition is not None and condition.status == "True"


def with_condition(
    status: Status, kind: str, value: str | bool, reason: str, message: str, now: datetime, generation: int
) -> Status:
    """The status with that condition set. Its transition time changes only if its value changes."""
    text = value if isinstance(value, str) else str(value)
    old = status.condition(kind)
    since = old.last_transition_time if old and old.status == text else now
    new = Condition(kind, text, reason, message[:MAX_MESSAGE], generation, since)
    if old is None:
        return replace(status, conditions=(*status.conditions, new))
    return replace(status, conditions=tuple(new if c.type == kind else c for c in status.conditions))


def with_transition(status: Status, kind: str, since: datetime) -> Status:
    """The status with another transition time of that condition."""
    found = (replace(c, last_transition_time=since) if c.type == kind else c for c in status.conditions)
    return replace(status, conditions=tuple(found))


def without_condition(status: Status, kind: ConditionType) -> Status:
    return replace(status, conditions=tuple(c for c in status.conditions if c.type != kind))


def with_clock_stopped(status: Status, now: datetime) -> Status:
    """Close the period that counts towards the deadlines."""
    return replace(status, active_seconds=round(status.active_for(now), 3), attempt_start_time=None)


def requeued(status: Status) -> Status:
    """The status of a job whose cluster was suspended: the next submission is a new one, on the same cluster."""
    number = status.submission + (status.job_id is not None)
    return replace(without_cluster_clocks(status), submission=number, job_id=None, submit_time=None)


def without_cluster_clocks(status: Status) -> Status:
    """The status for a cluster that starts again."""
    return replace(
        status,
        cluster_ready_time=None,
        progress_time=None,
        provisioning_steps=None,
        provisioning_step_time=None,
    )


def with_attempt_ended(
    status: Status, now: datetime, reason: str, message: str = "", exit_code: int | None = None, log_tail: str = ""
) -> Status:
    """The status with the current attempt in the history and the clocks stopped."""
    ended = Attempt(
        number=status.attempt,
        cluster_name=status.cluster_name,
        job_id=status.job_id,
        start_time=status.attempt_start_time,
        end_time=now,
        reason=reason,
        message=message[:MAX_MESSAGE],
        exit_code=exit_code,
        log_tail=tail(log_tail),
    )
    stopped = with_clock_stopped(status, now)
    return replace(stopped, attempts=(*status.attempts, ended)[-KEPT_ATTEMPTS:], next_attempt_time=None)


def tail(text: str, limit: int = MAX_LOG_TAIL) -> str:
    """The last `limit` bytes of a text in UTF-8, from the start of a line if possible."""
    data = text.encode()
    if len(data) <= limit:
        return text
    cut = data[-limit:].decode(errors="ignore")
    line, newline, rest = cut.partition("\n")
    return rest if newline and rest else line or cut
