"""Names that follow from a run's name, uid and counters. Pure; the same input always gives the same name."""

import hashlib
import hmac

LABEL_RUN = "trainyard.dev/run"
LABEL_RUN_UID = "trainyard.dev/run-uid"
LABEL_ATTEMPT = "trainyard.dev/attempt"
ANNOTATION_GENERATION = "trainyard.dev/generation"

MAX_CLUSTER_NAME = 50
"""KubeRay keeps only the last 50 characters of the names of pods and of the token's Secret."""


def cluster_name(run: str, uid: str, attempt: int) -> str:
    """Name of the RayCluster, and of its token's Secret: the run's name, 5 hex digits of the uid, the attempt.

    If a run is deleted and created again, the uid distinguishes its cluster from the old one that is being deleted.
    """
    suffix = f"-{hashlib.sha256(uid.encode()).hexdigest()[:5]}-{attempt}"
    return run[: MAX_CLUSTER_NAME - len(suffix)].rstrip("-") + suffix


def results_name(cluster: str) -> str:
    """Name of the ConfigMap that keeps the results of a run whose last cluster was `cluster`."""
    return f"{cluster}-results"


def job_id(uid: str, attempt: int, submission: int) -> str:
    """The Ray submission id."""
    return f"ty-{uid}-{attempt}-{submission}"


def progress_file(job: str) -> str:
    """Name of the driver's progress file in the log folder of the head's Ray session."""
    return f"trainyard-{job}.jsonl"


def auth_token(key: bytes, uid: str, attempt: int) -> str:
    """The token of an attempt's Ray cluster: 64 hex digits, never stored by the operator."""
    return hmac.new(key, f"{uid}/{attempt}".encode(), hashlib.sha256).hexdigest()


def spread(text: str) -> float:
    """A number from 0 up to 1 that follows from a text. It differs from run to run, but not from pass to pass."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32
