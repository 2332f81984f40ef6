"""What a runner hands over: finished episodes and a few figures about itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from trainyard.episodes.infos import InfoFields
from trainyard.errors import UserError


@dataclass(frozen=True)
class EpisodeId:
    """Unique within an attempt of a run: which runner's which environment played it, and its number there."""

    runner: int
    incarnation: int
    env: int
    number: int


@dataclass(frozen=True)
class Episode:
    """One whole episode of T steps, played by one version of the policy.

    Attributes:
        observations: (T + 1, ...), the final observation last.
        actions: (T, ...) as the policy's distribution gave them, before unsquashing or clipping.
        rewards: (T,) float32.
        log_probabilities: (T,) float32, of the actions under the policy that played.
        terminated: whether the environment ended it; otherwise it was truncated and its last value is bootstrapped.
        policy_version: of the weights that played it.
        figures: finite numbers that the environment gave for the episode (`episode_metrics` in its last info).
        recorded: what a recording keeps of the environment's infos; None without a recording.
        seconds: wall time from reset to the last step.
    """

    id: EpisodeId
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    log_probabilities: np.ndarray
    terminated: bool
    policy_version: int
    figures: dict[str, float] = field(default_factory=dict)
    recorded: InfoFields | None = None
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def total_reward(self) -> float:
        return float(np.sum(self.rewards, dtype=np.float64))


@dataclass(frozen=True)
class Failure:
    """An environment that raised; traceback is what Python printed.

    user_error: what it raised where only the user can correct that: no other try is made.
    """

    runner: int
    env: int
    error: str
    traceback: str
    user_error: UserError | None = None


@dataclass(frozen=True)
class LeftOut:
    """An episode that was given up, because a number of it is not finite; words: where, and which."""

    words: str


@dataclass(frozen=True)
class Delivery:
    """A runner's answer to one request.

    Attributes:
        env_steps: steps that this incarnation of the runner has made.
        idle_seconds: the longest time that one of its environments has spent inside a single reset or step.
        memory_bytes: private memory of the runner's process; None where the system does not tell.
        left_out: episodes that were given up since the last answer.
    """

    episodes: list[Episode]
    failures: list[Failure]
    env_steps: int
    idle_seconds: float
    memory_bytes: int | None
    left_out: list[LeftOut] = field(default_factory=list)
