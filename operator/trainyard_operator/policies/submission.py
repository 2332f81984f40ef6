"""The Ray job: submitted as soon as the head may answer. It waits for the workers only if the head has GPUs for its
processes and the other processes run on workers."""

from dataclasses import replace

from trainyard_operator import names, steps
from trainyard_operator.building import driver
from trainyard_operator.building.seed import seed_of
from trainyard_operator.building.sizing import size
from trainyard_operator.model import Failure, FailureKind, Guard, Observed, Plan, Refused, SubmitJob
from trainyard_operator.policies import Context
from trainyard_operator.vocabulary import ConditionType, Phase, Reason


def submission(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = plan.status
    if status.terminal or status.phase == Phase.SUSPENDED or status.attempt_over or plan.failure or status.job_id:
        return plan
    head = observed.head
    if observed.cluster is None or observed.cluster.locked or head is None or head.phase != "Running":
        return plan
    if status.cluster_ready_time is None and _head_is_reserved(observed, context):
        return plan
    plan = steps.poll_again(plan, _interval(plan, context))
    if not observed.may_call:
        return plan
    run = observed.run
    if run.selector is not None and not run.guarded:
        return steps.do(plan, Guard())
    effect = SubmitJob(
        job_id=names.job_id(run.uid, run.status.attempt, run.status.submission),
        entrypoint=driver.entrypoint(run, seed_of(run), context.settings.training),
        metadata=driver.metadata(run),
    )
    return steps.do(plan, effect)


def submitted(plan: Plan, context: Context, job_id: str) -> Plan:
    """Ray has the job."""
    status = replace(plan.status, job_id=job_id, submit_time=context.now)
    return steps.poll_again(replace(plan, status=status), context.settings.timing.poll_starting)


def not_guarded(observed: Observed, plan: Plan, context: Context, message: str) -> Plan:
    """Without the finalizer nothing would end the job. So it is not submitted, and the finalizer is tried again."""
    kind, reason = ConditionType.RUNNING, Reason.FINALIZER_REFUSED
    plan = steps.condition(plan, observed, context.now, kind, False, reason, message)
    return steps.poll_again(plan, context.settings.timing.poll_slow_start)


def refused(plan: Plan, outcome: Refused) -> Plan:
    """Ray's Jobs API will never accept the job."""
    return steps.fail(plan, Failure(FailureKind.USER, outcome.reason, outcome.message))


def not_taken(observed: Observed, plan: Plan, context: Context, message: str) -> Plan:
    """Ray does not accept the job yet. A starting head does not answer, which is not worth reporting."""
    if observed.head is None or not observed.head.ready:
        return plan
    return steps.condition(plan, observed, context.now, ConditionType.RUNNING, False, Reason.JOB_NOT_TAKEN, message)


def _head_is_reserved(observed: Observed, context: Context) -> bool:
    """Whether the head's CPUs are for processes with a GPU. Ray keeps other processes off a node with GPUs only while
    another node can take them. If the driver started before the workers, other processes would fill the head, and the
    driver would wait for a GPU for ever."""
    if observed.run.selector is not None:
        return False
    made = size(observed.run.spec, context.settings.sizing)
    return made.workers > 0 and made.head.logical_cpus > 0


def _interval(plan: Plan, context: Context) -> float:
    """Seconds between two requests to a head that has not answered yet."""
    timing, since = context.settings.timing, plan.status.attempt_start_time
    slow = since is not None and (context.now - since).total_seconds() > timing.slow_start
    return timing.poll_slow_start if slow else timing.poll_starting
