"""The spec of a TrainingRun as plain, validated data.

Field names in YAML are the camelCase of the attributes here. `parse` collects every fault before it raises. What only
RLlib can judge (names of algorithm parameters) is checked in `trainyard.algorithms`; what only the cluster can judge
(does it fit) in `trainyard.sizing`.
"""

import difflib
import re
from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from trainyard import presets
from trainyard.errors import Fault, InvalidConfiguration
from trainyard.metrics import TEST, VALIDATION
from trainyard.quantities import Bytes, Seconds

ALGORITHMS = ("PPO", "DQN", "APPO", "IMPALA", "SAC")
ALWAYS_ASYNCHRONOUS = ("APPO", "IMPALA")
WORKLOADS = ("algorithm", "trainable", "entrypoint")

# Names that people know from elsewhere, and what to write instead.
_RETIRED_ALGORITHMS = {
    "APEX": "RLlib removed Ape-X; use DQN with several env runners and replay_buffer_config: "
    "{type: PrioritizedEpisodeReplayBuffer}, which is what it was",
    "APEX-DQN": "RLlib removed Ape-X; use DQN with several env runners and replay_buffer_config: "
    "{type: PrioritizedEpisodeReplayBuffer}, which is what it was",
    "A2C": "RLlib removed A2C; use PPO with num_epochs: 1, or IMPALA for asynchronous sampling",
    "A3C": "RLlib removed A3C; use IMPALA or APPO",
    "DDPG": "RLlib removed DDPG; use SAC",
    "TD3": "RLlib removed TD3; use SAC",
    "PG": "RLlib removed PG; use PPO with num_epochs: 1",
}

# Which of the three workloads a section is for, and what to do with it elsewhere.
_OWNERS = {
    "resources": (("entrypoint",), "use sampling and learner, or search.resourcesPerTrial"),
    "environment": (("algorithm",), "give it to the function through trainable.config"),
    "sampling": (("algorithm",), "remove it"),
    "learner": (("algorithm",), "remove it"),
    "evaluation": (("algorithm",), "remove it"),
    "test": (("algorithm",), "remove it"),
    "earlyStopping": (("algorithm",), "end a function with stop"),
    "recording": (("algorithm",), "remove it: a function or program keeps its own records"),
    "checkpoints": (("algorithm",), "remove it: a function or program writes its own"),
    "resumeFrom": (("algorithm",), "remove it: a function or program finds its own"),
    "stop": (("algorithm", "trainable"), "limit a program with activeDeadlineSeconds"),
    "search": (("algorithm", "trainable"), "let the program run its own search"),
}
# Fields of a cluster that Trainyard makes; one that is chosen is as it is.
_OF_THE_PODS = ("head", "worker", "spread", "queueName", "labels", "annotations")
_SEARCHABLE = {
    "algorithm": ("algorithm.config.", "algorithm.model.", "environment.config."),
    "trainable": ("trainable.config.",),
}


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


class Sampling(Section):
    mode: Literal["Synchronous", "Asynchronous"] | None = None
    env_runners: int = Field(default=1, ge=0)
    envs_per_runner: int | None = Field(default=None, ge=1)
    cpus_per_env_runner: float = Field(default=1, ge=0)
    memory_per_env_runner: Bytes | None = None
    episodes_per_update: int | None = Field(default=None, ge=1)
    max_policy_lag: int | None = Field(default=None, ge=0)


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
    explore: bool = False
    environment_config: dict[str, Any] = {}


class Test(Section):
    """Once, at the end, on the best checkpoint."""

    __test__ = False  # not a test class, whatever its name makes pytest think

    episodes: int = Field(default=10, ge=1)
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
    """What the run's processes find beside what their image has (`trainyard.requirements`)."""

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


def parse(spec: dict[str, Any]) -> Specification:
    """Validate `spec` (numbers already normalised by `trainyard.manifest`).

    Raises:
        InvalidConfiguration: with every fault, each naming its field from `spec` on.
    """
    faults: list[Fault] = []
    parsed = None
    try:
        parsed = Specification.model_validate(spec)
    except ValidationError as error:
        faults += [_fault(spec, item) for item in error.errors(include_url=False)]
    faults += _relations(spec)
    if faults or parsed is None:
        raise InvalidConfiguration(faults)
    return parsed


def nearest(name: str, known: list[str]) -> str:
    """Return `did you mean X?`, or the known names when nothing is near."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not matches:
        folded = {item.lower(): item for item in known}
        matches = [folded[found] for found in difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)]
    return f"did you mean {matches[0]}?" if matches else f"use one of {', '.join(sorted(known))}"


def _fault(spec: dict[str, Any], error: Any) -> Fault:
    path = [part for part in error["loc"] if not (isinstance(part, str) and part.startswith(("function-", "union")))]
    field = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return Fault(field, "is not a field", nearest(str(path[-1]), _fields_at(list(path[:-1]))))
        case "missing":
            return Fault(field, "is required", "add it")
        case "int_type":
            return Fault(field, f"is {error['input']!r}", "write a whole number without quotes")
        case "float_type":
            return Fault(field, f"is {error['input']!r}", "write a number without quotes")
        case "bool_type":
            return Fault(field, f"is {error['input']!r}", "write true or false")
        case "string_type":
            return Fault(field, f"is {error['input']!r}", "write a string; quote it if YAML reads it as something else")
        case "dict_type" | "model_type":
            return Fault(field, f"is {error['input']!r}", "write a mapping (field: value)")
        case "list_type":
            return Fault(field, f"is {error['input']!r}", "write a list")
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            bound = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
            ((key, limit),) = context.items()
            return Fault(field, f"is {error['input']!r}", f"must be {bound[key]} {limit:g}")
        case "literal_error":
            return Fault(field, f"is {error['input']!r}", f"use {context['expected']}")
        case "too_short" if isinstance(error["input"], list):
            return Fault(field, "is empty", "remove it, or write one or more items")
        case "too_long":
            return Fault(field, f"has {len(error['input'])} items", f"write at most {context['max_length']}")
        case "value_error":
            return Fault(field, f"is {error['input']!r}", str(context["error"]))
        case _:
            return Fault(field, f"is {error['input']!r}", error["msg"])


def _fields_at(path: list[Any]) -> list[str]:
    """Names of the fields that the section at `path` has."""
    model: Any = Specification
    for part in path:
        if isinstance(part, int):
            continue
        field = next((item for item in model.model_fields.values() if item.alias == part), None)
        model = _section_of(field.annotation) if field else None
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for item in getattr(annotation, "__args__", ()) if (found := _section_of(item))), None)


def _relations(spec: dict[str, Any]) -> list[Fault]:
    """Faults between fields. Reads the raw mapping, so that they show beside the faults of single fields."""
    workloads = [name for name in WORKLOADS if spec.get(name) is not None]
    faults = []
    if len(workloads) != 1:
        found = f"has {' and '.join(workloads)}" if workloads else "has none of algorithm, trainable, entrypoint"
        faults.append(Fault("spec", found, "set exactly one of algorithm, trainable, entrypoint"))
    if "algorithm" in workloads:
        faults += _algorithm_relations(spec)
    if "entrypoint" in workloads and not spec.get("resources"):
        faults.append(Fault("spec.resources", "is required with entrypoint", "say what it needs: {cpus: 2}"))
    for section, (owners, remedy) in _OWNERS.items():
        if spec.get(section) is not None and workloads and not set(workloads) & set(owners):
            faults.append(Fault(f"spec.{section}", f"belongs to {' and '.join(owners)}", remedy))
    if spec.get("search") and spec.get("earlyStopping"):
        faults.append(Fault("spec.earlyStopping", "does not work under search", "end the trials with stop"))
    resume = spec.get("resumeFrom")
    if isinstance(resume, dict) and bool(resume.get("run")) == bool(resume.get("uri")):
        faults.append(Fault("spec.resumeFrom", "names no place or two", "set exactly one of run, uri"))
    if spec.get("search") and resume is not None:
        faults.append(Fault("spec.resumeFrom", "does not work under search", "remove it: every trial starts anew"))
    environment = spec.get("runtimeEnv")
    if isinstance(environment, dict) and "pipInstallOptions" in environment and "pip" not in environment:
        faults.append(
            Fault("spec.runtimeEnv.pipInstallOptions", "is for spec.runtimeEnv.pip", "add that, or remove it")
        )
    faults += _stop_relations(spec)
    if "algorithm" in workloads:
        faults += _metric_relations(spec)
    faults += _search_relations(spec)
    faults += _cluster_relations(spec)
    storage = spec.get("storage")
    if isinstance(storage, dict) and bool(storage.get("persistentVolumeClaim")) == bool(storage.get("uri")):
        faults.append(Fault("spec.storage", "names no place or two", "set exactly one of persistentVolumeClaim, uri"))
    return faults


def _cluster_relations(spec: dict[str, Any]) -> list[Fault]:
    cluster = spec.get("cluster")
    if not isinstance(cluster, dict):
        return []
    if not cluster.get("selector"):
        found = cluster.get("cleanup") is not None
        remedy = "remove it, or choose a cluster that goes on running with spec.cluster.selector"
        return [Fault("spec.cluster.cleanup", "is for a cluster that exists already", remedy)] if found else []
    faults = []
    if cluster.get("cleanup") is not None and spec.get("entrypoint"):
        remedy = "remove it, and use trainyard.cleanup.RayTrainingCleanup in the program"
        faults.append(Fault("spec.cluster.cleanup", "does not reach into a program", remedy))
    for field in _OF_THE_PODS:
        if field in cluster:
            faults.append(Fault(f"spec.cluster.{field}", "does not go with selector", "remove one of the two"))
    if cluster.get("auth", "Token") != "Token":
        faults.append(Fault("spec.cluster.auth", "does not go with selector", "remove it: the token is found"))
    for field in ("image", "imagePullPolicy", "rayVersion", "clusterTTLSecondsAfterFinished"):
        if spec.get(field):
            faults.append(Fault(f"spec.{field}", "does not go with spec.cluster.selector", "remove it"))
    storage, recording = spec.get("storage"), spec.get("recording")
    if isinstance(storage, dict) and (storage.get("persistentVolumeClaim") or storage.get("secretRef")):
        remedy = "use spec.storage.uri, for instance file:///shared for a volume that its pods share"
        faults.append(Fault("spec.storage", "cannot be given to the pods of an existing cluster", remedy))
    if isinstance(recording, dict) and recording.get("database"):
        remedy = "record into the file: recording: {}"
        faults.append(Fault("spec.recording.database", "cannot be given to the pods of an existing cluster", remedy))
    return faults


def _algorithm_relations(spec: dict[str, Any]) -> list[Fault]:
    faults = []
    algorithm = spec["algorithm"] if isinstance(spec["algorithm"], dict) else {}
    name = algorithm.get("name")
    if isinstance(name, str) and name not in ALGORITHMS:
        remedy = _RETIRED_ALGORITHMS.get(name.upper().replace("_", "-")) or nearest(name, list(ALGORITHMS))
        faults.append(Fault("spec.algorithm.name", f"is {name!r}", remedy))
    if not spec.get("environment"):
        faults.append(Fault("spec.environment", "is required with algorithm", "name one: {name: CartPole-v1}"))
    if not spec.get("stop"):
        faults.append(Fault("spec.stop", "is required with algorithm", "say when it ends: {iterations: 10}"))
    preset = algorithm.get("preset")
    if isinstance(preset, str) and name in ALGORITHMS and (found := presets.problem(preset, name)):
        faults.append(Fault("spec.algorithm.preset", *found))
    sampling = spec.get("sampling")
    if isinstance(sampling, dict):
        faults += _sampling_relations(name, sampling)
        if algorithm.get("module") and name == "PPO" and sampling.get("mode") == "Asynchronous":
            problem = "is set, but runners of whole episodes act with RLlib's own network alone"
            faults.append(Fault("spec.algorithm.module", problem, "remove it, or spec.sampling.mode"))
    return faults


def _sampling_relations(name: Any, sampling: dict[str, Any]) -> list[Fault]:
    faults = []
    mode, runners = sampling.get("mode"), sampling.get("envRunners")
    if name in ALWAYS_ASYNCHRONOUS and runners == 0:
        faults.append(
            Fault("spec.sampling.envRunners", f"is 0, but {name} samples only in remote runners", "use 1 or more")
        )
    if name in ALWAYS_ASYNCHRONOUS and mode == "Synchronous":
        faults.append(Fault("spec.sampling.mode", f"is Synchronous, but {name} is always asynchronous", "remove it"))
    if mode == "Asynchronous" and name in ("DQN", "SAC"):
        faults.append(Fault("spec.sampling.mode", f"is Asynchronous, which {name} cannot do", "use PPO, or remove it"))
    if mode == "Asynchronous" and name == "PPO" and runners == 0:
        faults.append(Fault("spec.sampling.envRunners", "is 0, but episodes come from runners", "use 1 or more"))
    for field in ("episodesPerUpdate", "maxPolicyLag"):
        if sampling.get(field) is not None and not (mode == "Asynchronous" and name == "PPO"):
            remedy = "set mode: Asynchronous" if name == "PPO" else "use PPO with mode: Asynchronous, or remove it"
            faults.append(Fault(f"spec.sampling.{field}", "needs whole-episode collection", remedy))
    return faults


def _stop_relations(spec: dict[str, Any]) -> list[Fault]:
    stop = spec.get("stop")
    metrics = stop.get("metrics") if isinstance(stop, dict) else None
    faults = []
    seen: set[str] = set()
    for index, rule in enumerate(metrics if isinstance(metrics, list) else []):
        if not isinstance(rule, dict):
            continue
        field = f"spec.stop.metrics[{index}]"
        if ("atLeast" in rule) == ("atMost" in rule):
            faults.append(Fault(field, "needs one bound", "set exactly one of atLeast, atMost"))
        if (metric := str(rule.get("metric"))) in seen:
            faults.append(Fault(f"{field}.metric", f"{metric!r} is given twice", "keep one"))
        seen.add(metric)
    return faults


def _metric_relations(spec: dict[str, Any]) -> list[Fault]:
    """Metrics of an algorithm run that nothing measures, at least not in time: they would be waited for in silence."""
    stopping, search, stop = spec.get("earlyStopping"), spec.get("search"), spec.get("stop")
    while_training = {"spec.earlyStopping.metric": stopping.get("metric")} if isinstance(stopping, dict) else {}
    bounds = stop.get("metrics") if isinstance(stop, dict) else None
    for index, bound in enumerate(bounds if isinstance(bounds, list) else []):
        if isinstance(bound, dict):
            while_training[f"spec.stop.metrics[{index}].metric"] = bound.get("metric")
    at_the_end = {"spec.search.metric": search.get("metric")} if isinstance(search, dict) else {}
    faults = []
    for field, metric in (while_training | at_the_end).items():
        if str(metric).startswith(VALIDATION) and spec.get("evaluation") is None:
            remedy = "add it, for instance evaluation: {episodes: 10}, or use a metric of training"
            faults.append(Fault(field, f"is {metric!r}, which only spec.evaluation measures", remedy))
        if str(metric).startswith(TEST) and field in while_training:
            remedy = "use a metric of training or validation"
            faults.append(Fault(field, f"is {metric!r}, which is measured only when training has ended", remedy))
        elif str(metric).startswith(TEST) and spec.get("test") is None:
            remedy = "add it, for instance test: {episodes: 10}"
            faults.append(Fault(field, f"is {metric!r}, which only spec.test measures", remedy))
    return faults


def _search_relations(spec: dict[str, Any]) -> list[Fault]:
    search = spec.get("search")
    parameters = search.get("parameters") if isinstance(search, dict) else None
    faults = []
    seen: set[str] = set()
    roots = _SEARCHABLE["trainable" if spec.get("trainable") else "algorithm"]
    for index, parameter in enumerate(parameters if isinstance(parameters, list) else []):
        if not isinstance(parameter, dict):
            continue
        field = f"spec.search.parameters[{index}]"
        kinds = [kind for kind in ("grid", "choice", "uniform", "logUniform") if parameter.get(kind) is not None]
        if len(kinds) != 1:
            faults.append(Fault(field, f"has {' and '.join(kinds) or 'no values'}",
                                "set exactly one of grid, choice, uniform, logUniform"))  # fmt: skip
        path = str(parameter.get("path", ""))
        if path and not path.startswith(roots):
            faults.append(Fault(f"{field}.path", f"is {path!r}", f"begin it with {' or '.join(roots)}"))
        if path in seen:
            faults.append(Fault(f"{field}.path", f"{path!r} is given twice", "keep one"))
        seen.add(path)
        faults += _range_faults(field, parameter)
    return faults


def _range_faults(field: str, parameter: dict[str, Any]) -> list[Fault]:
    faults = []
    for kind in ("uniform", "logUniform"):
        bounds = parameter.get(kind)
        if not isinstance(bounds, dict):
            continue
        low, high = bounds.get("min"), bounds.get("max")
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            continue
        if low >= high:
            faults.append(Fault(f"{field}.{kind}", f"min {low:g} is not below max {high:g}", "swap or widen them"))
        if kind == "logUniform" and low <= 0:
            faults.append(Fault(f"{field}.logUniform.min", f"is {low:g}", "a logarithm needs more than 0"))
    return faults
