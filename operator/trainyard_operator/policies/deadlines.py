"""activeDeadlineSeconds and provisioningDeadlineSeconds. Their clocks follow from the status alone."""

from trainyard_operator import steps
from trainyard_operator.model import Failure, FailureKind, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.vocabulary import ConditionType, Reason


def deadlines(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = plan.status
    if status.terminal or status.attempt_over or status.attempt_start_time is None:
        return plan
    if observed.job is not None and observed.job.over:
        return plan  # what the driver achieved counts, even when the deadline passes in the same second
    return _provisioning(observed, _active(observed, plan, context), context)


def _active(observed: Observed, plan: Plan, context: Context) -> Plan:
    limit = observed.run.active_deadline
    if limit is None:
        return plan
    left = limit - plan.status.active_for(context.now)
    if left > 0:
        return steps.look_again(plan, left)
    message = f"spec.activeDeadlineSeconds ({limit:g} s over all attempts) passed; raise it, or stop training earlier"
    return steps.fail(plan, Failure(FailureKind.FINAL, Reason.ACTIVE_DEADLINE, message, log_tail=observed.log_tail))


def _provisioning(observed: Observed, plan: Plan, context: Context) -> Plan:
    """Until all pods were ready once and Ray took the job, or the driver makes progress without the rest of them."""
    status = plan.status
    provisioned = status.cluster_ready_time is not None and status.job_id is not None
    if provisioned or _makes_progress(observed) or status.attempt_start_time is None:
        return plan
    limit = observed.run.provisioning_deadline
    left = limit - (context.now - status.attempt_start_time).total_seconds()
    if left > 0:
        return steps.look_again(plan, left)
    ready = status.is_true(ConditionType.CLUSTER_READY)
    condition = status.condition(ConditionType.RUNNING if ready else ConditionType.CLUSTER_READY)
    why = f"{condition.reason}: {condition.message}" if condition else "no pod was seen"
    message = f"the cluster was not ready within spec.provisioningDeadlineSeconds ({limit:g} s): {why}"
    return steps.fail(plan, Failure(FailureKind.FINAL, Reason.PROVISIONING_DEADLINE, message))


def _makes_progress(observed: Observed) -> bool:
    line = observed.progress
    if line is None:
        return False
    trials = line.trials or {}
    return any(line.progress.get(key) for key in ("iteration", "envSteps", "episodes", "percent")) or bool(
        trials.get("succeeded") or trials.get("running")
    )
