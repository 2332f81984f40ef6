"""How much a run needs at the same time: Ray's logical CPUs and memory.

Two numbers, not one. Logical CPUs are Ray's book-keeping (manifests/contract/sizing.json, which the operator's own
arithmetic is tested against too); memory is what processes really take.
"""

import math
from dataclasses import dataclass

from trainyard.spec.sections import Specification

GIB = 2**30
# Measured on CPU-only torch: an RLlib env runner, a process that imports only Ray and its function, a driver with
# RLlib and torch, and the head's services.
ENV_RUNNER_BYTES = int(0.4 * GIB)
# A runner of whole episodes acts in numpy: measured 71 MiB with four CartPoles.
EPISODE_RUNNER_BYTES = int(0.1 * GIB)
LEARNER_BYTES = int(0.7 * GIB)
FUNCTION_TRIAL_BYTES = int(0.15 * GIB)
DRIVER_BYTES = 1 * GIB
HEAD_SERVICES_BYTES = int(1.5 * GIB)


@dataclass(frozen=True)
class Need:
    """What a run needs at the same time, and the words that show how the numbers came about."""

    logical_cpus: float
    memory_bytes: int
    gpus: float
    explanation: str


def trial_count(specification: Specification) -> int:
    """Number of trials of a search: the grids' product times the samples; 1 without a search."""
    search = specification.search
    if search is None:
        return 1
    return math.prod(len(parameter.grid) for parameter in search.parameters if parameter.grid) * search.samples


def concurrent_trials(specification: Specification) -> int:
    """Trials that run at the same time; 1 without a search."""
    if specification.search is None:
        return 1
    return min(specification.search.max_concurrent_trials, trial_count(specification))


def logical_cpus(specification: Specification) -> float:
    """Ray's logical CPUs that the run needs at the same time."""
    if specification.resources is not None:
        return specification.resources.cpus
    trials = concurrent_trials(specification)
    driver = specification.search.resources_per_trial.cpu if specification.search else 0
    if specification.algorithm is None:
        return _rounded(trials * (driver if specification.search else 1))
    sampling, learner = specification.sampling, specification.learner
    actors = sampling.env_runners * sampling.cpus_per_env_runner + learner.count * learner.cpus
    if specification.search:
        return _rounded(trials * (driver + actors))
    return _rounded(actors) if actors else 1


def gpus(specification: Specification) -> float:
    """GPUs that the run needs at the same time."""
    if specification.resources is not None:
        return specification.resources.gpus
    own, learner = specification.trial_resources.gpu, specification.learner
    if specification.algorithm is not None:
        # A driver that learns by itself has one share for both.
        own = own + learner.count * learner.gpus if learner.count else max(own, learner.gpus)
    return concurrent_trials(specification) * own


def _rounded(value: float) -> float:
    """Remove the dust of binary fractions: ten times 0.1 is 1."""
    return round(value, 6)


def need(specification: Specification) -> Need:
    """What the run needs at the same time on a machine or cluster of its own."""
    trials = concurrent_trials(specification)
    cpus = logical_cpus(specification)
    parts = [f"{HEAD_SERVICES_BYTES / GIB:.1f} GiB Ray services", f"{DRIVER_BYTES / GIB:.1f} GiB driver"]
    memory = HEAD_SERVICES_BYTES + DRIVER_BYTES
    if specification.resources is not None:
        memory += specification.resources.memory or 0
    elif specification.algorithm is None:
        memory += trials * FUNCTION_TRIAL_BYTES
        parts.append(f"{trials} trials x {FUNCTION_TRIAL_BYTES / GIB:.2f} GiB")
    else:
        sampling, learner = specification.sampling, specification.learner
        usual = EPISODE_RUNNER_BYTES if specification.whole_episodes else ENV_RUNNER_BYTES
        runner = sampling.memory_per_env_runner or usual
        memory += trials * (sampling.env_runners * runner + learner.count * LEARNER_BYTES)
        times = f"{trials} trials x " if specification.search else ""
        parts.append(f"{times}{sampling.env_runners} env runners x {runner / GIB:.2f} GiB")
        if learner.count:
            parts.append(f"{times}{learner.count} learners x {LEARNER_BYTES / GIB:.2f} GiB")
        if specification.search:
            memory += trials * DRIVER_BYTES
            parts.append(f"{trials} trial drivers x {DRIVER_BYTES / GIB:.1f} GiB")
    return Need(cpus, memory, gpus(specification), f"{' + '.join(parts)} = {memory / GIB:.1f} GiB")
