"""Evaluation of a policy on its own environment, between iterations, in the driver's process.

One environment, whole episodes, the same seed every time: the same policy gets the same value.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_LEARNER,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
)
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from trainyard.callbacks import Evaluation
from trainyard.environments.market import performance
from trainyard.metrics import summarise
from trainyard.rllib.episode_log import episode_figures
from trainyard.training.environment import SYNC


class Evaluator:
    """Plays whole episodes with the algorithm's current policy."""

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        kind: Literal["validation", "test"],
        episodes: int,
        explore: bool,
        environment_config: Mapping[str, Any],
        seed: int,
    ) -> None:
        """Make the environment with `environment_config` over the training environment's own configuration."""
        self.kind: Literal["validation", "test"] = kind
        self._algorithm = algorithm
        self._episodes = episodes
        self._explore = explore
        config = algorithm.config.copy(copy_frozen=False)
        config.environment(env_config={**config.env_config, **environment_config})
        config.env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=1,
            gym_env_vectorize_mode=gym.VectorizeMode(SYNC),
            explore=explore,
        )
        config.callbacks([])
        config.debugging(seed=seed)
        self._runner = SingleAgentEnvRunner(config=config, worker_index=0)

    def evaluate(self, iteration: int) -> Evaluation:
        started = time.monotonic()
        self._runner.set_state(policy_state(self._algorithm))
        # Asked for episodes, the runner resets its environment with its seed first, every time.
        episodes = self._runner.sample(num_episodes=self._episodes, explore=self._explore)
        self._runner.get_metrics()
        found = [episode_figures([episode]) | performance.of_infos(episode.get_infos()) for episode in episodes]
        named = {f"{self.kind}/{name}": value for name, value in summarise(found).items()}
        return Evaluation(self.kind, iteration, named, episodes, time.monotonic() - started, found)

    def stop(self) -> None:
        self._runner.stop()


def policy_state(algorithm: Algorithm) -> dict[str, Any]:
    """Weights from the learner (those of APPO's and IMPALA's own module are stale) and the connectors' state."""
    component = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    learner = algorithm.learner_group.get_state(components=component, inference_only=True)
    state = {COMPONENT_RL_MODULE: learner[COMPONENT_LEARNER][COMPONENT_RL_MODULE]}
    runner = algorithm.env_runner
    if runner is not None:
        state |= runner.get_state(components=[COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR])
    return state
