"""What the operator observes and what it decides: frozen values, made at the edge, read by the policies. Pure."""

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
        """Labels of the existing RayCluster that the run is for; None for a run that has a cluster made."""
        selector = self.spec.get("cluster", {}).get("selector")
        return None if selector is None else selector["matchLabels"]

    @property
    def guarded(self) -> bool:
        """Whether the object cannot go before its job on an existing cluster is stopped."""
        return FINALIZER in self.finalizers

    @property
    def unwanted_since(self) -> datetime | None:
        """When the job of the current attempt lost its reason to run, by the record; None while it has one."""
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
        """Seconds, None for no limit."""
        return self.spec.get("activeDeadlineSeconds")

    @property
    def provisioning_deadline(self) -> float:
        """Seconds."""
        return float(self.spec.get("provisioningDeadlineSeconds", DEFAULT_PROVISIONING_DEADLINE))

    @property
    def cluster_ttl(self) -> float:
        """Seconds that the cluster outlives the run."""
        return float(self.spec.get("clusterTTLSecondsAfterFinished", 0))

    @property
    def ttl(self) -> float | None:
        """Seconds that this object outlives the run's end; None for ever."""
        return self.spec.get("ttlSecondsAfterFinished")


@dataclass(frozen=True)
class Cluster:
    """A RayCluster, made for a run or chosen by its selector.

    `suspended` as soon as anybody asks for it; `suspension_changed` is when KubeRay last finished or left a suspension.
    `trouble` is KubeRay's own reason and message for pods that it cannot create; `locked` is why the operator has no
    token for a chosen cluster that asks for one.
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
    """Why a pod does not come up, in Kubernetes' own words."""

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
    """A pod of the run's current cluster. `end` is how its Ray container ended (last time), None when it never did.

    `steps` is how far it has come: one for being there, placed on a node, each container that has run, and ready.
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
        """It does not come up, and its status does not say why."""
        return self.phase == "Pending" and self.problem is None and not self.over

    @property
    def over(self) -> bool:
        """Its processes are gone, or about to be."""
        return self.deleting or self.phase in ("Failed", "Succeeded")


class JobState(StrEnum):
    """States of a job in Ray's Jobs API, and two that are the operator's."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    ABSENT = "ABSENT"
    """The dashboard answers and knows no such job."""
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
        """Nobody has said how the job is."""
        return self.state in (JobState.UNREACHABLE, JobState.ABSENT)


@dataclass(frozen=True)
class Observed:
    """Everything that a decision is made from.

    `cluster` and `pods` are the current attempt's; `strays` are other clusters of the run. `job` is None when the
    dashboard was not read in this pass, and `may_call` says whether the run's timer lets this pass talk to it.
    `source` is the run that spec.resumeFrom names, None when there is none or nobody has to know any more.
    `candidates` are the RayClusters that the run's selector matches, None when nobody looked in this pass.
    `progress` and `log_tail` are the freshest readings for the current job, of this pass or an earlier one;
    `progress_error` says why the file at hand could not be used. `progress_read` is whether the file was read in this
    pass (or is not there), `progress_complete` whether it was read after the job's end. `silence` is for how many
    seconds this process has asked for the job without being told how it is; 0 in the first such pass.
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
        """A job that could be read and was not, because the timer was not due: to be read before it is ended."""
        return self.run.status.job_id is not None and self.job is None and self.answering is not None

    @property
    def answering(self) -> Pod | None:
        """The head pod whose dashboard can be asked: for some seconds also one that is going."""
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
    """What a failure costs."""

    USER = "User"
    """The user's to correct: never retried."""
    RUN = "Run"
    """Charged to backoffLimit."""
    FINAL = "Final"
    """Nobody's error in the specification, but a retry cannot help: a deadline, a job that somebody stopped."""


@dataclass(frozen=True)
class Failure:
    """Why the current attempt, or the run before its first, cannot go on."""

    kind: FailureKind
    reason: str
    message: str
    exit_code: int | None = None
    log_tail: str = ""
    field: str | None = None


@dataclass(frozen=True)
class CreateCluster:
    """Create the token's Secret, when there is one, then the RayCluster."""

    secret: Manifest | None
    cluster: Manifest


@dataclass(frozen=True)
class SubmitJob:
    job_id: str
    entrypoint: str
    metadata: Mapping[str, str]


@dataclass(frozen=True)
class Guard:
    """Add the finalizer: from now on the object cannot go before its job is stopped."""


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
    """Decided by `policies/cleanup.py` alone. The other deleter of clusters is `orphans.py`, for runs that are gone."""

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
    """The API server (or Ray) refused an effect for a reason that belongs into the status.

    `hopeless` when the same request can never succeed.
    """

    reason: str
    message: str
    hopeless: bool = False


@dataclass(frozen=True)
class Submitted:
    job_id: str


@dataclass(frozen=True)
class GuardChanged:
    """The object has its finalizer, or has it no longer, and with it another resourceVersion."""

    resource_version: str


@dataclass(frozen=True)
class NotYet:
    """Ray does not take the job yet; asked again by the timer."""

    message: str


@dataclass(frozen=True)
class ResultsKept:
    name: str


@dataclass(frozen=True)
class ResultsLost:
    message: str


@dataclass(frozen=True)
class NotDeleted:
    """The API server does not let a cluster go; asked again."""

    message: str


@dataclass(frozen=True)
class Postponed:
    """The API server could not be asked, or has more to tell first: the effect is planned again by a later pass."""

    message: str
    seconds: float


Outcome = Created | GuardChanged | Refused | Submitted | NotYet | ResultsKept | ResultsLost | NotDeleted | Postponed


@dataclass(frozen=True)
class Plan:
    """A decision as it passes through the policies.

    `done` ends the chain. `requeue_after` is the soonest look at the run that anybody asked for, `poll_after` the
    soonest reading of its dashboard (seconds; None for no need).
    """

    status: Status
    effects: tuple[Effect, ...] = ()
    failure: Failure | None = None
    requeue_after: float | None = None
    poll_after: float | None = None
    done: bool = False
