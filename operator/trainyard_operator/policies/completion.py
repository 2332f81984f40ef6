"""The state of the job: running, succeeded, failed and why, or lost with its head."""

from dataclasses import replace
from datetime import datetime

from trainyard_operator import clock, steps
from trainyard_operator.model import Failure, FailureKind, Job, JobState, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.policies.keeping_results import keep_results
from trainyard_operator.policies.out_of_memory import out_of_memory
from trainyard_operator.readings.driver_log import exception
from trainyard_operator.readings.pods import OOM_KILLED, SHELL_NOT_FOUND
from trainyard_operator.status import Status, requeued, with_attempt_ended, with_clock_stopped
from trainyard_operator.vocabulary import ConditionType, Phase, Reason

USER_ERROR = 2
"""The training library's exit code for an error that the user has to correct."""
SIGKILL_CODES = frozenset({-9, 137})
POLL_PER_AGE = 0.05


def completion(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = plan.status
    if status.terminal or status.attempt_over or plan.failure or status.job_id is None or observed.cluster is None:
        return plan
    succeeded = observed.job is not None and observed.job.state == JobState.SUCCEEDED
    if observed.head is None and not succeeded:
        return _head_gone(observed, plan, context)
    if observed.job is not None:
        plan = _judge(observed, plan, context, observed.job)
    return plan if plan.failure else steps.poll_again(plan, _poll_interval(observed, plan, context))


def _judge(observed: Observed, plan: Plan, context: Context, job: Job) -> Plan:
    match job.state:
        case JobState.PENDING | JobState.RUNNING:
            return _alive(observed, plan, context, job)
        case JobState.SUCCEEDED:
            return _succeeded(observed, plan, context)
        case JobState.FAILED:
            return steps.fail(plan, failure_of(job, observed))
        case JobState.STOPPED:
            message = (
                "somebody stopped the Ray job (through Ray's dashboard or Jobs API); apply the run again to repeat it"
            )
            failure = Failure(FailureKind.FINAL, Reason.JOB_STOPPED, message, job.exit_code, observed.log_tail)
            return steps.fail(plan, failure)
        case JobState.ABSENT:
            return _absent(observed, plan, context)
        case JobState.UNREACHABLE:
            return _unreachable(observed, plan, context, job)


def _poll_interval(observed: Observed, plan: Plan, context: Context) -> float:
    """The interval between two readings. A young job is read more often, so that a short job's end is noticed soon.
    A driver that has written its final line is about to exit. A silent dashboard is asked less often."""
    timing, status = context.settings.timing, plan.status
    running = status.condition(ConditionType.RUNNING)
    if running is not None and running.reason == Reason.DASHBOARD_UNREACHABLE:
        return timing.poll_silent
    ending = observed.progress is not None and observed.progress.final
    ending |= running is not None and running.reason == Reason.JOB_NOT_FOUND
    starting = observed.run.status.phase != Phase.RUNNING
    if ending or starting or status.submit_time is None:
        return timing.poll_starting
    age = (context.now - status.submit_time).total_seconds()
    return min(timing.poll, max(timing.poll_starting, age * POLL_PER_AGE))


def _alive(observed: Observed, plan: Plan, context: Context, job: Job) -> Plan:
    running = job.state == JobState.RUNNING
    reason = Reason.DRIVER_RUNNING if running else Reason.DRIVER_NOT_RUNNING
    message = "the driver runs" if running else "Ray has accepted the job and starts the driver"
    if running:
        plan = replace(plan, status=replace(plan.status, phase=Phase.RUNNING))
    return steps.condition(plan, observed, context.now, ConditionType.RUNNING, running, reason, message)


def _succeeded(observed: Observed, plan: Plan, context: Context) -> Plan:
    status = with_attempt_ended(plan.status, context.now, Reason.SUCCEEDED, exit_code=0)
    status = replace(status, phase=Phase.SUCCEEDED, completion_time=context.now, failure=None)
    plan = replace(plan, status=status)
    return keep_results(observed, plan, context)


def failure_of(job: Job, observed: Observed) -> Failure:
    """Why the driver failed: first a user's error, then memory, then the driver's own report, then its exit code."""
    code, tail = job.exit_code, observed.log_tail
    line = observed.progress
    said = line.failure if line and line.job_id == observed.run.status.job_id else None
    if said and (said["kind"] == "User" or code == USER_ERROR):
        return Failure(FailureKind.USER, said["reason"], said["message"], code, tail, said.get("field"))
    if code == USER_ERROR:
        message = "the training library refused the specification or its configuration; the last log lines say why"
        return Failure(FailureKind.USER, Reason.INVALID_SPEC, message, code, tail)
    if code == SHELL_NOT_FOUND and said is None and "trainyard" in job.message + tail:
        return _lacks_trainyard(observed, code, tail)
    if memory := out_of_memory(observed, job, told=f"{said['reason']}: {said['message']}" if said else None):
        return memory
    if said:
        return Failure(FailureKind.RUN, said["reason"], said["message"], code, tail)
    return _unsaid(job, observed)


def _unsaid(job: Job, observed: Observed) -> Failure:
    """The driver has reported nothing: the message begins with the end of its log."""
    code, tail = job.exit_code, observed.log_tail
    if code in SIGKILL_CODES:
        own = observed.run.selector is None
        remedy = "raise spec.cluster.head.memory" if own else "give the head of that RayCluster more memory"
        message = f"the driver was killed (SIGKILL), most often for lack of memory; {remedy}"
        return Failure(FailureKind.RUN, Reason.DRIVER_KILLED, message, code, tail)
    raised = exception(job.message) or exception(tail)
    first = f"{raised}; " if raised else ""
    if code is None:
        words = "Ray ended the job" if raised else f"Ray ended the job: {job.message}"
        return Failure(FailureKind.RUN, Reason.DRIVER_LOST, first + words, None, tail)
    return Failure(FailureKind.RUN, Reason.DRIVER_FAILED, f"{first}the driver exited with code {code}", code, tail)


def _lacks_trainyard(observed: Observed, code: int, tail: str) -> Failure:
    field = "spec.image" if observed.run.selector is None else "spec.cluster.selector"
    whose = (
        "the image" if observed.run.selector is None else f"the image of RayCluster {observed.run.status.cluster_name}"
    )
    message = f"{whose} has no `trainyard` command: use an image made from Trainyard's training image"
    return Failure(FailureKind.USER, Reason.IMAGE_LACKS_TRAINYARD, message, code, tail, field)


def _absent(observed: Observed, plan: Plan, context: Context) -> Plan:
    """Shown once before it counts, because a single 404 may come from a proxy in between."""
    before = observed.run.status.condition(ConditionType.RUNNING)
    kind, reason = ConditionType.RUNNING, Reason.JOB_NOT_FOUND
    if observed.silence > 0 and before is not None and before.reason == reason:
        return _lost(observed, plan, context, "the head no longer knows the job: the head has restarted")
    message = "the dashboard does not know the job; the operator asks once more"
    return steps.condition(plan, observed, context.now, kind, "Unknown", reason, message)


def _unreachable(observed: Observed, plan: Plan, context: Context, job: Job) -> Plan:
    kind, reason = ConditionType.RUNNING, Reason.DASHBOARD_UNREACHABLE
    message = f"the dashboard of the head does not answer: {job.message}"
    plan = steps.condition(plan, observed, context.now, kind, "Unknown", reason, message)
    if not head_is_silent(observed, plan.status, context):
        return plan
    limit = context.settings.timing.dashboard_lost
    return _lost(observed, plan, context, f"the dashboard has not answered for more than {limit:.0f} s")


def head_is_silent(observed: Observed, status: Status, context: Context) -> bool:
    """Whether the dashboard has been silent for so long that its head counts as lost.

    The silence is measured from the condition's transition time, which a restart of the operator does not change. But
    the head may have recovered during the restart, so this process must also have seen the silence for a while.
    """
    timing, running = context.settings.timing, status.condition(ConditionType.RUNNING)
    if running is None or running.status != "Unknown":
        return False
    recorded = (context.now - running.last_transition_time).total_seconds()
    return recorded >= timing.dashboard_lost and observed.silence >= min(timing.own_silence, timing.dashboard_lost)


def _head_gone(observed: Observed, plan: Plan, context: Context) -> Plan:
    ended = observed.ended_head
    if ended is None:
        return _lost(observed, plan, context, "the head pod is gone")
    if ended.end and ended.end.reason == OOM_KILLED and (memory := out_of_memory(observed)):
        return _lost(observed, plan, context, memory.message, memory)
    why = f" ({ended.end.reason}, exit code {ended.end.exit_code})" if ended.end else ""
    return _lost(observed, plan, context, f"the head pod {ended.name} has ended{why}")


def _lost(observed: Observed, plan: Plan, context: Context, message: str, failure: Failure | None = None) -> Plan:
    """A lost head is a failure. If its cluster was suspended after the submission, it is a preemption instead."""
    status, cluster = plan.status, observed.cluster
    assert cluster is not None
    changed = cluster.suspension_changed
    if changed and status.submit_time and changed > status.submit_time:
        # The clocks start again, as after a suspension that was seen.
        status = requeued(with_clock_stopped(status, _last_sign(status)))
        status = replace(status, phase=Phase.PROVISIONING, attempt_start_time=context.now)
        return steps.look_again(replace(plan, status=status), 0)
    lost = Failure(FailureKind.RUN, Reason.HEAD_LOST, message, log_tail=observed.log_tail)
    return steps.fail(plan, failure or lost)


def _last_sign(status: Status) -> datetime:
    """When, by the status, the job was last known to run: the start of its suspension was not seen."""
    assert status.submit_time is not None
    latest = (status.checkpoint or {}).get("latest", {}).get("time")
    times = (status.submit_time, status.cluster_ready_time, status.progress_time, clock.from_text(latest))
    return max(time for time in times if time is not None)
