"""Copies of what an environment gives, for wrappers that keep it (gymnasium's FrameStackObservation does)."""

from __future__ import annotations

from typing import Any

import gymnasium

from trainyard.episodes.copies import lent, own_info, own_observation


class OwnResults(gymnasium.Wrapper[Any, Any, Any, Any]):
    """The environment may use its arrays and infos again, and write into its actions."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return own_observation(observation), own_info(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(lent(action))
        return own_observation(observation), reward, terminated, truncated, own_info(info)
