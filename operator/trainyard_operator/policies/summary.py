"""The conditions that sum up a phase: for people, for kubectl wait, for kstatus (Flux) and Argo CD."""

from trainyard_operator import steps
from trainyard_operator.model import Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType, Phase, Reason

T = ConditionType


def summary(observed: Observed, plan: Plan, context: Context) -> Plan:
    phase = plan.status.phase
    reason, message = _words(plan.status)
    values = {
        T.READY: phase == Phase.SUCCEEDED,
        T.RECONCILING: phase not in (Phase.SUCCEEDED, Phase.FAILED, Phase.SUSPENDED),
        T.STALLED: phase == Phase.FAILED,
        T.COMPLETE: phase == Phase.SUCCEEDED,
        T.FAILED: phase == Phase.FAILED,
        T.SUSPENDED: phase == Phase.SUSPENDED,
    }
    for kind, value in values.items():
        plan = steps.condition(plan, observed, context.now, kind, value, reason, message)
    if phase != Phase.RUNNING and not _says_more(plan.status):
        text = "no driver runs"
        plan = steps.condition(plan, observed, context.now, T.RUNNING, False, Reason.DRIVER_NOT_RUNNING, text)
    idle = phase in (Phase.PENDING, Phase.SUSPENDED) and not _waits_for_match(plan.status)
    if idle or plan.status.attempt_over:
        text = "the run has no cluster at the moment"
        plan = steps.condition(plan, observed, context.now, T.CLUSTER_READY, False, Reason.NO_CLUSTER, text)
    return plan


def _says_more(status: Status) -> bool:
    """Whether Running already has a more specific reason: a silent dashboard, a head that does not accept the job."""
    running = status.condition(T.RUNNING)
    if running is None or status.attempt_over or status.phase != Phase.PROVISIONING:
        return False
    waits = running.reason in (Reason.JOB_NOT_TAKEN, Reason.FINALIZER_REFUSED) and status.job_id is None
    return running.status == "Unknown" or waits


def _waits_for_match(status: Status) -> bool:
    """Whether ClusterReady already has a more specific reason: no cluster matches the run's selector."""
    ready = status.condition(T.CLUSTER_READY)
    return status.phase == Phase.PENDING and ready is not None and ready.reason == Reason.NO_MATCHING_CLUSTER


def _words(status: Status) -> tuple[str, str]:
    """Reason and message of the conditions that follow from the phase."""
    match status.phase:
        case Phase.FAILED if status.failure:
            return status.failure.reason, status.failure.message
        case Phase.PENDING if status.is_true(T.KUBERAY_MISSING):
            missing = status.condition(T.KUBERAY_MISSING)
            return str(T.KUBERAY_MISSING), missing.message if missing else ""
        case Phase.PENDING if status.attempt_over and status.failure:
            message = f"attempt {status.attempt} failed ({status.failure.reason}); the next one starts after a delay"
            return Reason.RETRYING, message
        case Phase.PENDING if _waits_for_match(status):
            ready = status.condition(T.CLUSTER_READY)
            return Reason.NO_MATCHING_CLUSTER, ready.message if ready else ""
        case Phase.PROVISIONING if not status.is_true(T.CLUSTER_READY) and status.condition(T.CLUSTER_READY):
            ready = status.condition(T.CLUSTER_READY)
            return str(status.phase), f"{ready.reason}: {ready.message}" if ready else ""
    texts = {
        Phase.PENDING: "the run waits for its cluster",
        Phase.QUEUED: "the RayCluster waits for quota",
        Phase.PROVISIONING: "the cluster starts",
        Phase.RUNNING: "the driver runs",
        Phase.SUCCEEDED: "the run has succeeded",
        Phase.FAILED: "the run has failed",
        Phase.SUSPENDED: "spec.suspend is true",
    }
    return str(status.phase), texts[status.phase]
