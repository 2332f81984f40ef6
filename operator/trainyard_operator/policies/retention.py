"""ttlSecondsAfterFinished: deletes the run itself, and with it its results and Secrets."""

from trainyard_operator import steps
from trainyard_operator.model import DeleteRun, Observed, Plan
from trainyard_operator.policies import Context


def retention(observed: Observed, plan: Plan, context: Context) -> Plan:
    recorded, ttl = observed.run.status, observed.run.ttl
    if not recorded.terminal or recorded.completion_time is None or ttl is None or observed.run.deleting:
        return plan
    left = ttl - (context.now - recorded.completion_time).total_seconds()
    if left > 0:
        return steps.look_again(plan, left)
    return steps.do(plan, DeleteRun(observed.run.uid))
