"""Deletes the run's clusters: those of earlier attempts at once, the last one after its results and its time to live.

The other place that deletes clusters is `orphans.py`, for runs that are gone.
"""

from trainyard_operator import steps
from trainyard_operator.model import Cluster, DeleteCluster, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.policies.keeping_results import keep_results, seconds_to_wait
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType, Reason

DELETE_AGAIN = 30.0
"""Seconds until the deletion of a cluster is tried again."""


def cleanup(observed: Observed, plan: Plan, context: Context) -> Plan:
    """Deletes a cluster only when its attempt's end is on record: after a crash in between, the next process must find
    an ended attempt and not a lost cluster."""
    plan = _delete(plan, *observed.strays)
    if observed.run.selector is not None:
        return _leave_alone(observed, plan, context)
    recorded = observed.run.status
    cluster = observed.cluster
    if plan.status.terminal and recorded.terminal:
        return _finished(observed, plan, context)
    if recorded.attempt_over and recorded.attempt == plan.status.attempt and cluster is not None:
        return _delete(plan, cluster)
    if plan.status != recorded and (plan.status.terminal or plan.status.attempt_over):
        return steps.look_again(plan, 0)
    return plan


def not_deleted(observed: Observed, plan: Plan, context: Context, message: str) -> Plan:
    """The API server does not delete a cluster; it is asked again."""
    if plan.status.terminal:
        kind, reason = ConditionType.CLEANED_UP, Reason.NOT_DELETED
        plan = steps.condition(plan, observed, context.now, kind, False, reason, message)
    return steps.look_again(plan, DELETE_AGAIN)


def _finished(observed: Observed, plan: Plan, context: Context) -> Plan:
    plan = keep_results(observed, plan, context)
    if observed.cluster is None:
        left = len(observed.strays)
        message = "no RayCluster is left" if not left else f"{left} RayClusters are being deleted"
        return steps.condition(
            plan, observed, context.now, ConditionType.CLEANED_UP, not left, Reason.NO_CLUSTER, message
        )
    if seconds_to_wait(observed, plan.status, context) > 0:
        return plan
    left_to_live = _seconds_left(plan.status, observed.run.cluster_ttl, context)
    if left_to_live > 0:
        message = f"the RayCluster is kept for spec.clusterTTLSecondsAfterFinished ({observed.run.cluster_ttl:g} s)"
        plan = steps.condition(plan, observed, context.now, ConditionType.CLEANED_UP, False, "TimeToLive", message)
        return steps.look_again(plan, left_to_live)
    plan = steps.condition(
        plan, observed, context.now, ConditionType.CLEANED_UP, False, "Deleting", "the RayCluster is being deleted"
    )
    return _delete(plan, observed.cluster)


def _leave_alone(observed: Observed, plan: Plan, context: Context) -> Plan:
    """An existing cluster is never deleted; only its job is cleaned up."""
    recorded = observed.run.status
    if plan.status != recorded and (plan.status.terminal or plan.status.attempt_over):
        return steps.look_again(plan, 0)
    if not (plan.status.terminal and recorded.terminal):
        return plan
    plan = keep_results(observed, plan, context)
    if observed.run.guarded:
        reason, text = "StoppingJob", "the job is being stopped; the RayCluster existed before the run and stays"
    else:
        reason, text = Reason.NO_CLUSTER, "no job is left; the RayCluster existed before the run and stays"
    done = not observed.run.guarded
    return steps.condition(plan, observed, context.now, ConditionType.CLEANED_UP, done, reason, text)


def _seconds_left(status: Status, seconds: float, context: Context) -> float:
    assert status.completion_time is not None
    return max(0.0, seconds - (context.now - status.completion_time).total_seconds())


def _delete(plan: Plan, *clusters: Cluster) -> Plan:
    return steps.do(plan, *(DeleteCluster(c.name, c.uid) for c in clusters if not c.deleting))
