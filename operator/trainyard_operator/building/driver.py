"""How the driver is started (docs/decisions/0001). Pure."""

import json
import shlex
from collections.abc import Mapping

from trainyard_operator import names
from trainyard_operator.building.sizing import SpecRefusedError
from trainyard_operator.building.storage import effective_storage
from trainyard_operator.model import Run
from trainyard_operator.settings import TrainingDefaults
from trainyard_operator.vocabulary import GROUP, KIND, VERSION, Reason

MAX_ENTRYPOINT = 120_000
"""Bytes. Linux takes at most 131072 in one argument, and Ray gives the line to the shell as one."""


def entrypoint(run: Run, seed: int, defaults: TrainingDefaults) -> str:
    """The shell line of the Ray job.

    Values are part of the line, because a runtime environment would keep Ray from using the worker processes that it
    started in advance. Raises SpecRefusedError for a specification too long for a command line.
    """
    spec = {**run.spec, "seed": seed}
    if storage := effective_storage(run.spec, defaults):
        spec["storage"] = storage
    if resumed := run.status.resumed_from:
        # The driver knows places, not TrainingRuns.
        wanted = {key: value for key, value in run.spec["resumeFrom"].items() if key != "run"}
        spec["resumeFrom"] = wanted | {"uri": resumed["uri"]}
    document = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {
            "name": run.key.name,
            "namespace": run.key.namespace,
            "uid": run.uid,
            "generation": run.generation,
        },
        "spec": spec,
    }
    variables = {
        "TRAINYARD_JOB_ID": names.job_id(run.uid, run.status.attempt, run.status.submission),
        "TRAINYARD_ATTEMPT": str(run.status.attempt),
        "TRAINYARD_SUBMISSION": str(run.status.submission),
        "TRAINYARD_RUN": json.dumps(document, separators=(",", ":")),
    }
    assignments = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
    command = "trainyard drive-entrypoint" if "entrypoint" in run.spec else "exec trainyard drive"
    line = f"{assignments} {command}"
    size = len(line.encode())
    if size > MAX_ENTRYPOINT:
        raise SpecRefusedError(
            Reason.INVALID_SPEC,
            "spec",
            f"the specification takes {size} bytes of the driver's command line, and {MAX_ENTRYPOINT} fit: "
            "move long values into a file of the image or the storage",
        )
    return line


def metadata(run: Run) -> Mapping[str, str]:
    """What the Jobs API keeps beside the job: whose it is."""
    return {
        "trainyard.dev/uid": run.uid,
        "trainyard.dev/run": str(run.key),
        "trainyard.dev/attempt": str(run.status.attempt),
    }
