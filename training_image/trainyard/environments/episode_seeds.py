"""Episodes that depend on their number alone, however many runners share the work."""

from __future__ import annotations

from typing import Any

import gymnasium


class EpisodeSeeds(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Seeds every episode with ``seed`` + its index among the episodes of all environments of the run.

    Environment ``position`` of ``total`` plays the episodes position, position + total, position + 2 total, ...: what
    N runners play together is what one plays alone. The index is in ``info["episode_index"]`` and, as
    ``options["episode_index"]``, at the environment's reset.

    Args:
        env: the environment.
        seed: seed of episode 0.
        position: this environment's place among all of them, from 0.
        total: how many environments share the episodes.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, seed: int = 0, position: int = 0, total: int = 1) -> None:
        super().__init__(env)
        if not 0 <= position < total:
            raise ValueError(f"position {position} is not from 0 to {total - 1}")
        self._seed = seed
        self._next_index = position
        self._total = total

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        index = self._next_index
        self._next_index += self._total
        observation, info = self.env.reset(seed=self._seed + index, options={**(options or {}), "episode_index": index})
        return observation, {**info, "episode_index": index}
