"""The spec of a TrainingRun as plain, validated data.

Field names in YAML are the camelCase of the attributes here. They say the types; what values a field may have is in the
CRD (`schema`), what goes with what in `relations`, and `parsing` collects every fault. What only RLlib can judge (names
of algorithm parameters) is checked in `trainyard.training.config`; what only the cluster can judge (does it fit) in
`trainyard.spec.sizing`.
"""

from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from trainyard.spec.units import Bytes, Seconds


class Section(BaseModel):
    """Base of every part of the spec: camelCase in YAML, unknown fields refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


class Algorithm(Section):
    name: str
    preset: str | None = None
    config: dict[str, Any] = {}
    module: str | None = None
    model: dict[str, Any] = {}


class Trainable(Section):
    function: str
    config: dict[str, Any] = {}


class Resources(Section):
    """The request of an entrypoint run."""

    cpus: float
    memory: Bytes | None = None
    gpus: float = 0


class Wrapper(Section):
    name: str
    config: dict[str, Any] = {}


class Environment(Section):
    name: str
    config: dict[str, Any] = {}
    wrappers: list[Wrapper] = []


class NonFinite(Section):
    """tolerate: share of the episodes that may have numbers that are not finite, and are left out."""

    tolerate: float = 0


class Sampling(Section):
    mode: Literal["Synchronous", "Asynchronous"] | None = None
    env_runners: int = 1
    envs_per_runner: int | None = None
    cpus_per_env_runner: float = 1
    memory_per_env_runner: Bytes | None = None
    episodes_per_update: int | None = None
    max_policy_lag: int | None = None
    non_finite: NonFinite = NonFinite()


class Learner(Section):
    implementation: Literal["Auto", "RLlib"] = "Auto"
    count: int = 0
    cpus: float = 1
    gpus: float = 0


class MetricStop(Section):
    metric: str
    at_least: float | None = None
    at_most: float | None = None


class Stop(Section):
    """Any of these ends the run."""

    iterations: int | None = None
    episodes: int | None = None
    env_steps: int | None = None
    duration: Seconds | None = None
    metrics: list[MetricStop] = []


class Evaluation(Section):
    every_iterations: int = 1
    episodes: int = 10
    max_steps_per_episode: int = 100_000
    explore: bool = False
    environment_config: dict[str, Any] = {}


class Test(Section):
    """Once, at the end, on the best checkpoint."""

    __test__ = False  # not a test class, whatever its name makes pytest think

    episodes: int = 10
    max_steps_per_episode: int = 100_000
    environment_config: dict[str, Any] = {}


class EarlyStopping(Section):
    metric: str
    mode: Literal["max", "min"]
    patience: int
    min_iterations: int = 0
    min_delta: float = 0


class Range(Section):
    min: float
    max: float


class SearchParameter(Section):
    path: str
    grid: list[Any] | None = None
    choice: list[Any] | None = None
    uniform: Range | None = None
    log_uniform: Range | None = None


class TrialResources(Section):
    cpu: float = 1
    gpu: float = 0


class Search(Section):
    parameters: list[SearchParameter]
    samples: int = 1
    max_concurrent_trials: int = 1
    resources_per_trial: TrialResources = TrialResources()
    metric: str
    mode: Literal["max", "min"]
    best: Literal["Last", "BestEver"] = "BestEver"


class Checkpoints(Section):
    every_iterations: int = 10
    keep: int = 3


class ResumeFrom(Section):
    """Where a new run starts; an attempt that has checkpoints of its own goes on from those. The operator puts `uri`
    in the place of `run`."""

    run: str | None = None
    uri: str | None = None
    checkpoint: Literal["Latest", "Best"] = "Latest"
    restore: Literal["All", "Weights"] = "All"


class VolumeClaim(Section):
    claim_name: str
    sub_path: str = ""


class SecretReference(Section):
    name: str


class Storage(Section):
    persistent_volume_claim: VolumeClaim | None = None
    uri: str | None = None
    secret_ref: SecretReference | None = None


class Database(Section):
    """The secret's key `url` holds the database's URL; the operator hands it to the driver, never to this file."""

    secret_ref: SecretReference


class Recording(Section):
    """Without a database, a SQLite file in the run's storage."""

    database: Database | None = None
    steps: Literal["Off", "Sampled", "All"] = "Off"
    sample_fraction: float = 0.1


class LabelSelector(Section):
    match_labels: dict[str, str]


class Cleanup(Section):
    """What `trainyard.cleanup.RayTrainingCleanup` is called with at the end of a run on an existing Ray cluster."""

    enabled: bool = True
    servers: list[str] | None = None
    dry_run: bool = False


class Pod(Section):
    """A driver knows the names of the fields; their values are the operator's."""

    cpu: Any = None
    memory: Any = None
    gpu: Any = None
    template: Any = None


class WorkerPods(Pod):
    replicas: Any = None


class Cluster(Section):
    """A driver reads the first two."""

    selector: LabelSelector | None = None
    cleanup: Cleanup | None = None
    head: Pod | None = None
    worker: WorkerPods | None = None
    spread: Any = None
    queue_name: Any = None
    labels: Any = None
    annotations: Any = None
    auth: Any = None


def _requirement(text: str) -> str:
    """Raises ValueError (pydantic makes a fault of it) for what is no requirement of PEP 508."""
    try:
        Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(
            "write a requirement as pip does, for instance team-envs==1.2, or a file as team-envs @ file:///folder/x.whl"
        ) from error
    return text


class RuntimeEnv(Section):
    """What the run's processes find beside what their image has (`trainyard.runs.packages`)."""

    pip: list[Annotated[str, AfterValidator(_requirement)]] = []
    pip_install_options: list[str] = []


class Specification(Section):
    """The spec of a TrainingRun. The last block is the operator's; a driver accepts it and does not read it."""

    seed: int = 0
    algorithm: Algorithm | None = None
    trainable: Trainable | None = None
    entrypoint: str | None = None
    resources: Resources | None = None
    environment: Environment | None = None
    sampling: Sampling = Sampling()
    learner: Learner = Learner()
    stop: Stop = Stop()
    evaluation: Evaluation | None = None
    test: Test | None = None
    early_stopping: EarlyStopping | None = None
    search: Search | None = None
    checkpoints: Checkpoints = Checkpoints()
    resume_from: ResumeFrom | None = None
    storage: Storage | None = None
    recording: Recording | None = None
    runtime_env: RuntimeEnv | None = None
    cluster: Cluster = Cluster()

    image: Any = None
    image_pull_policy: Any = None
    ray_version: Any = None
    suspend: Any = None
    backoff_limit: Any = None
    active_deadline_seconds: Any = None
    provisioning_deadline_seconds: Any = None
    cluster_ttl_seconds_after_finished: Any = Field(default=None, alias="clusterTTLSecondsAfterFinished")
    ttl_seconds_after_finished: Any = None

    @property
    def whole_episodes(self) -> bool:
        """Whether PPO learns from whole episodes as they arrive; APPO and IMPALA are asynchronous in RLlib's way."""
        return self.algorithm is not None and self.algorithm.name == "PPO" and self.sampling.mode == "Asynchronous"

    @property
    def trial_resources(self) -> TrialResources:
        """What a trial's own process takes; a trainable without a search is one trial."""
        return self.search.resources_per_trial if self.search else TrialResources()
