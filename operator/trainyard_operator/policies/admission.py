"""Whether there is anything to decide: not if KubeRay is missing, or if the specification can never run."""

from dataclasses import replace

from trainyard_operator import steps
from trainyard_operator.building import driver
from trainyard_operator.building.sizing import SpecRefusedError, size
from trainyard_operator.model import Failure, FailureKind, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.status import Status, without_condition
from trainyard_operator.vocabulary import ConditionType, Phase


def admission(observed: Observed, plan: Plan, context: Context) -> Plan:
    run = observed.run
    status = Status() if _corrected(observed) else plan.status
    plan = replace(plan, status=replace(status, observed_generation=run.generation))
    if plan.status.terminal:
        return plan
    plan = _kuberay(observed, plan, context)
    if plan.done or run.status.start_time is not None:
        return plan
    return _refuse_what_cannot_run(observed, plan, context)


def _corrected(observed: Observed) -> bool:
    """Whether the specification has changed since the run was refused, or waited for a cluster, before its start."""
    status = observed.run.status
    waited = status.phase == Phase.FAILED or status.attempt_start_time is not None
    return waited and status.start_time is None and status.observed_generation != observed.run.generation


def _kuberay(observed: Observed, plan: Plan, context: Context) -> Plan:
    if observed.kuberay:
        return replace(plan, status=without_condition(plan.status, ConditionType.KUBERAY_MISSING))
    message = (
        "The cluster has no RayCluster resource: install the KubeRay operator (1.6 or later). "
        f"This operator looks for it every {context.settings.timing.kuberay_probe:.0f} s and then continues by itself."
    )
    plan = steps.condition(
        plan, observed, context.now, ConditionType.KUBERAY_MISSING, True, "RayClusterNotServed", message
    )
    return replace(plan, done=True)


def _refuse_what_cannot_run(observed: Observed, plan: Plan, context: Context) -> Plan:
    settings = context.settings
    try:
        if observed.run.selector is None:
            size(observed.run.spec, settings.sizing)
        driver.entrypoint(observed.run, 0, settings.training)
    except SpecRefusedError as error:
        failure = Failure(FailureKind.USER, error.reason, str(error), field=error.field)
        return steps.fail(plan, failure)
    return plan
