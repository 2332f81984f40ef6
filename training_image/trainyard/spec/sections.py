"""The spec of a TrainingRun as plain, validated data.

Field names in YAML are the camelCase of the attributes here. `parsing` makes the data and collects every fault;
`relations` has the faults between fields. What only RLlib can judge (names of algorithm parameters) is checked in
`trainyard.training.config`; what only the cluster can judge (does it fit) in `trainyard.spec.sizing`.
"""

import re
from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from trainyard.spec.units import Bytes, Seconds

# Options of pip that change neither where it installs to nor what it reads besides.
_PIP_OPTIONS = {
    "--index-url": True,
    "--extra-index-url": True,
    "--find-links": True,
    "--trusted-host": True,
    "--only-binary": True,
    "--no-binary": True,
    "--timeout": True,
    "--retries": True,
    "--no-index": False,
    "--no-deps": False,
    "--no-build-isolation": False,
    "--prefer-binary": False,
    "--pre": False,
}
_PASSWORD = re.compile(r"://[^/\s]*@")


class Section(BaseModel):
    """Base of every part of the spec: camelCase in YAML, unknown fields refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, strict=True)


def _written_as(pattern: str, remedy: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(remedy)
        return text

    return AfterValidator(check)


Importable = Annotated[str, _written_as(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "write package.module:name")]
EnvironmentName = Annotated[
    str, _written_as(r"[A-Za-z0-9_][A-Za-z0-9_./:-]*", "write a Gymnasium id, or a class as package.module:name")
]
ResultsUri = Annotated[
    str, _written_as(r"[a-z][a-z0-9+.-]*://.+", "write a URI with its scheme, for instance file:///results/run")
]
ParameterPath = Annotated[
    str, _written_as(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", "write a path below spec, such as algorithm.config.lr")
]


class Algorithm(Section):
    name: str
    preset: str | None = None
    config: dict[str, Any] = {}
    module: Importable | None = None
    model: dict[str, Any] = {}


class Trainable(Section):
    function: Importable
    config: dict[str, Any] = {}


class Resources(Section):
    """The request of an entrypoint run."""

    cpus: float = Field(gt=0)
    memory: Bytes | None = None
    gpus: float = Field(default=0, ge=0)


class Wrapper(Section):
    name: str = Field(min_length=1)
    config: dict[str, Any] = {}


class Environment(Section):
    name: EnvironmentName
    config: dict[str, Any] = {}
    wrappers: list[Wrapper] = []


class NonFinite(Section):
    """tolerate: share of the episodes that may have numbers that are not finite, and are left out."""

    tolerate: float = Field(default=0, ge=0, le=0.5)


class Sampling(Section):
    mode: Literal["Synchronous", "Asynchronous"] | None = None
    env_runners: int = Field(default=1, ge=0)
    envs_per_runner: int | None = Field(default=None, ge=1)
    cpus_per_env_runner: float = Field(default=1, ge=0)
    memory_per_env_runner: Bytes | None = None
    episodes_per_update: int | None = Field(default=None, ge=1)
    max_policy_lag: int | None = Field(default=None, ge=0)
    non_finite: NonFinite = NonFinite()


class Learner(Section):
    implementation: Literal["Auto", "RLlib"] = "Auto"
    count: int = Field(default=0, ge=0)
    cpus: float = Field(default=1, ge=0)
    gpus: float = Field(default=0, ge=0)


class MetricStop(Section):
    metric: str = Field(min_length=1)
    at_least: float | None = None
    at_most: float | None = None


class Stop(Section):
    """Any of these ends the run."""

    iterations: int | None = Field(default=None, ge=1)
    episodes: int | None = Field(default=None, ge=1)
    env_steps: int | None = Field(default=None, ge=1)
    duration: Seconds | None = None
    metrics: list[MetricStop] = Field(default=[], min_length=1)


class Evaluation(Section):
    every_iterations: int = Field(default=1, ge=1)
    episodes: int = Field(default=10, ge=1)
    max_steps_per_episode: int = Field(default=100_000, ge=1)
    explore: bool = False
    environment_config: dict[str, Any] = {}


class Test(Section):
    """Once, at the end, on the best checkpoint."""

    __test__ = False  # not a test class, whatever its name makes pytest think

    episodes: int = Field(default=10, ge=1)
    max_steps_per_episode: int = Field(default=100_000, ge=1)
    environment_config: dict[str, Any] = {}


class EarlyStopping(Section):
    metric: str = Field(min_length=1)
    mode: Literal["max", "min"]
    patience: int = Field(ge=1)
    min_iterations: int = Field(default=0, ge=0)
    min_delta: float = Field(default=0, ge=0)


class Range(Section):
    min: float
    max: float


class SearchParameter(Section):
    path: ParameterPath
    grid: list[Any] | None = Field(default=None, min_length=1)
    choice: list[Any] | None = Field(default=None, min_length=1)
    uniform: Range | None = None
    log_uniform: Range | None = None


class TrialResources(Section):
    cpu: float = Field(default=1, ge=0)
    gpu: float = Field(default=0, ge=0)


class Search(Section):
    parameters: list[SearchParameter] = Field(min_length=1)
    samples: int = Field(default=1, ge=1)
    max_concurrent_trials: int = Field(default=1, ge=1)
    resources_per_trial: TrialResources = TrialResources()
    metric: str = Field(min_length=1)
    mode: Literal["max", "min"]
    best: Literal["Last", "BestEver"] = "BestEver"


class Checkpoints(Section):
    every_iterations: int = Field(default=10, ge=1)
    keep: int = Field(default=3, ge=1)


class ResumeFrom(Section):
    """Where a new run starts; an attempt that has checkpoints of its own goes on from those. The operator puts `uri`
    in the place of `run`."""

    run: str | None = Field(default=None, min_length=1)
    uri: ResultsUri | None = None
    checkpoint: Literal["Latest", "Best"] = "Latest"
    restore: Literal["All", "Weights"] = "All"


class VolumeClaim(Section):
    claim_name: str = Field(min_length=1)
    sub_path: str = ""


class SecretReference(Section):
    name: str = Field(min_length=1)


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
    sample_fraction: float = Field(default=0.1, gt=0, le=1)


class LabelSelector(Section):
    match_labels: dict[str, str] = Field(min_length=1)


class Cleanup(Section):
    """What `trainyard.cleanup.RayTrainingCleanup` is called with at the end of a run on an existing Ray cluster."""

    enabled: bool = True
    servers: list[str] | None = Field(default=None, min_length=1)
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
    return _without_password(text)


def _pip_option(text: str) -> str:
    name, equals, value = text.partition("=")
    if name not in _PIP_OPTIONS:
        raise ValueError(f"use one of {', '.join(_PIP_OPTIONS)}")
    if _PIP_OPTIONS[name] != bool(value) or (equals and not value):
        raise ValueError(f"write {name}=VALUE" if _PIP_OPTIONS[name] else f"write {name} alone")
    if name == "--find-links" and not (value.startswith("/") or "://" in value):
        raise ValueError("write an absolute path or a URL: processes have different working folders")
    return _without_password(text)


def _without_password(text: str) -> str:
    if _PASSWORD.search(text):
        raise ValueError("everybody who sees the run sees it: give pip such a URL as PIP_INDEX_URL from a Secret")
    return text


class RuntimeEnv(Section):
    """What the run's processes find beside what their image has (`trainyard.runs.packages`)."""

    pip: list[Annotated[str, AfterValidator(_requirement)]] = Field(default=[], min_length=1, max_length=64)
    pip_install_options: list[Annotated[str, AfterValidator(_pip_option)]] = Field(default=[], max_length=16)


class Specification(Section):
    """The spec of a TrainingRun. The last block is the operator's; a driver accepts it and does not read it."""

    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    algorithm: Algorithm | None = None
    trainable: Trainable | None = None
    entrypoint: str | None = Field(default=None, min_length=1)
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
