"""What counts as a provisioning failure: everything that ends an attempt because its cluster does not come up. Pure.

Each function says whether that is so, and with what words; `provisioning` and `selection` ask the first four in every
pass, `deadlines` the last. What is not here is waited for: a pod's trouble is shown in the condition ClusterReady until
the deadline.
"""

from datetime import datetime

from trainyard_operator.model import Failure, FailureKind, Observed, Pod
from trainyard_operator.readings.pods import OOM_KILLED, SHELL_NOT_FOUND
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType, Reason

HOPELESS = frozenset({"InvalidImageName"})
"""Pods' own reasons that no waiting can cure: the image's name itself is wrong."""


def refused_for_good(reason: str, message: str) -> Failure:
    """The API server can never accept the cluster."""
    return Failure(FailureKind.USER, reason, message)


def cluster_lost(status: Status) -> Failure:
    message = f"the RayCluster {status.cluster_name} was deleted by somebody else"
    return Failure(FailureKind.RUN, Reason.CLUSTER_LOST, message)


def hopeless_pod(observed: Observed) -> Failure | None:
    """A pod that waits for what will never come."""
    for pod in observed.pods:
        if pod.problem and pod.problem.reason in HOPELESS and not pod.over:
            return Failure(FailureKind.USER, pod.problem.reason, pod.problem.message, field="spec.image")
    return None


def head_ended(observed: Observed, status: Status) -> Failure | None:
    """The head ended before it could take a job; afterwards the completion judges."""
    head = observed.ended_head
    if observed.head is not None or head is None or status.job_id is not None:
        return None
    if head.end and head.end.exit_code == SHELL_NOT_FOUND:
        message = f"the image has no `ray` command (pod {head.name} exited with 127): use an image with Ray in it"
        kind, reason, field = FailureKind.USER, Reason.IMAGE_LACKS_RAY, "spec.image"
        return Failure(kind, reason, message, log_tail=observed.log_tail, field=field)
    if head.deleting and head.end is None:
        message = f"the head pod {head.name} was deleted before it could take a job"
        return Failure(FailureKind.RUN, Reason.HEAD_LOST, message)
    return _crashed(head, observed.log_tail)


def _crashed(head: Pod, log_tail: str) -> Failure:
    end = head.end
    reason = Reason.OOM_KILLED if end and end.reason == OOM_KILLED else Reason.HEAD_FAILED
    message = f"the head pod {head.name} ended before it could take a job"
    message += f": {end.reason}, exit code {end.exit_code}. {end.message}" if end else ""
    return Failure(FailureKind.RUN, reason, message.strip(), log_tail=log_tail)


def seconds_left(observed: Observed, status: Status, now: datetime) -> float | None:
    """Until the cluster is late; None once it no longer can be.

    That is when all pods were ready once and Ray took the job, or when the driver makes progress without the rest. What
    is on record counts as well as what is in memory: this process may be a minute old, and the run hours.
    """
    provisioned = status.cluster_ready_time is not None and status.job_id is not None
    moves = status.progress_time is not None or (observed.progress is not None and observed.progress.moves)
    if provisioned or moves or status.attempt_start_time is None:
        return None
    return observed.run.provisioning_deadline - (now - status.attempt_start_time).total_seconds()


def late(observed: Observed, status: Status) -> Failure:
    """The deadline has passed; the message has what the pods, or Ray, said last."""
    ready = status.is_true(ConditionType.CLUSTER_READY)
    condition = status.condition(ConditionType.RUNNING if ready else ConditionType.CLUSTER_READY)
    why = f"{condition.reason}: {condition.message}" if condition else "no pod was seen"
    limit = observed.run.provisioning_deadline
    message = f"the cluster was not ready within spec.provisioningDeadlineSeconds ({limit:g} s): {why}"
    return Failure(FailureKind.FINAL, Reason.PROVISIONING_DEADLINE, message)
