"""The results of an ended run: its driver's last line, written to a ConfigMap before the cluster is deleted.

A line is the last one if it says so (`final`), or if it was read after the job's end. Until there is one, the cluster
stays for `results_wait` seconds and is asked again. After that the latest line is kept, and the condition says so.
"""

from dataclasses import replace

from trainyard_operator import steps
from trainyard_operator.building.results_map import results_config_map
from trainyard_operator.model import JobState, KeepResults, Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.policies.reporting import report
from trainyard_operator.readings.progress_line import ProgressLine
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType

WRITE_AGAIN = 30.0
"""Seconds until a failed write of the ConfigMap is repeated. The line is in memory, so the cluster is not needed."""


def keep_results(observed: Observed, plan: Plan, context: Context) -> Plan:
    """Runs for an ended run: in the pass that ends it, and in later passes until its results are on record."""
    status, line = plan.status, _line(observed, plan.status)
    if status.is_true(ConditionType.RESULTS_KEPT):
        return plan
    last = line is not None and _is_last(observed, line)
    wait = seconds_to_wait(observed, status, context)
    if line is not None and (last or wait == 0):
        plan = report(observed, plan, context, line)
        plan = steps.do(plan, KeepResults(results_config_map(observed.run, line)))
        return steps.look_again(plan, min(wait, 1.0) or WRITE_AGAIN)
    if wait > 0:
        return steps.poll_again(steps.look_again(plan, min(wait, 1.0)), 1.0)
    untold = status.condition(ConditionType.RESULTS_KEPT) is None
    if untold and line is None and status.progress is not None and not observed.progress_complete:
        message = "the driver's last report could not be read before the cluster was deleted"
        return _not_kept(observed, plan, context, "NotRead", message)
    return plan


def seconds_to_wait(observed: Observed, status: Status, context: Context) -> float:
    """Seconds that the cluster is still needed for the results; 0 when they are kept, or nothing more can be read."""
    if status.is_true(ConditionType.RESULTS_KEPT) or status.job_id is None or observed.head is None:
        return 0
    if observed.progress_complete and _line(observed, status) is None:
        return 0  # a driver that never reported anything
    if observed.job is not None and observed.job.state in (JobState.PENDING, JobState.RUNNING):
        return 0  # the operator ended the run, so the driver will not write a last line
    assert status.completion_time is not None
    passed = (context.now - status.completion_time).total_seconds()
    return max(0.0, context.settings.timing.results_wait - passed)


def are_pending(observed: Observed, status: Status) -> bool:
    """Whether the line in memory has still to be written."""
    return not status.is_true(ConditionType.RESULTS_KEPT) and _line(observed, status) is not None


def kept(observed: Observed, plan: Plan, context: Context, name: str) -> Plan:
    plan = replace(plan, status=replace(plan.status, results={"configMap": name}))
    line = observed.progress
    reason, text = "Kept", f"summary and tables are in ConfigMap {name}"
    if line is not None and not _is_last(observed, line):
        reason = "Incomplete"
        text += f"; they are from the driver's report number {line.seq}, because its last report could not be read"
    plan = steps.condition(plan, observed, context.now, ConditionType.RESULTS_KEPT, True, reason, text)
    return steps.look_again(plan, 0)


def lost(observed: Observed, plan: Plan, context: Context, message: str) -> Plan:
    return _not_kept(observed, plan, context, "NotWritten", message)


def _not_kept(observed: Observed, plan: Plan, context: Context, reason: str, message: str) -> Plan:
    return steps.condition(plan, observed, context.now, ConditionType.RESULTS_KEPT, False, reason, message)


def _line(observed: Observed, status: Status) -> ProgressLine | None:
    line = observed.progress
    return line if line is not None and line.job_id == status.job_id else None


def _is_last(observed: Observed, line: ProgressLine) -> bool:
    return line.final or observed.progress_complete
