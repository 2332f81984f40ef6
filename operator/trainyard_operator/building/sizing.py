"""From a specification to pods. Pure.

A pod has two CPU numbers. Ray's logical CPUs say how many processes Ray starts at the same time, and follow from the
specification alone (manifests/contract/sizing.json). The pod's CPU request says what the scheduler must find, and may
be smaller: this oversubscription is on purpose. Memory is counted by process. A specification is refused only if it
would wait for ever.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainyard_operator import quantity
from trainyard_operator.vocabulary import Reason

Spec = Mapping[str, Any]
GIB = 2**30
MIN_SPREAD_WORKERS = 2


class SpecRefusedError(ValueError):
    """The specification cannot be run; `field` is the path to correct, the message says what to do."""

    def __init__(self, reason: Reason, field: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.field = field


@dataclass(frozen=True)
class SizingRules:
    """The operator's settings for sizes; memory in bytes, measured on Ray 2.60 (Python 3.11, torch on CPU).

    `cpu_request_per_logical_cpu` below 1 lets more processes share a node than it has cores, because RL processes wait
    for each other most of the time; `head_cpu_request` is for Ray's own services. `memory_headroom` covers Ray's object
    store and all memory that is not in the figures per process. `pod_max_*` is the largest pod that present or future
    nodes can hold.
    """

    cpu_request_per_logical_cpu: float = 0.25
    head_cpu_request: float = 0.25
    pod_max_cpu: float = 128
    pod_max_memory: float = 512 * GIB
    head_services_memory: float = 1.5 * GIB
    worker_services_memory: float = 0.5 * GIB
    driver_memory: float = 1.0 * GIB
    env_runner_memory: float = 0.4 * GIB
    episode_runner_memory: float = 0.1 * GIB
    learner_memory: float = 1.0 * GIB
    process_memory: float = 0.33 * GIB
    memory_headroom: float = 1.25

    def estimate(self, figure: float) -> float:
        """Our own figure with headroom. (A figure that the user gives is used unchanged.)"""
        return figure * self.memory_headroom


@dataclass(frozen=True)
class PodSize:
    """One kind of pod: Ray's logical CPUs, requested cores, bytes of memory (request and limit), GPUs."""

    logical_cpus: int
    cpu: float
    memory: float
    gpus: int = 0


@dataclass(frozen=True)
class Size:
    """A run's cluster. `logical_cpus` and `gpus` are the specification's needs, before they are rounded up to pods."""

    logical_cpus: float
    gpus: float
    head: PodSize
    worker: PodSize | None = None
    workers: int = 0


@dataclass(frozen=True)
class _Processes:
    """`count` processes that Ray places one by one. `memory` is for each; an estimate includes headroom."""

    count: int
    cpus: float
    memory: float
    gpus: float = 0
    field: str = "spec.resources.cpus"


def logical_cpus(spec: Spec) -> float:
    """Ray's logical CPUs that a specification needs (manifests/contract/sizing.json)."""
    return _total_cpus(_processes(spec, SizingRules()))


def gpus(spec: Spec) -> float:
    """GPUs that a specification needs (manifests/contract/sizing.json)."""
    return _total_gpus(spec, _processes(spec, SizingRules()))


def size(spec: Spec, rules: SizingRules) -> Size:
    """The cluster of a run. Raises SpecRefusedError if no cluster within these rules could ever hold the run."""
    processes = _processes(spec, rules)
    _check_processes(processes, rules)
    cluster = spec.get("cluster", {})
    workers = _worker_count(cluster, processes, _driver_memory(spec, rules), rules)
    on_head, on_workers = _placed(spec, processes, workers)
    head = _head(spec, on_head, rules)
    worker = _worker(cluster.get("worker", {}), on_workers, workers, rules) if workers else None
    _check(head, "head", spec, workers, rules)
    if worker:
        _check(worker, "worker", spec, workers, rules)
    return Size(_total_cpus(processes), _total_gpus(spec, processes), head, worker, workers)


def concurrent_trials(spec: Spec) -> int:
    """Number of trials that run at the same time: at most the number of trials in the search."""
    search = spec["search"]
    grid = math.prod(len(p["grid"]) for p in search["parameters"] if "grid" in p)
    return min(int(search.get("maxConcurrentTrials", 1)), grid * int(search.get("samples", 1)))


def _processes(spec: Spec, rules: SizingRules) -> list[_Processes]:
    """The processes that Ray starts for the run, except the driver."""
    if "entrypoint" in spec:
        return _program(spec, rules)
    runners = _algorithm(spec, rules) if "algorithm" in spec else []
    if "search" not in spec:
        if _total_cpus_plain(runners) > 0:
            return runners
        return [*runners, _Processes(1, 1, 0 if "algorithm" in spec else rules.estimate(rules.process_memory))]
    trials = concurrent_trials(spec)
    per_trial = spec["search"].get("resourcesPerTrial", {})
    memory = rules.estimate(rules.driver_memory if "algorithm" in spec else rules.process_memory)
    field = "spec.search.resourcesPerTrial.cpu"
    trials_gpus = max(float(per_trial.get("gpu", 0)), _learning_drivers_gpus(spec))
    driver = _Processes(trials, float(per_trial.get("cpu", 1)), memory, trials_gpus, field)
    return [driver, *(replace(p, count=p.count * trials) for p in runners)]


def _algorithm(spec: Spec, rules: SizingRules) -> list[_Processes]:
    sampling, learner = spec.get("sampling", {}), spec.get("learner", {})
    # A runner of whole episodes needs neither torch nor RLlib. APPO and IMPALA are asynchronous with RLlib's runners.
    whole_episodes = spec["algorithm"].get("name") == "PPO" and sampling.get("mode") == "Asynchronous"
    usual = rules.episode_runner_memory if whole_episodes else rules.env_runner_memory
    runner_memory = _bytes(
        sampling.get("memoryPerEnvRunner"), "spec.sampling.memoryPerEnvRunner", rules.estimate(usual)
    )
    processes = [
        _Processes(
            int(sampling.get("envRunners", 1)),
            float(sampling.get("cpusPerEnvRunner", 1)),
            runner_memory,
            field="spec.sampling.cpusPerEnvRunner",
        ),
        _Processes(
            int(learner.get("count", 0)),
            float(learner.get("cpus", 1)),
            rules.estimate(rules.learner_memory),
            float(learner.get("gpus", 0)),
            "spec.learner.cpus",
        ),
    ]
    return [p for p in processes if p.count]


def _program(spec: Spec, rules: SizingRules) -> list[_Processes]:
    """A program's tasks and actors, counted as processes of one CPU each; a remaining fraction is one more process."""
    resources = spec.get("resources", {})
    cpus, gpus = float(resources.get("cpus", 1)), float(resources.get("gpus", 0))
    count = max(1, math.ceil(cpus))
    memory = _bytes(resources.get("memory"), "spec.resources.memory", count * rules.estimate(rules.process_memory))
    on_gpus = min(count, math.ceil(gpus))
    with_gpu = _Processes(on_gpus, cpus / count, memory / count, gpus / on_gpus if on_gpus else 0)
    return [p for p in (with_gpu, _Processes(count - on_gpus, cpus / count, memory / count)) if p.count]


def _placed(spec: Spec, processes: list[_Processes], workers: int) -> tuple[list[_Processes], list[_Processes]]:
    """The processes on the head, and the processes that the workers share evenly.

    All workers are equal, so a GPU in one worker is a GPU in every worker. Processes with GPUs that cannot be divided
    evenly go to the head: an algorithm's learners one by one, or a search's whole trials, which Ray packs. All other
    processes go to the workers.
    """
    if workers == 0:
        return processes, []
    units = _gpu_units(spec, processes)
    if units == 0 or "gpu" in spec.get("cluster", {}).get("worker", {}):
        return [], processes
    moving = [p for p in processes if p.gpus or "search" in spec]

    def asked(share: int) -> int:
        """GPUs in all pods together if every worker has that share and the head has the rest."""
        left = units - workers * share
        return workers * _pod_gpus(_some(moving, share, units)) + _pod_gpus(_some(moving, left, units))

    share = min(range(units // workers, -1, -1), key=asked)
    on_head = _some(moving, units - workers * share, units)
    kept = [*_some(moving, workers * share, units), *(p for p in processes if p not in moving)]
    return on_head, kept


def _gpu_units(spec: Spec, processes: list[_Processes]) -> int:
    """Number of units that are placed with their GPUs: a search's trials, otherwise processes; 0 without GPUs."""
    counts = [p.count for p in processes if p.gpus]
    return concurrent_trials(spec) if counts and "search" in spec else sum(counts)


def _some(processes: list[_Processes], share: int, units: int) -> list[_Processes]:
    return [replace(p, count=p.count * share // units) for p in processes if p.count * share // units]


def _pod_gpus(processes: list[_Processes]) -> int:
    """GPUs of one pod: a process has its fraction of one GPU, or whole ones."""
    return math.ceil(round(sum(p.count * _gpu_share(p.gpus) for p in processes), 6))


def _gpu_share(gpus: float) -> float:
    """One process's share of a pod's GPUs. With 0.4 of a GPU, two processes fit on it, so the share is a half."""
    if gpus >= 1 or gpus == 0:
        return math.ceil(gpus)
    return 1 / math.floor(1 / gpus + 1e-9)


def _total_cpus_plain(processes: list[_Processes]) -> float:
    return round(sum(p.count * p.cpus for p in processes), 6)


def _total_cpus(processes: list[_Processes]) -> float:
    return _total_cpus_plain(processes) or 1


def _total_gpus(spec: Spec, processes: list[_Processes]) -> float:
    return sum(p.count * p.gpus for p in processes) + _driver_gpus(spec)


def _driver_gpus(spec: Spec) -> float:
    """GPUs of the run's driver. (GPUs of a search's trials are counted with the processes of the trials.)"""
    return 0 if "search" in spec else _learning_drivers_gpus(spec)


def _learning_drivers_gpus(spec: Spec) -> float:
    """GPUs of a driver that learns by itself."""
    learner = spec.get("learner", {})
    alone = "algorithm" in spec and not learner.get("count", 0)
    return float(learner.get("gpus", 0)) if alone else 0


def _driver_memory(spec: Spec, rules: SizingRules) -> float:
    return rules.process_memory if "entrypoint" in spec else rules.driver_memory


def _worker_count(cluster: Spec, processes: list[_Processes], driver: float, rules: SizingRules) -> int:
    """0 if the head can hold everything and the specification asks for no workers."""
    asked = cluster.get("worker", {}).get("replicas")
    if asked:
        return int(asked)
    if cluster.get("spread"):
        return MIN_SPREAD_WORKERS
    head = _pod(processes, 1, rules.head_services_memory + driver, rules)
    explicit = _bytes(cluster.get("head", {}).get("memory"), "spec.cluster.head.memory", head.memory)
    if head.logical_cpus <= rules.pod_max_cpu and explicit <= rules.pod_max_memory:
        return 0
    return _smallest_count(processes, rules)


def _smallest_count(processes: list[_Processes], rules: SizingRules) -> int:
    """The fewest worker pods that are not larger than the largest pod; if no number is enough, one for each process."""
    most = max(p.count for p in processes)
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        pod = _pod(processes, middle, rules.worker_services_memory, rules)
        if pod.logical_cpus <= rules.pod_max_cpu and pod.memory <= rules.pod_max_memory:
            high = middle
        else:
            low = middle + 1
    return low


def _pod(processes: list[_Processes], pods: int, base_memory: float, rules: SizingRules) -> PodSize:
    """A pod with an even share of every kind of process; a share is a whole number of processes."""
    shares = [(math.ceil(p.count / pods), p) for p in processes]
    cpus = math.ceil(round(sum(n * p.cpus for n, p in shares), 6))
    memory = rules.estimate(base_memory) + sum(n * p.memory for n, p in shares)
    gpus = _pod_gpus([replace(p, count=n) for n, p in shares])
    return PodSize(cpus, cpus * rules.cpu_request_per_logical_cpu, _rounded(memory), gpus)


def _head(spec: Spec, processes: list[_Processes], rules: SizingRules) -> PodSize:
    pod = _pod(processes, 1, rules.head_services_memory + _driver_memory(spec, rules), rules)
    asked = spec.get("cluster", {}).get("head", {})
    return PodSize(
        logical_cpus=max(pod.logical_cpus, 1) if processes else 0,
        cpu=_cores(asked.get("cpu"), "spec.cluster.head.cpu", pod.cpu + rules.head_cpu_request),
        memory=_bytes(asked.get("memory"), "spec.cluster.head.memory", pod.memory),
        gpus=int(asked.get("gpu", pod.gpus + math.ceil(_driver_gpus(spec)))),
    )


def _worker(asked: Spec, processes: list[_Processes], workers: int, rules: SizingRules) -> PodSize:
    pod = _pod(processes, workers, rules.worker_services_memory, rules)
    return PodSize(
        logical_cpus=max(pod.logical_cpus, 1),
        cpu=_cores(asked.get("cpu"), "spec.cluster.worker.cpu", pod.cpu),
        memory=_bytes(asked.get("memory"), "spec.cluster.worker.memory", pod.memory),
        gpus=int(asked.get("gpu", pod.gpus)),
    )


def _check_processes(processes: list[_Processes], rules: SizingRules) -> None:
    """Refuse a process that does not fit into any pod: more pods would not help."""
    for one in processes:
        if one.cpus > rules.pod_max_cpu:
            message = (
                f"one process asks for {one.cpus:g} CPUs, and the largest pod has {rules.pod_max_cpu:g}; ask for less"
            )
            raise SpecRefusedError(Reason.INSUFFICIENT_RESOURCES, one.field, message)


def _check(pod: PodSize, kind: str, spec: Spec, workers: int, rules: SizingRules) -> None:
    """Refuse a pod larger than the largest that nodes can hold, with the arithmetic."""
    need = logical_cpus(spec)
    share = f"{need:g} logical CPUs" + (f" divided among {workers} workers" if workers else " on the head")
    more = f"raise spec.cluster.worker.replicas (now {workers}), or ask for fewer env runners, trials or CPUs"
    if pod.logical_cpus > rules.pod_max_cpu:
        raise SpecRefusedError(
            Reason.INSUFFICIENT_RESOURCES,
            "spec.cluster.worker.replicas",
            f"the run needs {share}: {pod.logical_cpus} in a pod; the largest pod has {rules.pod_max_cpu:g}; {more}",
        )
    if pod.cpu > rules.pod_max_cpu:
        raise SpecRefusedError(
            Reason.INSUFFICIENT_RESOURCES,
            f"spec.cluster.{kind}.cpu",
            f"a {kind} pod asks for {quantity.cpu(pod.cpu)} CPUs; the largest pod has {rules.pod_max_cpu:g}",
        )
    if pod.memory > rules.pod_max_memory:
        raise SpecRefusedError(
            Reason.INSUFFICIENT_RESOURCES,
            f"spec.cluster.{kind}.memory",
            f"a {kind} pod needs {quantity.memory(pod.memory)} of memory (services, driver and its processes, times "
            f"{rules.memory_headroom:g}), and the largest pod has {quantity.memory(rules.pod_max_memory)}; {more}, "
            f"or set spec.cluster.{kind}.memory if you know that it takes less",
        )


def _bytes(asked: str | int | None, field: str, otherwise: float) -> float:
    return otherwise if asked is None else _quantity(asked, field)


def _cores(asked: str | int | None, field: str, otherwise: float) -> float:
    return otherwise if asked is None else _quantity(asked, field)


def _quantity(asked: str | int, field: str) -> float:
    try:
        return quantity.parse(asked)
    except ValueError as error:
        raise SpecRefusedError(Reason.INVALID_SPEC, field, f"{field}: {error}") from error


def _rounded(memory: float) -> float:
    """Rounded up to the next 64 MiB, so that equal requests look equal."""
    step = 64 * quantity.MEBIBYTE
    return math.ceil(memory / step) * step
