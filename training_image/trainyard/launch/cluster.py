"""`trainyard drive`: the command that the operator submits to the head of a Ray cluster (docs/decisions/0001)."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from trainyard.errors import (
    EXIT_FAILED,
    InvalidConfiguration,
)
from trainyard.launch.connection import connect, connected, ray_options, shortages, work
from trainyard.launch.endings import execute
from trainyard.launch.reading import RUN_VARIABLE, identity_of, open_storage, progress_path, read_document
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.progress.report import JOB_ID_VARIABLE
from trainyard.runs import packages, resuming
from trainyard.runs.job import Job
from trainyard.spec import sizing


def drive(environ: Mapping[str, str]) -> int:
    """Run the document in TRAINYARD_RUN on the Ray cluster whose head runs this process; return the exit code."""
    console = Console(force_terminal=False, width=160)
    path = progress_path(environ)
    if not path.parent.is_dir():
        console.print(f"{path.parent} does not exist: trainyard drive runs on the head of a Ray cluster", style="red")
        return EXIT_FAILED
    sink = Progress(ProgressFile(path, environ.get(JOB_ID_VARIABLE) or "local"))

    def body() -> dict[str, Any]:
        text = environ.get(RUN_VARIABLE)
        if not text:
            raise InvalidConfiguration.of(
                RUN_VARIABLE, "is not set", "the operator sets it; use trainyard run -f FILE to run a file"
            )
        document, specification = read_document(text)
        sink.publish(now=True)
        identity = identity_of(document, environ)
        resuming.check(specification)
        place = open_storage(specification, identity, sink)
        own = packages.of(specification)
        job = Job(identity, specification, document, place, sink, console, own)
        if specification.cluster.selector is not None:
            return _work_on_existing_cluster(job)
        connect(lambda ray: ray.init(**ray_options(job, address="auto")), job)
        return work(job)

    return execute(body, sink, console)


def _work_on_existing_cluster(job: Job) -> dict[str, Any]:
    """Work on a Ray cluster that stays: the run's temporary files are removed from its nodes at the end."""
    place = job.storage
    try:
        with connected(job, "auto") as job:
            # Not refused: its other nodes may still be starting, and an autoscaler may bring more.
            for kind, message in shortages(sizing.need(job.specification), "the Ray cluster"):
                job.progress.condition(f"TooFew{kind.capitalize()}s", "True", "WaitingForNodes", f"{message} now")
            summary = work(job)
        if not place.kept:
            shutil.rmtree(place.local, ignore_errors=True)  # only a later attempt of the same run could use it
        return summary
    finally:
        place.discard_scratch()
