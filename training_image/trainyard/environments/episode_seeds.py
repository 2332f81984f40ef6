"""Episodes that depend on their number alone, and not on how many random numbers those before them drew."""

from __future__ import annotations

from typing import Any

import gymnasium

from trainyard.runs.seeds import Stream, seed_of


class EpisodeSeeds(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Seeds every episode by its number.

    Without `position`, each environment has a series of its own: a reset with a seed, which every collector and
    evaluation gives each environment once, begins it, and its k-th episode is seeded from that seed, `seed` and k. No
    two environments play the same series, and an evaluation plays the same episodes every time.

    With `position`, for who makes the environments in Python, all share one series, which no reset begins anew:
    environment `position` of `total` plays its episodes position, position + total, ..., the k-th one seeded with
    `seed` + k. What N runners play together is what one plays alone.

    The number is in ``info["episode_index"]`` and, as ``options["episode_index"]``, at the environment's reset.

    Args:
        env: the environment.
        seed: changes all episodes.
        position: this environment's place among all of them, from 0; None for a series of its own.
        total: how many environments share the series.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], *, seed: int = 0, position: int | None = None, total: int = 1
    ) -> None:
        super().__init__(env)
        if position is not None and not 0 <= position < total:
            raise ValueError(f"position {position} is not from 0 to {total - 1}")
        if position is None and total != 1:
            raise ValueError(f"total is {total}, and position is missing")
        self._seed = seed
        self._shared = position is not None
        self._next_index = position or 0
        self._step = total
        self._begun_with = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None and not self._shared:
            self._begun_with, self._next_index = seed, 0
        index = self._next_index
        self._next_index += self._step
        own = self._seed + index if self._shared else seed_of(self._begun_with, Stream.EPISODE, self._seed, index)
        observation, info = self.env.reset(seed=own, options={**(options or {}), "episode_index": index})
        return observation, {**info, "episode_index": index}
