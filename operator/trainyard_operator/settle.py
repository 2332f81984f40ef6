"""Brings the outcomes of effects into the status: each outcome goes to the policy that planned its effect. Pure.

An outcome is known only after the chain has decided, and a status is written once. So two policies run a second time
here: `retry`, if an effect has failed the run, and `summary`.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from trainyard_operator import steps
from trainyard_operator.model import (
    Created,
    GuardChanged,
    NotDeleted,
    NotYet,
    Observed,
    Outcome,
    Plan,
    Postponed,
    Refused,
    ResultsKept,
    ResultsLost,
    Submitted,
)
from trainyard_operator.policies import Context, cleanup, keeping_results, provisioning, submission
from trainyard_operator.policies.retry import retry
from trainyard_operator.policies.summary import summary
from trainyard_operator.settings import Settings
from trainyard_operator.vocabulary import Reason


def settle(observed: Observed, plan: Plan, outcomes: Iterable[Outcome], now: datetime, settings: Settings) -> Plan:
    """The plan with the outcomes of its effects in its status. Its effects are done, so it has none."""
    context = Context(now, settings)
    before = plan = replace(plan, effects=())
    for outcome in outcomes:
        plan = _settle_one(observed, plan, context, outcome)
    if plan == before:
        return plan
    if plan.failure and not before.failure:
        # The next pass, which finds this end on record, cleans up and keeps the results.
        plan = steps.look_again(replace(retry(observed, plan, context), effects=()), 0)
    return summary(observed, plan, context)


def _settle_one(observed: Observed, plan: Plan, context: Context, outcome: Outcome) -> Plan:
    match outcome:
        case Created(cluster):
            return provisioning.created(observed, plan, context, cluster)
        case Refused(reason=Reason.JOB_REFUSED):
            return submission.refused(plan, outcome)
        case Refused(reason=Reason.FINALIZER_REFUSED, message=message):
            return submission.not_guarded(observed, plan, context, message)
        case Refused():
            return provisioning.refused(observed, plan, context, outcome)
        case GuardChanged():
            return steps.look_again(plan, 0)
        case Submitted(job_id):
            return submission.submitted(plan, context, job_id)
        case NotYet(message):
            return submission.not_taken(observed, plan, context, message)
        case ResultsKept(name):
            return keeping_results.kept(observed, plan, context, name)
        case ResultsLost(message):
            return keeping_results.lost(observed, plan, context, message)
        case NotDeleted(message):
            return cleanup.not_deleted(observed, plan, context, message)
        case Postponed(seconds=seconds):
            return steps.look_again(plan, seconds)
