"""Trials of generator functions as plain Ray tasks.

A function that only yields needs nothing of Tune: importing it takes every process seconds, more than a short trial.
Ray gives a finished trial's process to the next one by itself.
"""

from __future__ import annotations

import inspect
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from trainyard.errors import UserError, described, root_cause
from trainyard.search.trainables import Function, load
from trainyard.search.trials import TrialTable
from trainyard.search.worker import STARTED, import_ahead, play
from trainyard.spec import sizing
from trainyard.spec.sections import Specification, Stop, TrialResources

# Modules whose presence says that the function may want a Tune session (tune.report, tune.get_checkpoint, ...).
_TUNE_MODULES = ("ray.tune", "ray.train")


def suits(function: Function) -> bool:
    """Whether `function` can run without Tune: a generator, and nothing that it imports has imported Tune."""
    return inspect.isgeneratorfunction(function) and not any(name in sys.modules for name in _TUNE_MODULES)


def prepare(specification: Specification) -> list[Any]:
    """Let processes for the first trials start and import the function, which Ray then gives to the trials.

    Returns the tasks' references. It is not necessary to wait for them: an error in one occurs again in a trial and is
    reported there. Trials of Tune and env runners cannot be prepared like this: they are actors, and Ray never gives an
    actor a process that has run a task.
    """
    import ray

    trainable = specification.trainable
    assert trainable is not None
    if not suits(load(trainable.function)):
        return []
    # Without the trials' GPUs: Ray ends a process that had one.
    cpus = specification.trial_resources.cpu
    task = ray.remote(num_cpus=cpus, max_retries=0, scheduling_strategy="SPREAD")(import_ahead)
    return [task.remote(trainable.function) for _ in range(sizing.concurrent_trials(specification))]


def run_trials(
    specifications: list[Specification],
    resources: TrialResources,
    concurrent: int,
    table: TrialTable,
    refresh: Callable[..., None],
) -> None:
    """Run a trial for each of `specifications`, never more than `concurrent` at a time, and keep the table."""
    import ray

    start = ray.remote(
        num_cpus=resources.cpu,
        num_gpus=resources.gpu,
        max_retries=0,
        num_returns="streaming",
        scheduling_strategy="SPREAD",
    )(play)
    waiting = deque(enumerate(specifications))
    running: dict[Any, int] = {}
    while waiting or running:
        while waiting and len(running) < concurrent:
            index, specification = waiting.popleft()
            trainable = specification.trainable
            assert trainable is not None
            # An empty one is not sent: to read it a process imports the whole specification.
            stop = specification.stop if specification.stop != Stop() else None
            running[start.remote(trainable.function, trainable.config, stop)] = index
        ready, _ = ray.wait(list(running), num_returns=1)
        for stream in ready:
            if _take(ray, stream, running[stream], table, refresh):
                del running[stream]


def _take(ray: Any, stream: Any, index: int, table: TrialTable, refresh: Callable[..., None]) -> bool:
    """Take the next item of a trial; return whether it was its last."""
    try:
        kind, value = ray.get(next(stream))
    except StopIteration:
        table.finish(index)
        refresh(changed_state=True)
        return True
    except ray.exceptions.RayError as error:
        table.finish(index, described(error), users_error=isinstance(root_cause(error), UserError))
        refresh(changed_state=True)
        return True
    if kind == STARTED:
        table.start(index, value)
    else:
        table.report(index, value)
    refresh(changed_state=kind == STARTED)
    return False
