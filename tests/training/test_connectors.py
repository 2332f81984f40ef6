"""With the lean connectors, env runners sample exactly what they sample with RLlib's."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from trainyard.rllib.connectors import make_lean, may_be_lean


def sampled(config, *, lean: bool, explore: bool):
    config = config.copy(copy_frozen=False).debugging(seed=3).env_runners(num_env_runners=0)
    if lean:
        make_lean(config)
    np.random.seed(0)
    torch.manual_seed(0)
    runner = SingleAgentEnvRunner(config=config, worker_index=0)
    torch.manual_seed(1)
    parts = [part for _ in range(4) for part in runner.sample(num_timesteps=90, explore=explore)]
    runner.stop()
    return parts


@pytest.mark.parametrize("explore", [True, False])
@pytest.mark.parametrize(
    "config",
    [
        pytest.param(DQNConfig().environment("CartPole-v1"), id="DQN"),
        pytest.param(SACConfig().environment("Pendulum-v1"), id="SAC"),
        pytest.param(PPOConfig().environment("Pendulum-v1").env_runners(num_envs_per_env_runner=3), id="PPO"),
        pytest.param(PPOConfig().environment("Pendulum-v1", normalize_actions=False, clip_actions=True), id="clipped"),
        pytest.param(PPOConfig().environment("Pendulum-v1", normalize_actions=False, clip_actions=False), id="as is"),
    ],
)
def test_the_same_steps_are_sampled(config, explore):
    expected, found = sampled(config, lean=False, explore=explore), sampled(config, lean=True, explore=explore)
    assert len(found) == len(expected) > 0
    for theirs, ours in zip(expected, found, strict=True):
        for name in ("get_observations", "get_actions", "get_rewards"):
            values, others = getattr(theirs, name)(), getattr(ours, name)()
            np.testing.assert_array_equal(others, values)
            assert others.dtype == values.dtype
        assert (ours.is_terminated, ours.is_truncated) == (theirs.is_terminated, theirs.is_truncated)
        assert ours.extra_model_outputs.keys() == theirs.extra_model_outputs.keys()
        for key in theirs.extra_model_outputs:
            values, others = theirs.get_extra_model_outputs(key), ours.get_extra_model_outputs(key)
            np.testing.assert_array_equal(others, values)


def test_they_are_for_plain_spaces_and_feed_forward_modules():
    box, pair = gym.spaces.Box(-1, 1, (2,)), gym.spaces.Tuple([gym.spaces.Discrete(2)] * 2)
    assert may_be_lean(PPOConfig(), box, gym.spaces.Discrete(3))
    assert not may_be_lean(PPOConfig(), pair, gym.spaces.Discrete(3))
    assert not may_be_lean(PPOConfig(), box, pair)
    assert not may_be_lean(PPOConfig().rl_module(model_config={"use_lstm": True}), box, box)
    assert not may_be_lean(PPOConfig().env_runners(env_to_module_connector=lambda *args: []), box, box)
