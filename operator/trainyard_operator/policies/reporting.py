"""The driver's reports, in the form of the status."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from trainyard_operator import clock, steps
from trainyard_operator.building.storage import effective_storage
from trainyard_operator.model import Observed, Plan
from trainyard_operator.policies import Context
from trainyard_operator.readings.progress_line import ProgressLine
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType

OWN_CONDITIONS = frozenset(str(kind) for kind in ConditionType)
MAX_CONDITIONS = 48
"""Less than the schema's 64: a program that invents types of conditions must leave room for the operator's own."""


def reporting(observed: Observed, plan: Plan, context: Context) -> Plan:
    if plan.status.terminal or plan.status.job_id is None:
        return plan
    plan = _readable(observed, plan, context)
    line = observed.progress
    if line is None or line.job_id != plan.status.job_id:
        return plan
    return report(observed, plan, context, line)


def report(observed: Observed, plan: Plan, context: Context, line: ProgressLine) -> Plan:
    """The plan with a line's content in its status; also for an ended run whose last line was read late."""
    status = replace(
        plan.status,
        progress=progress_form(line, context.now),
        progress_time=plan.status.progress_time or (context.now if line.moves else None),
        trials=_trials(line.trials),
        best=_best(line.best),
        checkpoint=_checkpoints(observed, plan, context, line),
        analysis=_analysis(line.analysis),
    )
    plan = replace(plan, status=status)
    for said in line.conditions:
        if _may_say(plan.status, said["type"]):
            plan = steps.condition(
                plan, observed, context.now, said["type"], said["status"], said["reason"], said["message"]
            )
    return plan


def _may_say(status: Status, kind: str) -> bool:
    """Whether the driver may set a condition of that type."""
    room = len(status.conditions) < MAX_CONDITIONS or status.condition(kind) is not None
    return room and kind not in OWN_CONDITIONS


def _readable(observed: Observed, plan: Plan, context: Context) -> Plan:
    """An unusable progress file is reported once; the run continues."""
    kind = ConditionType.PROGRESS_READABLE
    if observed.progress_error:
        message = f"The driver's progress file cannot be used: {observed.progress_error}"
        return steps.condition(plan, observed, context.now, kind, False, "InvalidProgress", message)
    if plan.status.condition(kind) and observed.progress:
        return steps.condition(plan, observed, context.now, kind, True, "Read", "")
    return plan


def progress_form(line: ProgressLine, now: datetime) -> dict[str, Any]:
    """The form of status.progress."""
    form: dict[str, Any] = {k: readable(v) for k, v in line.progress.items() if k != "estimatedSecondsLeft"}
    if line.started_iteration:
        form["startedIteration"] = line.started_iteration
    if line.lost_iterations:
        form["lostIterations"] = line.lost_iterations
    left = line.progress.get("estimatedSecondsLeft")
    if left is not None and left < 10 * 365 * 86400:
        # Computed from the line's own time, so that a line that is read twice gives the same estimate.
        form["estimatedCompletionTime"] = clock.to_text(clock.from_unix(min(line.time, now.timestamp()) + left))
    if "percent" in form:
        form["summary"] = f"{form['percent']:.0f}%"
    elif "iteration" in form:
        form["summary"] = f"iteration {form['iteration']}"
    return form


def readable(value: float) -> float:
    """Round to five significant digits, which is enough for people in the status and in kubectl; counts stay exact."""
    return value if isinstance(value, int) else float(f"{value:.5g}")


def _trials(trials: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if trials is None:
        return None
    form = {k: v for k, v in trials.items() if k not in ("items", "best")}
    if best := _best(trials.get("best")):
        form["best"] = best
    return form | {"summary": f"{trials['succeeded'] + trials['failed']}/{trials['total']}"}


def _best(best: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Leave out parameters that are null: in a merge patch, null removes a field, so it would never be on record."""
    if best is None or "parameters" not in best:
        return dict(best) if best else None
    return {**best, "parameters": {k: v for k, v in best["parameters"].items() if v is not None}}


def _analysis(analysis: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if analysis is None:
        return None
    return {
        subject: {k: v if isinstance(v, str) else readable(v) for k, v in figures.items()}
        for subject, figures in analysis.items()
    }


def _checkpoints(observed: Observed, plan: Plan, context: Context, line: ProgressLine) -> Mapping[str, Any] | None:
    """Keep the checkpoints of an earlier attempt: they still exist, although this driver reports only its own."""
    known, said = plan.status.checkpoint or {}, _checkpoint(line.checkpoint) or {}
    kept = effective_storage(observed.run.spec, context.settings.training) is not None
    return ({**known, **said} if kept else said or known) or None


def _checkpoint(checkpoint: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    return {
        kind: one | ({"time": clock.to_text(clock.from_unix(one["time"]))} if "time" in one else {})
        for kind, one in checkpoint.items()
    }
