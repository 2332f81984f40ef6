"""The values that the operator observes and decides: frozen, built by the readers, read by the policies. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from trainyard_operator.readings.progress_line import ProgressLine
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import FINALIZER

Manifest = Mapping[str, Any]

DEFAULT_BACKOFF_LIMIT = 3
DEFAULT_PROVISIONING_DEADLINE = 600.0


@dataclass(frozen=True, order=True)
class Key:
    """A TrainingRun's place in the cluster."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Run:
    """A TrainingRun. `spec` is as the API server returns it, defaults filled in."""

    key: Key
    uid: str
    generation: int
    resource_version: str
    deleting: bool
    spec: Mapping[str, Any]
    status: Status
    finalizers: tuple[str, ...] = ()
    deletion_time: datetime | None = None

    @property
    def selector(self) -> Mapping[str, str] | None:
        """Labels of the existing RayCluster that the run selects; None for a run with its own cluster."""
        selector = self.spec.get("cluster", {}).get("selector")
        return None if selector is None else selector["matchLabels"]

    @property
    def guarded(self) -> bool:
        """Whether the object stays until its job on an existing cluster is stopped."""
        return FINALIZER in self.finalizers

    @property
    def unwanted_since(self) -> datetime | None:
        """Since when, by the status, the job of the current attempt should not run any more; None while it should."""
        status = self.status
        ended = status.attempts[-1].end_time if status.attempt_over else status.completion_time
        times = [time for time in (ended, self.deletion_time) if time is not None]
        return min(times, default=None)

    @property
    def suspend(self) -> bool:
        return bool(self.spec.get("suspend", False))

    @property
    def backoff_limit(self) -> int:
        return int(self.spec.get("backoffLimit", DEFAULT_BACKOFF_LIMIT))

    @property
    def active_deadline(self) -> float | None:
        """Seconds; None means no limit."""
        return self.spec.get("activeDeadlineSeconds")

    @property
    def provisioning_deadline(self) -> float:
        """Seconds."""
        return float(self.spec.get("provisioningDeadlineSeconds", DEFAULT_PROVISIONING_DEADLINE))

    @property
    def cluster_ttl(self) -> float:
        """Seconds that the cluster stays after the run's end."""
        return float(self.spec.get("clusterTTLSecondsAfterFinished", 0))

    @property
    def ttl(self) -> float | None:
        """Seconds that this object stays after the run's end; None means for ever."""
        return self.spec.get("ttlSecondsAfterFinished")


@dataclass(frozen=True)
class Cluster:
    """A RayCluster, made for a run or chosen by its selector.

    `suspended` is true as soon as anybody asks for a suspension; `suspension_changed` is when KubeRay last finished or
    left one. `trouble` is KubeRay's own reason and message for pods that it cannot create; `locked` is the reason why
    the operator has no token for a chosen cluster that asks for one.
    """

    name: str
    uid: str
    owner_uid: str
    generation: int | None
    deleting: bool
    suspended: bool
    suspension_changed: datetime | None
    head_service: str
    desired_workers: int
    trouble: tuple[str, str] | None = None
    locked: tuple[str, str] | None = None


@dataclass(frozen=True)
class PodProblem:
    """Why a pod does not start, in Kubernetes' own words."""

    reason: str
    message: str


@dataclass(frozen=True)
class PodEnd:
    """How the Ray container of a pod ended."""

    reason: str
    exit_code: int | None
    message: str = ""


@dataclass(frozen=True)
class Pod:
    """A pod of the run's current cluster. `end` is how its Ray container ended (last time), None if it never did.

    `steps` is its progress: one step each for existing, being placed on a node, each container that has run, being
    ready.
    """

    name: str
    head: bool
    phase: str
    ready: bool
    deleting: bool
    address: str | None = None
    problem: PodProblem | None = None
    end: PodEnd | None = None
    steps: int = 1

    @property
    def unexplained(self) -> bool:
        """The pod does not start, and its status does not say why."""
        return self.phase == "Pending" and self.problem is None and not self.over

    @property
    def over(self) -> bool:
        """The pod's processes are gone, or soon will be."""
        return self.deleting or self.phase in ("Failed", "Succeeded")


class JobState(StrEnum):
    """States of a job in Ray's Jobs API, and two states that the operator adds."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABSENT = "ABSENT"
    """The dashboard answers that it does not know the job."""
    UNREACHABLE = "UNREACHABLE"
    """The dashboard does not answer."""


@dataclass(frozen=True)
class Job:
    """One reading of the Jobs API."""

    state: JobState
    message: str = ""
    exit_code: int | None = None

    @property
    def over(self) -> bool:
        return self.state in (JobState.STOPPED, JobState.SUCCEEDED, JobState.FAILED)

    @property
    def unknown(self) -> bool:
        """The state of the job is unknown."""
        return self.state in (JobState.UNREACHABLE, JobState.ABSENT)


@dataclass(frozen=True)
class Observed:
    """All input of a decision.

    `cluster` and `pods` belong to the current attempt; `strays` are other clusters of the run. `job` is None if the
    dashboard was not read in this pass; `may_call` says whether the run's timer allows this pass to ask the dashboard.
    `source` is the run that spec.resumeFrom names, None if there is none or it is no longer needed.
    `candidates` are the RayClusters that match the run's selector, None if they were not listed in this pass.
    `progress` and `log_tail` are the latest readings for the current job, from this pass or an earlier one;
    `progress_error` says why the file could not be used. `progress_read` says whether the file was read in this
    pass (or does not exist), `progress_complete` whether it was read after the job's end. `silence` is for how many
    seconds this process has asked for the job without an answer about its state; 0 in the first such pass.
    """

    run: Run
    kuberay: bool
    cluster: Cluster | None = None
    strays: tuple[Cluster, ...] = ()
    pods: tuple[Pod, ...] = ()
    job: Job | None = None
    may_call: bool = False
    candidates: tuple[Cluster, ...] | None = None
    source: Run | None = None
    progress: ProgressLine | None = None
    progress_error: str | None = None
    progress_read: bool = False
    progress_complete: bool = False
    silence: float = 0
    log_tail: str = ""

    @property
    def unread(self) -> bool:
        """A job that was not read only because the timer was not due. It has to be read before it is ended."""
        return self.run.status.job_id is not None and self.job is None and self.answering is not None

    @property
    def answering(self) -> Pod | None:
        """The head pod whose dashboard can be asked; for some seconds also one that is being deleted."""
        dying = (p for p in self.pods if p.head and p.deleting and p.phase == "Running")
        return self.head or next(dying, None)

    @property
    def head(self) -> Pod | None:
        """The head pod that is (or will be) alive."""
        return next((p for p in self.pods if p.head and not p.over), None)

    @property
    def ended_head(self) -> Pod | None:
        return next((p for p in self.pods if p.head and p.over), None)


class FailureKind(StrEnum):
    """What follows from a failure."""

    USER = "User"
    """The user has to correct something: never retried."""
    RUN = "Run"
    """Charged to backoffLimit."""
    FINAL = "Final"
    """The specification is right, but a retry cannot help: a deadline, a job that somebody stopped."""


@dataclass(frozen=True)
class Failure:
    """Why the current attempt, or the run before its first attempt, cannot continue."""

    kind: FailureKind
    reason: str
    message: str
    exit_code: int | None = None
    log_tail: str = ""
    field: str | None = None


@dataclass(frozen=True)
class CreateCluster:
    """Create the Secret with the token, if there is one, then the RayCluster."""

    secret: Manifest | None
    cluster: Manifest


@dataclass(frozen=True)
class SubmitJob:
    job_id: str
    entrypoint: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Guard:
    """Add the finalizer: from now on the object stays until its job is stopped."""


@dataclass(frozen=True)
class Unguard:
    """Remove the finalizer."""


@dataclass(frozen=True)
class StopJob:
    job_id: str


@dataclass(frozen=True)
class KeepResults:
    config_map: Manifest


@dataclass(frozen=True)
class DeleteCluster:
    """Only `policies/cleanup.py` decides this. `orphans.py` also deletes clusters, those of runs that are gone."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeleteRun:
    uid: str


Effect = CreateCluster | Guard | Unguard | SubmitJob | StopJob | KeepResults | DeleteCluster | DeleteRun


@dataclass(frozen=True)
class Created:
    cluster: Cluster


@dataclass(frozen=True)
class Refused:
    """The API server (or Ray) refused an effect, and the status has to show the reason.

    `hopeless`: the same request can never succeed.
    """

    reason: str
    message: str
    hopeless: bool = False


@dataclass(frozen=True)
class Submitted:
    job_id: str


@dataclass(frozen=True)
class GuardChanged:
    """The finalizer was added or removed, so the object has another resourceVersion."""

    resource_version: str


@dataclass(frozen=True)
class NotYet:
    """Ray does not accept the job yet; the timer asks again."""

    message: str


@dataclass(frozen=True)
class ResultsKept:
    name: str


@dataclass(frozen=True)
class ResultsLost:
    message: str


@dataclass(frozen=True)
class NotDeleted:
    """The API server does not delete a cluster; it is asked again."""

    message: str


@dataclass(frozen=True)
class Postponed:
    """The API server did not answer, or the object has to be read first: a later pass plans the effect again."""

    message: str
    seconds: float


Outcome = Created | GuardChanged | Refused | Submitted | NotYet | ResultsKept | ResultsLost | NotDeleted | Postponed


@dataclass(frozen=True)
class Plan:
    """A decision as it passes through the policies.

    `done` ends the chain. `requeue_after` is when the run must be looked at again, the earliest that a policy asked
    for; `poll_after` is the same for the next reading of its dashboard (seconds; None means no need).
    """

    status: Status
    effects: tuple[Effect, ...] = ()
    failure: Failure | None = None
    requeue_after: float | None = None
    poll_after: float | None = None
    done: bool = False
