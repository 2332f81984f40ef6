"""Events for people. They follow from the difference of two statuses, so no news is told twice. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trainyard_operator import clock
from trainyard_operator.model import Manifest, Run
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import GROUP, KIND, VERSION, ConditionType, Phase, Reason

COMPONENT = "trainyard-operator"
QUIET_REASONS = frozenset(
    {Reason.PODS_READY, Reason.PODS_STARTING, Reason.WAITING_FOR_PODS, Reason.NO_CLUSTER, Reason.HEAD_STARTING}
)
MAX_MESSAGE = 1024


@dataclass(frozen=True)
class Announcement:
    """`warning`: somebody may want to act. `about`: a condition that may come and go, told at most once a minute."""

    reason: str
    message: str
    warning: bool = False
    about: str = ""


def announcements(old: Status, new: Status) -> tuple[Announcement, ...]:
    """The news in the step from one status to the next."""
    told: list[Announcement] = []
    if len(new.attempts) and (not old.attempts or new.attempts[-1] != old.attempts[-1]):
        ended = new.attempts[-1]
        if ended.reason not in (Reason.SUCCEEDED, Reason.SUSPENDED):
            told.append(Announcement(ended.reason, f"attempt {ended.number} failed: {ended.message}", True))
    told += _troubles(old, new)
    if new.job_id and new.job_id != old.job_id:
        told.append(Announcement("Submitted", f"Ray has accepted the job {new.job_id}"))
    if new.phase != old.phase and new.phase != Phase.PENDING:
        told.append(_phase(new))
    return tuple(told)


def _troubles(old: Status, new: Status) -> list[Announcement]:
    told = []
    for condition in new.conditions:
        before = old.condition(condition.type)
        if before and (before.status, before.reason) == (condition.status, condition.reason):
            continue
        if _is_trouble(condition.type, condition.status, condition.reason):
            # A driver may choose any reason, so a new reason alone is no news; for pods and the operator it is.
            own = condition.type in set(ConditionType)
            about = f"{condition.type}/{condition.reason}" if own else str(condition.type)
            told.append(Announcement(condition.reason, condition.message, True, about))
    return told


def _is_trouble(kind: str, status: str, reason: str) -> bool:
    if kind == ConditionType.CLUSTER_READY:
        return status == "False" and reason not in QUIET_REASONS
    if kind == ConditionType.RUNNING:
        return status == "Unknown" or reason == Reason.FINALIZER_REFUSED
    if kind in (ConditionType.KUBERAY_MISSING, ConditionType.SPEC_CHANGED, ConditionType.JOB_LEFT):
        return status == "True"
    if kind in (ConditionType.RESULTS_KEPT, ConditionType.PROGRESS_READABLE):
        return status == "False"
    return kind not in set(ConditionType) and status == "True"


def _phase(new: Status) -> Announcement:
    if new.phase == Phase.FAILED and new.failure:
        return Announcement("Failed", f"{new.failure.reason}: {new.failure.message}", True)
    texts: Mapping[Phase, str] = {
        Phase.QUEUED: "the RayCluster waits for quota",
        Phase.PROVISIONING: f"attempt {new.attempt} prepares its cluster",
        Phase.RUNNING: "the driver runs",
        Phase.SUCCEEDED: "the run has succeeded",
        Phase.SUSPENDED: "spec.suspend is true; the run stops",
    }
    return Announcement(str(new.phase), texts.get(new.phase, ""))


def event(run: Run, told: Announcement, now: datetime) -> Manifest:
    """A core/v1 Event. The same news about the same run has the same name, so there is only one Event for it."""
    digest = hashlib.sha256(f"{run.uid}/{told.reason}/{told.message}".encode()).hexdigest()[:16]
    time = clock.to_text(now)
    reference: dict[str, Any] = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "namespace": run.key.namespace,
        "name": run.key.name,
        "uid": run.uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{run.key.name}.{digest}", "namespace": run.key.namespace},
        "involvedObject": reference,
        "reason": str(told.reason)[:128],
        "message": told.message[:MAX_MESSAGE],
        "type": "Warning" if told.warning else "Normal",
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
