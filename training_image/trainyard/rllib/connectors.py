"""Two connector pieces instead of RLlib's ten between an environment and a feed-forward module.

RLlib's default pieces sort every value by episode and back, for modules with states, time and several agents. With one
agent and no state the outcome is the stacked observations, and the actions as the environment takes them.
tests/training/test_connectors.py compares what runners sample with both. Set through RLlib's own configuration.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.connectors.module_to_env import GetActions
from ray.rllib.core.columns import Columns
from ray.rllib.utils.numpy import convert_to_numpy
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action


class StackObservations(ConnectorV2):
    """The last observation of each environment, as one tensor."""

    def __call__(self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any) -> dict[str, Any]:
        observations = torch.from_numpy(np.stack([episode.get_observations(-1) for episode in episodes]))
        batch[Columns.OBS] = observations.float() if observations.dtype == torch.float64 else observations
        return batch


class EnvironmentActions(ConnectorV2):
    """Actions drawn from the module's outputs, and what of them the environment is given."""

    def __init__(
        self,
        input_observation_space: gym.Space | None = None,
        input_action_space: gym.Space | None = None,
        *,
        normalize: bool,
        clip: bool,
        **kwargs: Any,
    ) -> None:
        super().__init__(input_observation_space, input_action_space, **kwargs)
        self._draw = GetActions()
        self._normalize = normalize
        self._clip = clip

    def __call__(self, *, batch: dict[str, Any], episodes: list[Any], **kwargs: Any) -> dict[str, Any]:
        batch = convert_to_numpy(self._draw(batch=batch, episodes=episodes, **kwargs))
        if self._normalize:
            batch[Columns.ACTIONS_FOR_ENV] = unsquash_action(batch[Columns.ACTIONS].copy(), self.input_action_space)
        elif self._clip:
            batch[Columns.ACTIONS_FOR_ENV] = clip_action(batch[Columns.ACTIONS].copy(), self.input_action_space)
        return batch


def may_be_lean(config: AlgorithmConfig, observations: gym.Space, actions: gym.Space) -> bool:
    """Whether these two pieces compute what RLlib's pieces compute, on a Ray with the names of "connectors"."""
    return (
        isinstance(observations, gym.spaces.Box)
        and isinstance(actions, gym.spaces.Box | gym.spaces.Discrete)
        and not config.model_config.get("use_lstm")
        and not config.is_multi_agent
        and config._env_to_module_connector is None
        and config._module_to_env_connector is None
        and not config.num_gpus_per_env_runner
    )


def make_lean_where_exact(config: AlgorithmConfig, observations: gym.Space, actions: gym.Space) -> None:
    """Have the env runners use the two pieces where they may."""
    if may_be_lean(config, observations, actions):
        make_lean(config)


def make_lean(config: AlgorithmConfig) -> None:
    """Have the env runners use the two pieces."""
    normalize, clip = config.normalize_actions, config.clip_actions

    def for_environment(env: Any = None, spaces: Any = None) -> ConnectorV2:
        return EnvironmentActions(normalize=normalize, clip=clip)

    config.env_runners(
        env_to_module_connector=lambda env=None, spaces=None, device=None: StackObservations(),
        module_to_env_connector=for_environment,
        add_default_connectors_to_env_to_module_pipeline=False,
        add_default_connectors_to_module_to_env_pipeline=False,
    )
