"""Small steps on a Plan that several policies share. Pure."""

from dataclasses import replace
from datetime import datetime

from trainyard_operator.model import Effect, Failure, Observed, Plan
from trainyard_operator.status import with_condition, with_transition


def soonest(a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else min(a, b)


def look_again(plan: Plan, seconds: float) -> Plan:
    return replace(plan, requeue_after=soonest(plan.requeue_after, max(0.0, seconds)))


def poll_again(plan: Plan, seconds: float) -> Plan:
    return replace(plan, poll_after=soonest(plan.poll_after, seconds))


def do(plan: Plan, *effects: Effect) -> Plan:
    return replace(plan, effects=(*plan.effects, *effects))


def fail(plan: Plan, failure: Failure) -> Plan:
    """Set the failure; only the first failure of a pass counts."""
    return plan if plan.failure else replace(plan, failure=failure)


def condition(
    plan: Plan, observed: Observed, now: datetime, kind: str, value: str | bool, reason: str, message: str
) -> Plan:
    """Set a condition. Its transition is from the value on record: a value that changes and changes back within a pass
    has no transition."""
    status = with_condition(plan.status, kind, value, reason, message, now, observed.run.generation)
    recorded = observed.run.status.condition(kind)
    if recorded is not None and recorded.status == str(value):
        status = with_transition(status, kind, recorded.last_transition_time)
    return replace(plan, status=status)
