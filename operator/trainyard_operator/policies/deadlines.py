"""activeDeadlineSeconds and provisioningDeadlineSeconds. Their clocks follow only from the status.

A deadline ends a run finally, so it needs a fresh reading: the job may have succeeded meanwhile, or its driver
may have made progress.
"""

from trainyard_operator import steps
from trainyard_operator.model import Failure, FailureKind, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.policies.completion import head_is_silent
from trainyard_operator.policies.provisioning_failure import late, seconds_left
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import Reason


def deadlines(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = plan.status
    if status.terminal or status.attempt_over or status.attempt_start_time is None:
        return plan
    if observed.job is not None and observed.job.over:
        return plan  # the driver's result counts, even if the deadline passes in the same second
    return _provisioning(observed, _active(observed, plan, context), context)


def _active(observed: Observed, plan: Plan, context: Context) -> Plan:
    limit = observed.run.active_deadline
    if limit is None:
        return plan
    left = limit - plan.status.active_for(context.now)
    if left > 0:
        return steps.look_again(plan, left)
    if observed.unread:
        return steps.poll_again(plan, 0)
    if _silent(observed, plan.status, context):
        return plan
    message = f"spec.activeDeadlineSeconds ({limit:g} s over all attempts) passed; raise it, or stop training earlier"
    return steps.fail(plan, Failure(FailureKind.FINAL, Reason.ACTIVE_DEADLINE, message, log_tail=observed.log_tail))


def _provisioning(observed: Observed, plan: Plan, context: Context) -> Plan:
    left = seconds_left(observed, plan.status, context.now)
    if left is None:
        return plan
    if left > 0:
        return steps.look_again(plan, left)
    if observed.unread:
        return steps.poll_again(plan, 0)
    unknown = observed.job is not None and not observed.progress_read
    if unknown or _silent(observed, plan.status, context):
        return plan
    return steps.fail(plan, late(observed, plan.status))


def _silent(observed: Observed, status: Status, context: Context) -> bool:
    """Whether the job's state is unknown, but not yet for so long that the head counts as lost."""
    return observed.job is not None and observed.job.unknown and not head_is_silent(observed, status, context)
