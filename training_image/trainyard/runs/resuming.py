"""Starting from a checkpoint that is not the run's own: `spec.resumeFrom`.

The place is a run's results folder, or one checkpoint in it. `All` goes on where that run was; `Weights` takes its
network alone and starts at iteration 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trainyard.errors import InvalidConfiguration
from trainyard.runs import storage
from trainyard.runs.checkpoints import Checkpoint, CheckpointStore
from trainyard.spec.sections import ResumeFrom, Specification

FIELD = "spec.resumeFrom"


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a run starts from, and the store that has it."""

    store: CheckpointStore
    checkpoint: Checkpoint


def check(specification: Specification) -> None:
    """Look for the checkpoint before anything is started.

    Raises:
        InvalidConfiguration: there is none.
    """
    if specification.resume_from is not None:
        with opened(specification.resume_from):
            pass


@contextmanager
def opened(wanted: ResumeFrom) -> Iterator[Origin]:
    """The checkpoint that is asked for; what was downloaded of it is gone afterwards.

    Raises:
        InvalidConfiguration: the place or the checkpoint does not exist.
    """
    if wanted.uri is None:
        raise InvalidConfiguration.of(
            f"{FIELD}.run",
            f"names the TrainingRun {wanted.run!r}, which only the operator can find",
            "write uri: with the folder of that run's results, for instance file:///home/me/results/my-run",
        )
    try:
        place = storage.to_read(wanted.uri)
    except ValueError as error:
        remedy = "write the results folder of a run (it has checkpoints/ in it), or a checkpoint in it"
        raise InvalidConfiguration.of(f"{FIELD}.uri", f"{wanted.uri} {error}", remedy) from error
    try:
        store = CheckpointStore(place, keep=1)
        found = store.itself() or (store.best() if wanted.checkpoint == "Best" else store.latest())
        if found is None:
            other = store.latest() if wanted.checkpoint == "Best" else store.best()
            remedy = f"use checkpoint: {'Latest' if wanted.checkpoint == 'Best' else 'Best'}, which is there"
            if other is None:
                remedy = "give the results folder of a run that has written a checkpoint"
            problem = f"{wanted.uri} has no {wanted.checkpoint.lower()} checkpoint"
            raise InvalidConfiguration.of(f"{FIELD}.uri", problem, remedy)
        yield Origin(store, found)
    finally:
        place.discard_scratch()


def check_algorithm(state: Mapping[str, Any], specification: Specification) -> None:
    """Refuse to go on with another algorithm's state; its network alone may fit."""
    algorithm = specification.algorithm
    assert algorithm is not None
    before = state.get("specification", {}).get("algorithm", {}).get("name", algorithm.name)
    if before != algorithm.name:
        raise InvalidConfiguration.of(
            f"{FIELD}.restore", f"is All, the checkpoint is one of {before}, and this run is {algorithm.name}",
            f"use {before}, or restore: Weights where the networks are the same",
        )  # fmt: skip


def check_network(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse weights that do not fit, by name and shape; RLlib would leave out what it does not find.

    Args:
        saved: name -> array, of the checkpoint.
        own: the same of this run's network.
    """
    problems = [f"{name} is missing" for name in own if name not in saved]
    problems += [f"{name} is not in this run's network" for name in saved if name not in own]
    problems += [
        f"{name} is {tuple(saved[name].shape)} and not {tuple(own[name].shape)}"
        for name in own
        if name in saved and tuple(saved[name].shape) != tuple(own[name].shape)
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InvalidConfiguration.of(
            FIELD,
            f"the network of the checkpoint is another one: {', '.join(problems[:3])}{more}",
            "use the same spec.environment and spec.algorithm.model as that run",
        )
