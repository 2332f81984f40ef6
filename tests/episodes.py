"""Made-up episodes for Learners, for tests and benchmarks."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from ray.rllib.env.single_agent_episode import SingleAgentEpisode


def episodes_of(lengths: list[int], seed: int = 3, extra: dict | None = None) -> list[SingleAgentEpisode]:
    """Episodes of random CartPole-like steps with everything a PPO update reads; the last one is cut, not over.

    extra: further model outputs, the same at every step.
    """
    generator = np.random.default_rng(seed)
    episodes = []
    for number, length in enumerate(lengths):
        logits = generator.normal(size=(length, 2)).astype(np.float32)
        actions = generator.integers(0, 2, size=length)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        episodes.append(
            SingleAgentEpisode(
                observation_space=gym.spaces.Box(-10, 10, (4,), np.float32),
                action_space=gym.spaces.Discrete(2),
                observations=list(generator.normal(size=(length + 1, 4)).astype(np.float32)),
                actions=list(actions),
                rewards=list(generator.normal(size=length)),
                terminated=number < len(lengths) - 1,
                extra_model_outputs={
                    "action_dist_inputs": list(logits),
                    "action_logp": list(log_probabilities[np.arange(length), actions].astype(np.float32)),
                    **{key: [value] * length for key, value in (extra or {}).items()},
                },
                len_lookback_buffer=0,
            )
        )
    return episodes


def pendulum_steps(count: int, seed: int) -> list[SingleAgentEpisode]:
    """Single steps of made-up Pendulum episodes, as RLlib's replay buffers give them."""
    generator = np.random.default_rng(seed)
    return [
        SingleAgentEpisode(
            observation_space=gym.spaces.Box(-10, 10, (3,), np.float32),
            action_space=gym.spaces.Box(-2, 2, (1,), np.float32),
            observations=list(generator.normal(size=(2, 3)).astype(np.float32)),
            actions=list(generator.uniform(-1, 1, size=(1, 1)).astype(np.float32)),
            rewards=[float(generator.normal())],
            terminated=number % 5 == 0,
            extra_model_outputs={"weights": [1.0], "n_step": [1]},
            len_lookback_buffer=0,
        )
        for number in range(count)
    ]
