"""The attempt's cluster: create it once, then report the state of its pods in their own words."""

from dataclasses import replace

from trainyard_operator import names, quantity, steps
from trainyard_operator.building.raycluster import ray_cluster, token_secret, uses_token
from trainyard_operator.building.seed import seed_of
from trainyard_operator.building.sizing import Size, size
from trainyard_operator.model import Cluster, CreateCluster, Observed, Plan, Refused
from trainyard_operator.policies import Context
from trainyard_operator.policies.provisioning_failure import (
    cluster_lost,
    head_ended,
    hopeless_pod,
    refused_for_good,
    with_steps,
)
from trainyard_operator.vocabulary import ConditionType, Phase, Reason

REFUSED_AGAIN = 5.0
"""Seconds until a RayCluster that the API server refused is tried again; up to a quarter less, depending on the uid."""

EXPLAIN_AGAIN = 10.0
"""Seconds until a pod that waits without a reason is looked at again, because no event would wake the operator."""


def provisioning(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = plan.status
    over = status.terminal or status.phase == Phase.SUSPENDED or status.attempt_over or plan.failure
    if observed.run.selector is not None or over:
        return plan
    if observed.cluster is None:
        gone = status.cluster_name is not None
        return steps.fail(plan, cluster_lost(status)) if gone else _create(observed, plan, context)
    if status.cluster_name is None or status.attempt_start_time is None:
        plan = _adopt(observed, plan, context, observed.cluster)
    return _watch_pods(observed, plan, context)


def _create(observed: Observed, plan: Plan, context: Context) -> Plan:
    """The deadline's clock starts here; the run has started when the cluster exists (`created`)."""
    run, settings, status = observed.run, context.settings, plan.status
    token = names.auth_token(settings.key, run.uid, status.attempt)
    secret = token_secret(run, token) if uses_token(run.spec) else None
    made = ray_cluster(run, size(run.spec, settings.sizing), settings.training)
    clock = status.attempt_start_time or context.now
    plan = replace(plan, status=replace(status, phase=Phase.PROVISIONING, attempt_start_time=clock))
    again = REFUSED_AGAIN * (1 - names.spread(run.uid) / 4)
    return steps.look_again(steps.do(plan, CreateCluster(secret, made)), again)


def created(observed: Observed, plan: Plan, context: Context, cluster: Cluster) -> Plan:
    """The API server has the cluster: from now on the specification cannot be corrected."""
    plan = _started(observed, plan, context, cluster)
    text = "the RayCluster is created"
    return steps.condition(
        plan, observed, context.now, ConditionType.CLUSTER_READY, False, Reason.WAITING_FOR_PODS, text
    )


def refused(observed: Observed, plan: Plan, context: Context, outcome: Refused) -> Plan:
    """The API server refuses the cluster: shown in the status, and tried again unless that is hopeless."""
    reason, message = outcome.reason, outcome.message
    plan = steps.condition(plan, observed, context.now, ConditionType.CLUSTER_READY, False, reason, message)
    return steps.fail(plan, refused_for_good(reason, message)) if outcome.hopeless else plan


def _adopt(observed: Observed, plan: Plan, context: Context, cluster: Cluster) -> Plan:
    """A cluster that exists although its creation is not on record: the process ended, or the run changed, before."""
    run, first = observed.run, plan.status.start_time is None
    generation = cluster.generation or run.generation
    plan = _started(observed, plan, context, cluster)
    if not first or generation == run.generation:
        return plan
    message = (
        f"The specification changed while the run started: the cluster was made from generation {generation}, and the "
        f"driver gets generation {run.generation}. Delete the run and apply it again if the cluster does not fit."
    )
    return steps.condition(plan, observed, context.now, ConditionType.SPEC_CHANGED, True, "ChangedAtStart", message)


def _started(observed: Observed, plan: Plan, context: Context, cluster: Cluster) -> Plan:
    run, status = observed.run, plan.status
    status = replace(
        status,
        phase=Phase.PROVISIONING,
        cluster_name=cluster.name,
        start_time=status.start_time or context.now,
        started_generation=status.started_generation or cluster.generation or run.generation,
        seed=seed_of(run) if status.seed is None else status.seed,
        attempt_start_time=status.attempt_start_time or context.now,
        resources=resources_of(size(run.spec, context.settings.sizing)),
    )
    return replace(plan, status=status)


def resources_of(cluster_size: Size) -> dict[str, object]:
    """The form of status.resources."""
    resources: dict[str, object] = {"logicalCpus": cluster_size.logical_cpus}
    if cluster_size.gpus:
        resources["gpus"] = cluster_size.gpus
    pods = {"head": (1, cluster_size.head), "worker": (cluster_size.workers, cluster_size.worker)}
    for kind, (replicas, pod) in pods.items():
        if pod is not None:
            form = {"replicas": replicas, "cpu": quantity.cpu(pod.cpu), "memory": quantity.memory(pod.memory)}
            resources[kind] = form | ({"gpu": pod.gpus} if pod.gpus else {})
    return resources


def _watch_pods(observed: Observed, plan: Plan, context: Context) -> Plan:
    ready, reason, message = _readiness(observed)
    plan = steps.condition(plan, observed, context.now, ConditionType.CLUSTER_READY, ready, reason, message)
    plan = with_steps(observed, plan, context.now)
    if ready and plan.status.cluster_ready_time is None:
        plan = replace(plan, status=replace(plan.status, cluster_ready_time=context.now))
    if any(pod.unexplained for pod in observed.pods):
        plan = steps.look_again(plan, EXPLAIN_AGAIN)
    failure = hopeless_pod(observed) or head_ended(observed, plan.status)
    return steps.fail(plan, failure) if failure else plan


def _readiness(observed: Observed) -> tuple[bool, str, str]:
    cluster, alive = observed.cluster, [p for p in observed.pods if not p.over]
    assert cluster is not None
    troubled = next((p for p in alive if p.problem), None)
    if troubled and troubled.problem:
        return False, troubled.problem.reason, f"pod {troubled.name}: {troubled.problem.message}"
    if cluster.trouble:
        reason, message = cluster.trouble
        return False, reason or Reason.CLUSTER_REFUSED, message
    wanted, ready = cluster.desired_workers + 1, sum(p.ready for p in alive)
    if not alive:
        return False, Reason.WAITING_FOR_PODS, "KubeRay has not created any pod yet; is its operator running?"
    text = f"{ready} of {wanted} pods are ready"
    if ready >= wanted and any(p.head for p in alive):
        return True, Reason.PODS_READY, text
    return False, Reason.PODS_STARTING, text
