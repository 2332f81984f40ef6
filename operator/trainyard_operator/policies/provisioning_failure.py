"""What counts as a provisioning failure: everything that ends an attempt because its cluster does not start. Pure.

Each function returns the failure, or None. `provisioning` and `selection` ask the first four functions in every
pass, `deadlines` the last one. All other trouble of pods is no failure: the condition ClusterReady shows it until the
deadline.
"""

from dataclasses import replace
from datetime import datetime

from trainyard_operator import steps
from trainyard_operator.model import Failure, FailureKind, Observed, Plan, Pod
from trainyard_operator.policies.out_of_memory import out_of_memory
from trainyard_operator.readings.pods import SHELL_NOT_FOUND
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType, Reason

STEP_PACE = 30.0
"""Seconds between two records of the pods' progress."""
HOPELESS = frozenset({"InvalidImageName"})
"""Pods' own reasons for which waiting cannot help: the image's name itself is wrong."""


def refused_for_good(reason: str, message: str) -> Failure:
    """The API server can never accept the cluster."""
    return Failure(FailureKind.USER, reason, message)


def cluster_lost(status: Status) -> Failure:
    message = f"the RayCluster {status.cluster_name} was deleted by somebody else"
    return Failure(FailureKind.RUN, Reason.CLUSTER_LOST, message)


def hopeless_pod(observed: Observed) -> Failure | None:
    """A pod that waits for something that can never happen."""
    for pod in observed.pods:
        if pod.problem and pod.problem.reason in HOPELESS and not pod.over:
            return Failure(FailureKind.USER, pod.problem.reason, pod.problem.message, field="spec.image")
    return None


def head_ended(observed: Observed, status: Status) -> Failure | None:
    """The head ended before a job was submitted; after that `completion` decides."""
    head = observed.ended_head
    if observed.head is not None or head is None or status.job_id is not None:
        return None
    if head.end and head.end.exit_code == SHELL_NOT_FOUND:
        message = f"the image has no `ray` command (pod {head.name} exited with 127): use an image with Ray in it"
        kind, reason, field = FailureKind.USER, Reason.IMAGE_LACKS_RAY, "spec.image"
        return Failure(kind, reason, message, log_tail=observed.log_tail, field=field)
    if head.deleting and head.end is None:
        message = f"the head pod {head.name} was deleted before a job could be submitted"
        return Failure(FailureKind.RUN, Reason.HEAD_LOST, message)
    return _crashed(observed, head)


def _crashed(observed: Observed, head: Pod) -> Failure:
    if memory := out_of_memory(observed):
        return memory
    end = head.end
    message = f"the head pod {head.name} ended before a job could be submitted"
    message += f": {end.reason}, exit code {end.exit_code}. {end.message}" if end else ""
    return Failure(FailureKind.RUN, Reason.HEAD_FAILED, message.strip(), log_tail=observed.log_tail)


def seconds_left(observed: Observed, status: Status, now: datetime) -> float | None:
    """Time until the cluster is late; None when it can no longer be late.

    The clock starts again with every further step of its pods: a new node and a large image each have the whole time.
    It stops when all pods were ready once and Ray accepted the job, or when the driver makes progress without the
    other pods. The status counts as well as this process's memory: the process may be a minute old, and the run hours.
    """
    provisioned = status.cluster_ready_time is not None and status.job_id is not None
    moves = status.progress_time is not None or (observed.progress is not None and observed.progress.moves)
    if provisioned or moves or status.attempt_start_time is None:
        return None
    since = max(status.attempt_start_time, status.provisioning_step_time or status.attempt_start_time)
    return observed.run.provisioning_deadline - (now - since).total_seconds()


def with_steps(observed: Observed, plan: Plan, now: datetime) -> Plan:
    """The plan with the pods' progress on record: the highest number of steps that was ever seen.

    So pods that come and go again do not count twice. A cluster with many pods makes many steps in a moment, so there
    is some time between two records.
    """
    status, done = plan.status, sum(pod.steps for pod in observed.pods if not pod.over)
    if status.cluster_ready_time is not None or done <= (status.provisioning_steps or 0):
        return plan
    since, pace = status.provisioning_step_time, min(STEP_PACE, observed.run.provisioning_deadline / 10)
    wait = 0 if since is None else pace - (now - since).total_seconds()
    if wait > 0:
        return steps.look_again(plan, wait)
    return replace(plan, status=replace(status, provisioning_steps=done, provisioning_step_time=now))


def late(observed: Observed, status: Status) -> Failure:
    """The deadline has passed; the message has the last message of the pods, or of Ray."""
    ready = status.is_true(ConditionType.CLUSTER_READY)
    condition = status.condition(ConditionType.RUNNING if ready else ConditionType.CLUSTER_READY)
    why = f"{condition.reason}: {condition.message}" if condition else "no pod was seen"
    limit = observed.run.provisioning_deadline
    message = (
        f"the cluster was not ready and made no progress within spec.provisioningDeadlineSeconds ({limit:g} s): {why}"
    )
    return Failure(FailureKind.FINAL, Reason.PROVISIONING_DEADLINE, message)
