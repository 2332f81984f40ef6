"""Replay buffers beside checkpoints: plain arrays in one file, up to a size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm

from trainyard.runs.checkpoints import REPLAY_FILE

LIMIT_BYTES = 512 * 2**20
"""A larger buffer is not saved: every checkpoint would write all of it again."""


@runtime_checkable
class FlatReplay(Protocol):
    """A buffer of arrays. Its class itself, FlatReplayBuffer, is not for every Ray."""

    nbytes: int

    def __len__(self) -> int: ...

    def can_sample(self, n_step: Any) -> bool: ...

    def get_state(self) -> dict[str, Any]: ...

    def set_state(self, state: dict[str, Any]) -> None: ...


@dataclass(frozen=True)
class SavedReplay:
    """What a checkpoint has of a replay buffer.

    steps: environment steps in the buffer. bytes: what they take; None where the buffer is RLlib's own.
    saved: whether they are in the checkpoint.
    """

    steps: int
    bytes: int | None
    saved: bool

    def why_lost(self) -> str:
        """For people, when it did not come back."""
        if self.bytes is None:
            return "RLlib's checkpoints do not hold it"
        if self.saved:
            return "only the latest checkpoint keeps it"
        return f"its {self.bytes / 2**20:,.0f} MiB are more than the {LIMIT_BYTES / 2**20:,.0f} MiB that are saved"


def describe(algorithm: Algorithm) -> SavedReplay | None:
    """What `save` does now; None when the algorithm has no replay buffer."""
    buffer = algorithm.local_replay_buffer
    if buffer is None:
        return None
    if not isinstance(buffer, FlatReplay):
        return SavedReplay(len(buffer), None, saved=False)
    return SavedReplay(len(buffer), buffer.nbytes, saved=buffer.nbytes <= LIMIT_BYTES)


def save(algorithm: Algorithm, folder: Path) -> None:
    """Write the algorithm's replay buffer into a folder, if it has one that may be saved."""
    described = describe(algorithm)
    if described is None or not described.saved:
        return
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / REPLAY_FILE, **algorithm.local_replay_buffer.get_state())


def restore(algorithm: Algorithm, folder: Path) -> None:
    """Read the replay buffer from a folder, if it is there and the algorithm's is not RLlib's own.

    Where the algorithm, whose other state is restored already, has too few steps to learn from then, it waits for them.
    """
    buffer = algorithm.local_replay_buffer
    if isinstance(buffer, FlatReplay) and (folder / REPLAY_FILE).exists():
        with np.load(folder / REPLAY_FILE, allow_pickle=False) as file:
            state: dict[str, Any] = dict(file)
        buffer.set_state(state)
    if buffer is not None:
        _warm_up(algorithm)


def _warm_up(algorithm: Algorithm) -> None:
    """Let learning begin again as it does in a new run: RLlib counts the steps before the restart, too."""
    buffer, config = algorithm.local_replay_buffer, algorithm.config
    wanted = min(config.num_steps_sampled_before_learning_starts, buffer.capacity)
    if len(buffer) >= wanted:
        return
    done = int(algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0))
    changed = config.copy(copy_frozen=False)
    changed.training(num_steps_sampled_before_learning_starts=done + wanted - len(buffer))
    changed.freeze()
    algorithm.config = changed
