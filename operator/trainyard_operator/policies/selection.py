"""A run on an existing RayCluster (spec.cluster.selector): choose the cluster once, then report its state.

The cluster is never changed, and never watched: the run's own timer reads it.
"""

from dataclasses import replace

from trainyard_operator import steps
from trainyard_operator.building.seed import seed_of
from trainyard_operator.building.sizing import logical_cpus
from trainyard_operator.model import Cluster, Failure, FailureKind, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.policies.provisioning_failure import cluster_lost
from trainyard_operator.vocabulary import ConditionType, Phase, Reason

SELECTOR = "spec.cluster.selector"


def selection(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = plan.status
    over = status.terminal or status.phase == Phase.SUSPENDED or status.attempt_over or plan.failure
    if observed.run.selector is None or over:
        return plan
    if status.cluster_name is None:
        return _choose(observed, plan, context)
    if observed.cluster is None:
        return steps.fail(plan, cluster_lost(status))
    return _watch(observed, observed.cluster, plan, context)


def _choose(observed: Observed, plan: Plan, context: Context) -> Plan:
    if not observed.candidates:
        again = steps.poll_again(plan, context.settings.timing.poll_existing)
        return again if observed.candidates is None else _wait(observed, again, context)
    if len(observed.candidates) > 1:
        return steps.fail(plan, _ambiguous(observed, observed.candidates))
    return _start(observed, observed.candidates[0], plan, context)


def _wait(observed: Observed, plan: Plan, context: Context) -> Plan:
    """The deadline's clock runs, but the run has not started: its specification can still be corrected."""
    message = (
        f"no RayCluster of namespace {observed.run.key.namespace} has the labels {_labels(observed)} of {SELECTOR}; "
        "the run continues when there is one: label it, or correct the selector"
    )
    status = replace(plan.status, attempt_start_time=plan.status.attempt_start_time or context.now)
    plan = replace(plan, status=status)
    return steps.condition(
        plan, observed, context.now, ConditionType.CLUSTER_READY, False, Reason.NO_MATCHING_CLUSTER, message
    )


def _ambiguous(observed: Observed, found: tuple[Cluster, ...]) -> Failure:
    named = ", ".join(cluster.name for cluster in found)
    message = (
        f"{len(found)} RayClusters have the labels {_labels(observed)}: {named}; add a label that only one of them has"
    )
    return Failure(FailureKind.USER, Reason.AMBIGUOUS_SELECTOR, message, field=SELECTOR)


def _labels(observed: Observed) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted((observed.run.selector or {}).items()))


def _start(observed: Observed, cluster: Cluster, plan: Plan, context: Context) -> Plan:
    """Record the choice in a separate write; the job is submitted to the recorded cluster."""
    status, run = plan.status, observed.run
    status = replace(
        status,
        phase=Phase.PROVISIONING,
        cluster_name=cluster.name,
        start_time=status.start_time or context.now,
        started_generation=status.started_generation or run.generation,
        seed=seed_of(run) if status.seed is None else status.seed,
        attempt_start_time=status.attempt_start_time or context.now,
        resources={"logicalCpus": logical_cpus(run.spec)},
    )
    plan = replace(plan, status=status)
    text = f"the RayCluster {cluster.name} is chosen"
    plan = steps.condition(plan, observed, context.now, ConditionType.CLUSTER_READY, False, Reason.HEAD_STARTING, text)
    return steps.look_again(plan, 0)


def _watch(observed: Observed, cluster: Cluster, plan: Plan, context: Context) -> Plan:
    ready, reason, message = _readiness(observed, cluster)
    plan = steps.condition(plan, observed, context.now, ConditionType.CLUSTER_READY, ready, reason, message)
    status = plan.status
    if status.attempt_start_time is None:
        plan = replace(plan, status=replace(status, attempt_start_time=context.now))
    if ready and status.cluster_ready_time is None:
        plan = replace(plan, status=replace(plan.status, cluster_ready_time=context.now))
    return plan if status.job_id else steps.poll_again(plan, context.settings.timing.poll_existing)


def _readiness(observed: Observed, cluster: Cluster) -> tuple[bool, str, str]:
    if cluster.locked:
        return False, *cluster.locked
    if observed.head is None or not observed.head.ready:
        return False, Reason.HEAD_STARTING, f"the head of the RayCluster {cluster.name} is not ready"
    return True, Reason.HEAD_READY, f"the head of the RayCluster {cluster.name} is ready"
