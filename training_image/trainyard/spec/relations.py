"""Faults between fields of a spec. Reads the raw mapping, so that they show beside the faults of single fields."""

from typing import Any

from trainyard.errors import Fault, nearest
from trainyard.metrics import TEST, VALIDATION
from trainyard.spec import presets

ALGORITHMS = ("PPO", "DQN", "APPO", "IMPALA", "SAC")
ALWAYS_ASYNCHRONOUS = ("APPO", "IMPALA")
# RLlib's defaults of PPO.
PPO_BATCH = 4000
PPO_MINIBATCH = 128
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


_SEARCHABLE = {
    "algorithm": ("algorithm.config.", "algorithm.model.", "environment.config."),
    "trainable": ("trainable.config.",),
}


def relation_faults(spec: dict[str, Any]) -> list[Fault]:
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
    if spec.get("search") and spec.get("resumeFrom") is not None:
        faults.append(Fault("spec.resumeFrom", "does not work under search", "remove it: every trial starts anew"))
    if "algorithm" in workloads:
        faults += _metric_relations(spec)
    faults += _search_relations(spec)
    faults += _cluster_relations(spec)
    return faults


def _cluster_relations(spec: dict[str, Any]) -> list[Fault]:
    cluster = spec.get("cluster")
    if not isinstance(cluster, dict):
        return []
    if not cluster.get("selector"):
        return []
    faults = []
    if cluster.get("cleanup") is not None and spec.get("entrypoint"):
        remedy = "remove it, and use trainyard.cleanup.RayTrainingCleanup in the program"
        faults.append(Fault("spec.cluster.cleanup", "does not work for a program", remedy))
    for field in ("image", "imagePullPolicy", "rayVersion", "clusterTTLSecondsAfterFinished"):
        if spec.get(field):
            faults.append(Fault(f"spec.{field}", "cannot be used with spec.cluster.selector", "remove it"))
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
    if name == "PPO":
        faults += _minibatch_faults(algorithm)
    sampling = spec.get("sampling")
    if isinstance(sampling, dict):
        faults += _sampling_relations(name, sampling)
        if algorithm.get("module") and name == "PPO" and sampling.get("mode") == "Asynchronous":
            problem = "is set, but runners of whole episodes act with RLlib's own network alone"
            faults.append(Fault("spec.algorithm.module", problem, "remove it, or spec.sampling.mode"))
    return faults


def _minibatch_faults(algorithm: dict[str, Any]) -> list[Fault]:
    """A minibatch larger than the batch that it is a part of; where one is not given, RLlib's PPO has its own."""
    preset, given = presets.PRESETS.get(str(algorithm.get("preset"))), algorithm.get("config")
    config = presets.filled(given if isinstance(given, dict) else {}, preset.config if preset else {})
    minibatch = config.get("minibatch_size", PPO_MINIBATCH)
    per_learner = "train_batch_size_per_learner"
    batch = config.get(per_learner) or config.get("train_batch_size", PPO_BATCH)
    if not isinstance(minibatch, int) or not isinstance(batch, int) or minibatch <= batch:
        return []
    problem = f"is {minibatch}, more than the {batch} steps of a batch ({per_learner})"
    return [Fault("spec.algorithm.config.minibatch_size", problem, f"write {batch} or less, or a larger {per_learner}")]


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
    return faults
