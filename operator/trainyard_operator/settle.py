"""From what effects achieved to the status. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from trainyard_operator import steps
from trainyard_operator.decide import ALWAYS
from trainyard_operator.model import (
    Created,
    Failure,
    FailureKind,
    GuardChanged,
    NotYet,
    Observed,
    Outcome,
    Plan,
    Refused,
    ResultsKept,
    ResultsLost,
    Submitted,
)
from trainyard_operator.policies import Context
from trainyard_operator.policies.retry import retry
from trainyard_operator.settings import Settings
from trainyard_operator.vocabulary import ConditionType, Reason


def settle(observed: Observed, plan: Plan, outcomes: Iterable[Outcome], now: datetime, settings: Settings) -> Plan:
    """The plan with the outcomes of its effects in its status. What it plans to do from here is done: no effects."""
    before = plan
    for outcome in outcomes:
        plan = _settle_one(observed, plan, outcome, now, settings)
    plan = replace(plan, effects=())
    if plan == replace(before, effects=()):
        return plan
    context = Context(now, settings)
    if plan.failure and not before.failure:
        plan = retry(observed, plan, context)
    for policy in ALWAYS:
        plan = policy(observed, plan, context)
    return replace(plan, effects=())


def _settle_one(observed: Observed, plan: Plan, outcome: Outcome, now: datetime, settings: Settings) -> Plan:
    match outcome:
        case Created(cluster):
            plan = replace(plan, status=replace(plan.status, cluster_name=cluster.name))
            text = "the RayCluster is created"
            return steps.condition(
                plan, observed, now, ConditionType.CLUSTER_READY, False, Reason.WAITING_FOR_PODS, text
            )
        case GuardChanged():
            return steps.look_again(plan, 0)
        case Submitted(job_id):
            status = replace(plan.status, job_id=job_id, submit_time=now)
            return steps.poll_again(replace(plan, status=status), settings.timing.poll_starting)
        case Refused(reason, message, hopeless):
            plan = steps.condition(plan, observed, now, ConditionType.CLUSTER_READY, False, reason, message)
            return steps.fail(plan, Failure(FailureKind.USER, reason, message)) if hopeless else plan
        case NotYet(message):
            if observed.head is None or not observed.head.ready:
                return plan  # a head that is starting does not answer yet: nothing to tell
            return steps.condition(plan, observed, now, ConditionType.RUNNING, False, Reason.JOB_NOT_TAKEN, message)
        case ResultsKept(name):
            plan = replace(plan, status=replace(plan.status, results={"configMap": name}))
            text = f"summary and tables are in ConfigMap {name}"
            return steps.look_again(
                steps.condition(plan, observed, now, ConditionType.RESULTS_KEPT, True, "Kept", text), 0
            )
        case ResultsLost(message):
            return steps.condition(plan, observed, now, ConditionType.RESULTS_KEPT, False, "NotWritten", message)
