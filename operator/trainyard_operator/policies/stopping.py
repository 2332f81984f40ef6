"""The job of a run on an existing RayCluster: stops it when it should not run any more.

Deleting a cluster would end its jobs, but this cluster stays. So the finalizer keeps the object, and the next attempt
waits, until Ray says that the job is over, the cluster is gone, or Ray has had enough time.
"""

from trainyard_operator import names, steps
from trainyard_operator.model import JobState, Observed, Plan, StopJob, Unguard
from trainyard_operator.policies import Context
from trainyard_operator.vocabulary import ConditionType

GONE = "NotStoppedInTime"


def stopping(observed: Observed, plan: Plan, context: Context) -> Plan:
    """Decided only from the status: a job is stopped when its end is on record."""
    run, job = observed.run, observed.job
    since = run.unwanted_since
    if not run.guarded or since is None:
        return plan
    if observed.cluster is None or observed.cluster.suspended:
        # A suspended cluster has no pods. A cluster that was never chosen never had the job.
        return steps.do(plan, Unguard())
    if job is not None and (job.over or job.state == JobState.ABSENT):
        return steps.do(plan, Unguard())
    timing = context.settings.timing
    silent = (context.now - since).total_seconds()
    if silent >= timing.stop_wait:
        return _give_up(observed, plan, context, silent)
    if job is not None and job.state != JobState.UNREACHABLE:
        plan = steps.do(plan, StopJob(_job_id(observed)))
    return steps.look_again(steps.poll_again(plan, timing.poll_stopping), timing.stop_wait - silent)


def _give_up(observed: Observed, plan: Plan, context: Context, silent: float) -> Plan:
    """Reported before the object may be deleted: a warning event follows from the condition."""
    if observed.run.status.is_true(ConditionType.JOB_LEFT):
        return steps.do(plan, Unguard())
    why = observed.job.message if observed.job and observed.job.message else "Ray has not ended it"
    assert observed.cluster is not None
    message = (
        f"the job {_job_id(observed)} on the RayCluster {observed.cluster.name} could not be stopped within "
        f"{silent:.0f} s ({why}); it may still run: stop it there"
    )
    plan = steps.condition(plan, observed, context.now, ConditionType.JOB_LEFT, True, GONE, message)
    return steps.look_again(plan, 0)


def _job_id(observed: Observed) -> str:
    run = observed.run
    return run.status.job_id or names.job_id(run.uid, run.status.attempt, run.status.submission)
