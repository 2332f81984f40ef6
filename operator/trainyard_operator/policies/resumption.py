"""spec.resumeFrom.run: finds the place of that run's results once, before the run starts, and keeps it on record."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from trainyard_operator import steps
from trainyard_operator.building.storage import effective_storage
from trainyard_operator.model import Failure, FailureKind, Observed, Plan, Run
from trainyard_operator.policies import Context
from trainyard_operator.settings import TrainingDefaults
from trainyard_operator.vocabulary import Phase, Reason

FIELD = "spec.resumeFrom.run"
CHECKPOINTS = "/checkpoints/"


class _UnusableError(ValueError):
    """Why no run can start from that run; `field` is the field to correct."""

    def __init__(self, message: str, field: str = FIELD) -> None:
        super().__init__(message)
        self.field = field


def resumption(observed: Observed, plan: Plan, context: Context) -> Plan:
    status, name = plan.status, observed.run.spec.get("resumeFrom", {}).get("run")
    settled = status.terminal or status.phase == Phase.SUSPENDED or plan.failure or status.start_time
    if name is None or settled or (status.resumed_from or {}).get("run") == name:
        return plan
    try:
        uri = _place(observed.run, name, observed.source, context.settings.training)
    except _UnusableError as error:
        return steps.fail(plan, Failure(FailureKind.USER, Reason.RESUME_SOURCE, str(error), field=error.field))
    return replace(plan, status=replace(status, resumed_from={"run": name, "uri": uri}))


def _place(run: Run, name: str, source: Run | None, defaults: TrainingDefaults) -> str:
    """The results folder of the source. Raises _UnusableError with what to do."""
    if name == run.key.name:
        raise _UnusableError(f"{name} is this run, which continues from its own checkpoints by itself; remove {FIELD}")
    if source is None:
        raise _UnusableError(
            f"there is no TrainingRun {name} in namespace {run.key.namespace}; correct the name, or give the place of "
            "its results as spec.resumeFrom.uri"
        )
    storage = effective_storage(source.spec, defaults)
    if storage is None:
        raise _UnusableError(
            f"TrainingRun {name} has no spec.storage, so its checkpoints are lost with its cluster; run it again with "
            "spec.storage"
        )
    uri = _checkpoint(run, name, source)
    _check_claim(run, name, storage, defaults)
    path, question, options = uri.partition("?")
    return path.rpartition(CHECKPOINTS)[0] + question + options


def _checkpoint(run: Run, name: str, source: Run) -> str:
    """The URI of the requested checkpoint. The driver looks for it again when it starts."""
    wanted = run.spec["resumeFrom"].get("checkpoint", "Latest")
    known = source.status.checkpoint or {}
    found = known.get(wanted.lower(), {}).get("uri", "")
    if CHECKPOINTS in found:
        return str(found)
    remedy = "wait until it has one, and apply this run again"
    if source.status.terminal:
        remedy = "use checkpoint: Latest" if known.get("latest") else "use another run, or spec.resumeFrom.uri"
    raise _UnusableError(
        f"TrainingRun {name} (phase {source.status.phase}) has no {wanted.lower()} checkpoint; {remedy}"
    )


def _check_claim(run: Run, name: str, storage: Mapping[str, Any], defaults: TrainingDefaults) -> None:
    claim = storage.get("persistentVolumeClaim")
    if claim is None:
        return
    own = (effective_storage(run.spec, defaults) or {}).get("persistentVolumeClaim")
    if own is None or _folder(own) != _folder(claim):
        raise _UnusableError(
            f"the results of TrainingRun {name} are in {_words(claim)}, which this run does not mount; give it the "
            "same spec.storage",
            "spec.storage",
        )


def _folder(claim: Mapping[str, Any]) -> tuple[str, str]:
    return claim["claimName"], claim.get("subPath", "").strip("/")


def _words(claim: Mapping[str, Any]) -> str:
    name, path = _folder(claim)
    return f"the claim {name}" + (f" (subPath {path})" if path else "")
