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
"""Bytes. Linux allows at most 131072 in one argument, and Ray passes the whole line to the shell as one argument."""


def entrypoint(run: Run, seed: int, defaults: TrainingDefaults) -> str:
    """The shell line of the Ray job.

    Values are in the line and not in a runtime environment, because with one Ray could not use the worker processes
    that it started in advance. Raises SpecRefusedError if the specification is too long for a command line.
    """
    spec = {**run.spec, "seed": seed}
    if storage := effective_storage(run.spec, defaults):
        spec["storage"] = storage
    if resumed := run.status.resumed_from:
        # The driver cannot look up TrainingRuns, so it gets the place of the results.
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
            f"the specification takes {size} bytes of the driver's command line; at most {MAX_ENTRYPOINT} fit: "
            "move long values into a file of the image or the storage",
        )
    return line


def metadata(run: Run) -> Mapping[str, str]:
    """The metadata that the Jobs API stores with the job: the run that the job belongs to."""
    return {
        "trainyard.dev/uid": run.uid,
        "trainyard.dev/run": str(run.key),
        "trainyard.dev/attempt": str(run.status.attempt),
    }
