"""The input of a run: its document, its identity, its progress file and its storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainyard.errors import (
    InvalidConfiguration,
)
from trainyard.progress.channel import Progress
from trainyard.progress.report import JOB_ID_VARIABLE
from trainyard.runs import storage
from trainyard.runs.run import Identity
from trainyard.runs.storage import RunStorage
from trainyard.spec import document as manifest
from trainyard.spec.parsing import parse, parse_document, parse_submitted
from trainyard.spec.sections import Specification

RUN_VARIABLE = "TRAINYARD_RUN"
ATTEMPT_VARIABLE = "TRAINYARD_ATTEMPT"
SUBMISSION_VARIABLE = "TRAINYARD_SUBMISSION"
PROGRESS_FOLDER_VARIABLE = "TRAINYARD_PROGRESS_DIR"


def read_document(text: str) -> tuple[dict[str, Any], Specification]:
    """Read the document and report all its faults together, including those that only RLlib's signatures show."""
    document = manifest.read_text(text, source=RUN_VARIABLE)
    return document, parse_completely(document, parse_submitted)


def parse_completely(
    document: dict[str, Any], parser: Callable[[dict[str, Any]], Specification] = parse_document
) -> Specification:
    """Parse with `parser`; where it finds faults, those that only RLlib's signatures show are told with them."""
    try:
        return parser(document)
    except InvalidConfiguration as error:
        raise InvalidConfiguration([*error.faults, *_parameter_faults(document["spec"])]) from error


def _parameter_faults(spec: dict[str, Any]) -> list[Any]:
    """Only called for a specification that is refused anyway, because this imports RLlib."""
    try:
        algorithm = parse({"algorithm": spec.get("algorithm"), "environment": {"name": "x"}, "stop": {"iterations": 1}})
    except InvalidConfiguration:
        return []
    from trainyard.training import config

    return config.faults(algorithm)


def identity_of(document: Mapping[str, Any], environ: Mapping[str, str]) -> Identity:
    metadata = document.get("metadata", {})
    return Identity(
        name=metadata.get("name") or metadata.get("generateName") or "run",
        namespace=metadata.get("namespace") or "default",
        uid=metadata.get("uid") or "",
        job_id=environ.get(JOB_ID_VARIABLE) or "local",
        attempt=int(environ.get(ATTEMPT_VARIABLE) or 1),
        submission=int(environ.get(SUBMISSION_VARIABLE) or 1),
    )


def progress_path(environ: Mapping[str, str]) -> Path:
    """The progress file of a job: in the log folder of the head's Ray session, which the dashboard serves."""
    default = Path(environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "session_latest" / "logs"
    folder = Path(environ.get(PROGRESS_FOLDER_VARIABLE) or default)
    return folder / f"trainyard-{environ.get(JOB_ID_VARIABLE) or 'local'}.jsonl"


def open_storage(specification: Specification, identity: Identity, sink: Progress) -> RunStorage:
    """The run's folder in a cluster (docs/decisions/0001); without storage, a folder that is lost with the pod."""
    folder = f"{identity.namespace}/{identity.name}/{identity.uid or identity.job_id}"
    wanted = specification.storage
    if wanted is not None and wanted.uri is not None:
        return storage.at_uri(wanted.uri, folder)
    if wanted is not None:
        return storage.at_directory(storage.MOUNT / folder)
    sink.condition(
        "CheckpointsNotKept",
        "True",
        "NoStorage",
        "the run has no spec.storage: checkpoints, tables and curves are lost with its cluster",
    )
    return storage.at_directory(storage.EPHEMERAL / (identity.uid or identity.job_id), kept=False)
