"""decide(observed, now) -> plan: the whole behaviour of the operator, without I/O. The order of CHAIN is tested."""

from datetime import datetime

from trainyard_operator.model import Observed, Plan
from trainyard_operator.policies import Context, Policy
from trainyard_operator.policies.admission import admission
from trainyard_operator.policies.cleanup import cleanup
from trainyard_operator.policies.completion import completion
from trainyard_operator.policies.deadlines import deadlines
from trainyard_operator.policies.provisioning import provisioning
from trainyard_operator.policies.reporting import reporting
from trainyard_operator.policies.resumption import resumption
from trainyard_operator.policies.retention import retention
from trainyard_operator.policies.retry import retry
from trainyard_operator.policies.selection import selection
from trainyard_operator.policies.stopping import stopping
from trainyard_operator.policies.submission import submission
from trainyard_operator.policies.summary import summary
from trainyard_operator.policies.suspension import suspension
from trainyard_operator.settings import Settings

CHAIN: tuple[Policy, ...] = (
    admission,  # is there anything to decide at all?
    suspension,  # may the run go on?
    resumption,  # where does it start?
    provisioning,  # its cluster,
    selection,  # or the existing cluster that it selects
    deadlines,  # is it late?
    submission,  # its job
    reporting,  # what the driver says
    completion,  # how the job ended
    retry,  # what a failure means
)
"""When a policy sets `done`, the rest of these policies are skipped. A run that is being deleted skips them all."""

ALWAYS: tuple[Policy, ...] = (
    stopping,  # a job on an existing cluster that nobody needs
    cleanup,  # clusters that nobody needs
    retention,  # the run's own time to live
    summary,  # the conditions that sum up the run
)
"""These policies run in every pass, also for ended and suspended runs."""


def decide(observed: Observed, now: datetime, settings: Settings) -> Plan:
    """What to do for a run now, and its status after that."""
    context = Context(now, settings)
    plan = Plan(observed.run.status)
    for policy in () if observed.run.deleting else CHAIN:
        plan = policy(observed, plan, context)
        if plan.done:
            break
    for policy in ALWAYS:
        plan = policy(observed, plan, context)
    return plan
