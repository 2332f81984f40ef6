"""spec.suspend, and a RayCluster that somebody else suspends (Kueue): no clock runs, and no failure is counted."""

from dataclasses import replace

from trainyard_operator import steps
from trainyard_operator.model import JobState, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.status import requeued, with_attempt_ended, with_clock_stopped
from trainyard_operator.vocabulary import ConditionType, Phase, Reason


def suspension(observed: Observed, plan: Plan, context: Context) -> Plan:
    if plan.status.terminal or plan.failure:
        return plan
    cluster = observed.cluster
    held = cluster is not None and cluster.suspended and not plan.status.attempt_over
    if (observed.run.suspend or held) and not plan.status.attempt_over:
        if observed.job is not None and observed.job.state == JobState.SUCCEEDED:
            return plan  # it succeeded before it was stopped: `completion` reports this
        if observed.unread:
            return replace(steps.poll_again(plan, 0), done=True)
        timing = context.settings.timing
        unknown = observed.job is not None and observed.job.unknown and observed.answering is not None
        if unknown and observed.silence < timing.last_word:
            return replace(steps.poll_again(plan, timing.poll_starting), done=True)
    if observed.run.suspend:
        return _suspend(observed, plan, context)
    if plan.status.phase == Phase.SUSPENDED:
        plan = replace(plan, status=replace(plan.status, phase=Phase.PENDING))
    if held:
        return _queue(observed, plan, context)
    if plan.status.phase == Phase.QUEUED:
        return _release(observed, plan, context)
    return plan


def _suspend(observed: Observed, plan: Plan, context: Context) -> Plan:
    """End the attempt. When that is on record, its cluster is deleted, or its job on an existing cluster is stopped."""
    status = plan.status
    if observed.cluster is not None:
        status = replace(status, cluster_name=observed.cluster.name)
    if status.cluster_name and not status.attempt_over:
        status = with_attempt_ended(status, context.now, Reason.SUSPENDED, "spec.suspend is true")
    status = replace(with_clock_stopped(status, context.now), phase=Phase.SUSPENDED, next_attempt_time=None)
    return replace(plan, status=status)


def _queue(observed: Observed, plan: Plan, context: Context) -> Plan:
    """The head is gone, or going, and with it the job: the next submission is a new one on the same cluster."""
    status = replace(requeued(with_clock_stopped(plan.status, context.now)), phase=Phase.QUEUED)
    plan = replace(plan, status=status, done=True)
    if observed.run.selector is not None:
        plan = steps.poll_again(plan, context.settings.timing.poll_existing)  # that cluster is not watched
    message = "The RayCluster is suspended by somebody else, for instance Kueue; the run continues when it is released."
    return steps.condition(plan, observed, context.now, ConditionType.QUOTA_RESERVED, False, "Queued", message)


def _release(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = replace(plan.status, phase=Phase.PROVISIONING, attempt_start_time=context.now)
    plan = replace(plan, status=status)
    message = "The RayCluster is no longer suspended."
    return steps.condition(plan, observed, context.now, ConditionType.QUOTA_RESERVED, True, "Released", message)
