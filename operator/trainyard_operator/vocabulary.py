"""The words in a TrainingRun's status, each defined once."""

from collections.abc import Mapping
from enum import StrEnum

GROUP = "trainyard.dev"
VERSION = "v1alpha1"
KIND = "TrainingRun"
FINALIZER = f"{GROUP}/stop-job"
"""Only on runs with spec.cluster.selector: only a request to Ray can end their job."""


class Phase(StrEnum):
    """Where a run is in its life."""

    PENDING = "Pending"
    """Nothing runs: the run is new, KubeRay is missing, or the run waits between two attempts."""
    QUEUED = "Queued"
    """Somebody else, for instance Kueue, has suspended the RayCluster: the run waits for quota."""
    PROVISIONING = "Provisioning"
    """The RayCluster exists; the driver does not run yet."""
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    """`spec.suspend` is true: no cluster."""


TERMINAL = frozenset({Phase.SUCCEEDED, Phase.FAILED})


class ConditionType(StrEnum):
    """Types of conditions that the operator owns; a driver may add its own."""

    READY = "Ready"
    """True once the run has succeeded (kstatus)."""
    RECONCILING = "Reconciling"
    """True while there is something left to do (kstatus)."""
    STALLED = "Stalled"
    """True when the run has failed and nothing more will happen (kstatus)."""
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    QUOTA_RESERVED = "QuotaReserved"
    """False while the RayCluster is suspended by somebody else; absent when that never happened."""
    CLUSTER_READY = "ClusterReady"
    """All pods of the RayCluster are ready. If not, the condition has a pod's own reason."""
    RUNNING = "Running"
    """The driver runs; Unknown while the dashboard does not answer."""
    CLEANED_UP = "CleanedUp"
    """No RayCluster of the run is left."""
    KUBERAY_MISSING = "KubeRayMissing"
    RESULTS_KEPT = "ResultsKept"
    """Summary and trial table are in the ConfigMap `status.results.configMap`."""
    JOB_LEFT = "JobLeftBehind"
    """The job on an existing RayCluster could not be stopped in time and may still run."""
    SPEC_CHANGED = "SpecChanged"
    """The specification changed after the operator had read it, before the start: the cluster is from the older one."""
    PROGRESS_READABLE = "ProgressReadable"
    """False while the driver's progress file cannot be used."""


WRITERS: Mapping[ConditionType, tuple[str, ...]] = {
    ConditionType.READY: ("summary",),
    ConditionType.RECONCILING: ("summary",),
    ConditionType.STALLED: ("summary",),
    ConditionType.COMPLETE: ("summary",),
    ConditionType.FAILED: ("summary",),
    ConditionType.SUSPENDED: ("summary",),
    ConditionType.QUOTA_RESERVED: ("suspension",),
    ConditionType.CLUSTER_READY: ("provisioning", "selection", "summary"),
    ConditionType.RUNNING: ("submission", "completion", "summary"),
    ConditionType.CLEANED_UP: ("cleanup",),
    ConditionType.KUBERAY_MISSING: ("admission",),
    ConditionType.RESULTS_KEPT: ("keeping_results",),
    ConditionType.JOB_LEFT: ("stopping",),
    ConditionType.SPEC_CHANGED: ("provisioning",),
    ConditionType.PROGRESS_READABLE: ("reporting",),
}
"""Which modules of `policies` write a condition. ClusterReady: `provisioning` for a cluster of the run, `selection`
for an existing cluster, `summary` if there is none. Running: `completion` while Ray has the job, `submission` while
Ray does not accept it, `summary` in all other cases."""


class Reason(StrEnum):
    """Reasons of failures and conditions that the operator itself gives; other reasons come from a pod or a driver."""

    SUSPENDED = "Suspended"
    """The attempt ended because spec.suspend became true."""
    SUCCEEDED = "Succeeded"
    ACTIVE_DEADLINE = "DeadlineExceeded"
    """spec.activeDeadlineSeconds passed."""
    PROVISIONING_DEADLINE = "ProvisioningDeadlineExceeded"
    """spec.provisioningDeadlineSeconds passed before the cluster was ready."""
    HEAD_LOST = "HeadLost"
    """The head pod, its memory of the job, or its dashboard (for five minutes) is gone."""
    HEAD_FAILED = "HeadFailed"
    """The head's container ended before a job was submitted."""
    CLUSTER_LOST = "ClusterLost"
    """The RayCluster was deleted by somebody else."""
    NO_MATCHING_CLUSTER = "NoMatchingCluster"
    """No RayCluster of the namespace has the labels of spec.cluster.selector."""
    AMBIGUOUS_SELECTOR = "AmbiguousSelector"
    """Several RayClusters have the labels of spec.cluster.selector."""
    TOKEN_NOT_READABLE = "TokenNotReadable"
    """The chosen RayCluster asks for a token, and the operator may not read its Secret."""
    TOKEN_MISSING = "TokenMissing"
    """The Secret of the chosen RayCluster's token, or its key auth_token, does not exist."""
    FINALIZER_REFUSED = "FinalizerRefused"
    """The operator may not set the finalizer of a run on an existing RayCluster, so it submits nothing."""
    RESUME_SOURCE = "ResumeSourceUnusable"
    """The run of spec.resumeFrom does not exist, or has no checkpoint that this run can read."""
    HEAD_STARTING = "HeadStarting"
    """The head of the chosen RayCluster is not ready."""
    HEAD_READY = "HeadReady"
    CLUSTER_REFUSED = "ClusterRefused"
    """The API server, a webhook or a policy refused the RayCluster or its Secret."""
    CLUSTER_NOT_CREATED = "ClusterNotCreated"
    """The API server, or a webhook that it calls, could not create the RayCluster now; tried again."""
    NAME_TAKEN = "ClusterNameTaken"
    OOM_KILLED = "OOMKilled"
    """The kernel has ended a container at its memory limit."""
    OUT_OF_MEMORY = "OutOfMemory"
    """Ray's memory monitor has ended a process, before the kernel did."""
    DRIVER_FAILED = "DriverFailed"
    """The driver exited with a code other than 0 and gave no reason."""
    DRIVER_KILLED = "DriverKilled"
    """The driver was ended by a signal, by the kernel's out-of-memory killer for instance."""
    DRIVER_LOST = "DriverLost"
    """Ray ended the job without an exit code."""
    JOB_STOPPED = "JobStopped"
    """Somebody stopped the Ray job."""
    JOB_REFUSED = "JobRefused"
    """Ray's Jobs API refuses the job and will never accept it."""
    JOB_NOT_TAKEN = "JobNotTaken"
    """The head is ready but does not accept the job; the message is its answer."""
    IMAGE_LACKS_TRAINYARD = "ImageLacksTrainyard"
    IMAGE_LACKS_RAY = "ImageLacksRay"
    INVALID_SPEC = "InvalidSpec"
    INSUFFICIENT_RESOURCES = "InsufficientResources"
    """The specified cluster could never hold the run."""
    RETRYING = "Retrying"
    JOB_NOT_FOUND = "JobNotFound"
    """The dashboard answers and does not know the job; a second such answer counts as a lost head."""
    DASHBOARD_UNREACHABLE = "DashboardUnreachable"
    DRIVER_RUNNING = "DriverRunning"
    DRIVER_NOT_RUNNING = "DriverNotRunning"
    PODS_STARTING = "PodsStarting"
    PODS_READY = "PodsReady"
    WAITING_FOR_PODS = "WaitingForPods"
    NO_CLUSTER = "NoCluster"
    NOT_DELETED = "NotDeleted"
    """The API server does not delete the RayCluster."""
