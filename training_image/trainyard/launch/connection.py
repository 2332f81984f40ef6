"""Connecting to Ray: the arguments of `ray.init`, imports at the same time, and whether Ray has enough resources."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

from trainyard.cleanup import RayTrainingCleanup
from trainyard.errors import (
    InsufficientResources,
)
from trainyard.launch.endings import SIGTERM
from trainyard.runs import packages
from trainyard.runs.job import Job
from trainyard.search import on_tasks, trainables
from trainyard.spec import sizing
from trainyard.spec.sections import Cleanup, Specification

_REMEDIES = {"CPU": "spec.sampling.envRunners or cpusPerEnvRunner", "GPU": "spec.learner.gpus"}


def ray_options(job: Job, **options: Any) -> dict[str, Any]:
    """The arguments of `ray.init`."""
    own = {"runtime_env": job.requirements.runtime_env()} if job.requirements is not None else {}
    return {"logging_level": "WARNING", "log_to_driver": True, **own, **options}


@contextmanager
def connected(job: Job, address: str) -> Iterator[Job]:
    """Connects to a Ray cluster that stays; at the end it cleans up as the specification says."""
    wanted = job.specification.cluster.cleanup or Cleanup()
    if not wanted.enabled:
        connect(lambda ray: ray.init(**ray_options(job, address=address)), job)
        yield job
        return
    cleanup = RayTrainingCleanup(wanted.servers, wanted.dry_run)
    # Packages go into the folder that is removed on every node.
    job = replace(job, requirements=packages.of(job.specification, cleanup.folder))
    cleanup.ray_options = ray_options(job, address=address)
    with ExitStack() as stack:
        # After the clean-up, whatever the end was.
        stack.callback(lambda: job.console.print(str(cleanup.report), highlight=False))
        connect(lambda ray: stack.enter_context(cleanup), job)
        yield job


def check_resources(need: sizing.Need, where: str) -> None:
    """Refuse a run that would wait for ever on the connected Ray."""
    for kind, message in shortages(need, where):
        raise InsufficientResources(
            f"{message}; lower {_REMEDIES[kind]} (search: maxConcurrentTrials or resourcesPerTrial.{kind.lower()}; "
            "a program: spec.resources), or use more machines"
        )


def shortages(need: sizing.Need, where: str) -> Iterator[tuple[str, str]]:
    """Which resource the connected Ray has too little of (CPU or GPU), and how much it has."""
    import ray

    have = ray.cluster_resources()
    for kind, name, needed in (("CPU", "logical CPUs", need.logical_cpus), ("GPU", "GPUs", need.gpus)):
        if needed > (found := have.get(kind, 0)):
            yield kind, f"the run needs {needed:g} {name} at the same time and {where} has {found:g}"


def connect(initialise: Callable[[Any], object], job: Job) -> None:
    """Connect to Ray while RLlib is imported; processes of future trials start and import at the same time.

    Raises:
        InvalidConfiguration: the environment cannot be made, or the trainable does not exist. This is found before the
            connection to Ray.
    """
    specification = job.specification
    with ThreadPoolExecutor(1, thread_name_prefix="import-rllib") as pool:
        pool.submit(importlib.import_module, "ray")
        # Packages of the run's own are installed later.
        if job.requirements is None:
            check_what_is_named(specification)
        import ray

        rllib = "trainyard.training.config"
        importing = pool.submit(importlib.import_module, rllib) if specification.algorithm is not None else None
        initialise(ray)
        SIGTERM.install()
        if job.requirements is not None:
            job.console.print(f"installing {', '.join(job.requirements.packages)}", markup=False)
            job.requirements.enter()
        if specification.trainable is not None:
            on_tasks.prepare(specification)
        if importing is not None:
            importing.result()


def check_what_is_named(specification: Specification) -> None:
    """Make the environment, or import the trainable; in the main thread, which some environments need."""
    if specification.trainable is not None:
        trainables.load(specification.trainable.function)
    elif specification.algorithm is not None and specification.search is None:  # trials may differ in it
        from trainyard.training.environment import chosen

        chosen(specification)


def work(job: Job) -> dict[str, Any]:
    """Carry out the specification on the connected Ray; return the summary."""
    from trainyard.launch import workloads

    with job.requirements.blamed() if job.requirements is not None else nullcontext():
        return workloads.run(job)
