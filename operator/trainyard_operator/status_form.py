"""Reads and writes the API's form of a status, and makes the merge patch between two of them. Pure."""

from collections.abc import Mapping
from typing import Any

from trainyard_operator import clock
from trainyard_operator.status import Attempt, Condition, FailureStatus, Status
from trainyard_operator.vocabulary import Phase

Form = dict[str, Any]


def read_status(form: Mapping[str, Any] | None) -> Status:
    """Reads the status from the API's form. Unknown fields are left out; an absent or empty form means a new run.

    Raises ValueError for a status that this operator could not have written.
    """
    form = form or {}
    observed = form.get("observedGeneration")
    return Status(
        observed_generation=observed if observed is not None and observed >= 0 else None,
        started_generation=form.get("startedGeneration"),
        phase=Phase(form.get("phase", Phase.PENDING)),
        conditions=tuple(_read_condition(c) for c in form.get("conditions", ())),
        attempt=form.get("attempt", 1),
        submission=form.get("submission", 1),
        failures=form.get("failures", 0),
        attempts=tuple(_read_attempt(a) for a in form.get("attempts", ())),
        cluster_name=form.get("clusterName"),
        job_id=form.get("jobId"),
        start_time=clock.from_text(form.get("startTime")),
        completion_time=clock.from_text(form.get("completionTime")),
        seed=form.get("seed"),
        active_seconds=form.get("activeSeconds", 0),
        attempt_start_time=clock.from_text(form.get("attemptStartTime")),
        cluster_ready_time=clock.from_text(form.get("clusterReadyTime")),
        submit_time=clock.from_text(form.get("submitTime")),
        progress_time=clock.from_text(form.get("progressTime")),
        provisioning_steps=form.get("provisioningSteps"),
        provisioning_step_time=clock.from_text(form.get("provisioningStepTime")),
        next_attempt_time=clock.from_text(form.get("nextAttemptTime")),
        resources=form.get("resources"),
        progress=form.get("progress"),
        trials=form.get("trials"),
        best=form.get("best"),
        checkpoint=form.get("checkpoint"),
        analysis=form.get("analysis"),
        failure=_read_failure(form.get("failure")),
        results=form.get("results"),
        resumed_from=form.get("resumedFrom"),
    )


def write_status(status: Status) -> Form:
    """The status in the API's form, without fields that are None or empty."""
    full = {
        "observedGeneration": status.observed_generation,
        "startedGeneration": status.started_generation,
        "phase": str(status.phase),
        "conditions": [_write_condition(c) for c in status.conditions],
        "attempt": status.attempt,
        "submission": status.submission,
        "failures": status.failures,
        "attempts": [_write_attempt(a) for a in status.attempts],
        "clusterName": status.cluster_name,
        "jobId": status.job_id,
        "startTime": status.start_time,
        "completionTime": status.completion_time,
        "seed": status.seed,
        "activeSeconds": status.active_seconds,
        "attemptStartTime": status.attempt_start_time,
        "clusterReadyTime": status.cluster_ready_time,
        "submitTime": status.submit_time,
        "progressTime": status.progress_time,
        "provisioningSteps": status.provisioning_steps,
        "provisioningStepTime": status.provisioning_step_time,
        "nextAttemptTime": status.next_attempt_time,
        "resources": status.resources,
        "progress": status.progress,
        "trials": status.trials,
        "best": status.best,
        "checkpoint": status.checkpoint,
        "analysis": status.analysis,
        "failure": _write_failure(status.failure),
        "results": status.results,
        "resumedFrom": status.resumed_from,
    }
    return _plain(full)


def merge_patch(old: Mapping[str, Any], new: Mapping[str, Any]) -> Form:
    """The JSON merge patch (RFC 7386) that turns `old` into `new`; {} when they are equal."""
    patch: Form = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if key in old and before == value:
            continue
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            patch[key] = merge_patch(before, value)
        else:
            patch[key] = value
    return patch


def _plain(form: Mapping[str, Any]) -> Form:
    """Times become text; None and empty containers are left out."""
    return {
        key: clock.to_text(value) if hasattr(value, "astimezone") else value
        for key, value in form.items()
        if value is not None and value not in ([], {}, "")
    }


def _read_condition(form: Mapping[str, Any]) -> Condition:
    since = clock.from_text(form["lastTransitionTime"])
    assert since is not None
    return Condition(
        type=form["type"],
        status=form["status"],
        reason=form["reason"],
        message=form.get("message", ""),
        observed_generation=form.get("observedGeneration", 0),
        last_transition_time=since,
    )


def _write_condition(condition: Condition) -> Form:
    return {
        "type": str(condition.type),
        "status": condition.status,
        "reason": str(condition.reason),
        "message": condition.message,
        "observedGeneration": condition.observed_generation,
        "lastTransitionTime": clock.to_text(condition.last_transition_time),
    }


def _read_attempt(form: Mapping[str, Any]) -> Attempt:
    end = clock.from_text(form["endTime"])
    assert end is not None
    return Attempt(
        number=form["number"],
        cluster_name=form.get("clusterName"),
        job_id=form.get("jobId"),
        start_time=clock.from_text(form.get("startTime")),
        end_time=end,
        reason=form["reason"],
        message=form.get("message", ""),
        exit_code=form.get("exitCode"),
        log_tail=form.get("logTail", ""),
    )


def _write_attempt(attempt: Attempt) -> Form:
    return _plain(
        {
            "number": attempt.number,
            "clusterName": attempt.cluster_name,
            "jobId": attempt.job_id,
            "startTime": attempt.start_time,
            "endTime": attempt.end_time,
            "reason": str(attempt.reason),
            "message": attempt.message,
            "exitCode": attempt.exit_code,
            "logTail": attempt.log_tail,
        }
    )


def _read_failure(form: Mapping[str, Any] | None) -> FailureStatus | None:
    if form is None:
        return None
    return FailureStatus(
        kind=form.get("kind", "Run"),
        reason=form["reason"],
        message=form.get("message", ""),
        log_tail=form.get("logTail", ""),
        exit_code=form.get("exitCode"),
        field=form.get("field"),
    )


def _write_failure(failure: FailureStatus | None) -> Form | None:
    if failure is None:
        return None
    more = {"logTail": failure.log_tail, "exitCode": failure.exit_code, "field": failure.field}
    # The schema requires these, even if they are empty.
    return {"kind": failure.kind, "reason": str(failure.reason), "message": failure.message} | _plain(more)
