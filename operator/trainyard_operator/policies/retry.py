"""What follows from a failure: the end of the run, or another attempt after a delay. Only `failures` decides this."""

from dataclasses import replace
from datetime import timedelta

from trainyard_operator import steps
from trainyard_operator.model import Failure, FailureKind, Observed, Plan
from trainyard_operator.names import spread
from trainyard_operator.policies import Context
from trainyard_operator.policies.keeping_results import keep_results
from trainyard_operator.settings import Timing
from trainyard_operator.status import (
    MAX_MESSAGE,
    FailureStatus,
    Status,
    tail,
    with_attempt_ended,
    without_cluster_clocks,
)
from trainyard_operator.vocabulary import Phase


def retry(observed: Observed, plan: Plan, context: Context) -> Plan:
    if plan.failure:
        return _charge(observed, plan, context, plan.failure)
    status = plan.status
    if status.terminal or status.phase == Phase.SUSPENDED or not status.attempt_over:
        return plan
    if observed.run.guarded:
        return plan  # the last attempt's job may still run on the cluster that the next attempt would use
    return _next_attempt(plan, context)


def delay(failures: int, uid: str, timing: Timing) -> float:
    """Seconds before the attempt that follows the n-th counted failure: doubles each time, up to a limit.

    Up to a quarter more, depending on the uid and the number, so that runs which a lost node ended together do not
    start together again.
    """
    return min(timing.retry_base * 2.0 ** (failures - 1), timing.retry_max) * (1 + spread(f"{uid}/{failures}") / 4)


def _charge(observed: Observed, plan: Plan, context: Context, failure: Failure) -> Plan:
    status, now = plan.status, context.now
    kind = "User" if failure.kind == FailureKind.USER else "Run"
    message, log = failure.message[:MAX_MESSAGE], tail(failure.log_tail)
    said = FailureStatus(kind, failure.reason, message, log, failure.exit_code, failure.field)
    charged = failure.kind == FailureKind.RUN
    failures = status.failures + charged
    if status.start_time is not None:
        status = with_attempt_ended(status, now, failure.reason, failure.message, failure.exit_code, failure.log_tail)
    status = replace(status, failures=failures, failure=said)
    if charged and failures <= observed.run.backoff_limit:
        wait = delay(failures, observed.run.uid, context.settings.timing)
        status = replace(status, phase=Phase.PENDING, next_attempt_time=now + timedelta(seconds=wait))
        return steps.look_again(replace(plan, status=status), 0)
    plan = replace(plan, status=replace(status, phase=Phase.FAILED, completion_time=now))
    return keep_results(observed, plan, context)


def _next_attempt(plan: Plan, context: Context) -> Plan:
    """Raise the counters in a separate write of the status; the cluster is created from the written counters."""
    status = plan.status
    if status.next_attempt_time and context.now < status.next_attempt_time:
        left = (status.next_attempt_time - context.now).total_seconds()
        return steps.look_again(replace(plan, status=replace(status, phase=Phase.PENDING)), left)
    return steps.look_again(replace(plan, status=raised(status)), 0)


def raised(status: Status) -> Status:
    """The status at the start of the next attempt."""
    return replace(
        without_cluster_clocks(status),
        phase=Phase.PENDING,
        attempt=status.attempt + 1,
        submission=status.submission + 1,
        cluster_name=None,
        job_id=None,
        submit_time=None,
        attempt_start_time=None,
        next_attempt_time=None,
    )
