"""Evaluation of a policy on its own environment, between iterations, in the driver's process.

One environment, whole episodes, the same seed every time: the same policy gets the same value.
"""

import time
from collections.abc import Mapping
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import (
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_LEARNER,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_RL_MODULE,
)
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from trainyard.callbacks import Evaluation
from trainyard.environments.market import performance
from trainyard.episodes.finite import FIELD, too_many
from trainyard.errors import NonFiniteNumber
from trainyard.metrics import CUT_EPISODES, NON_FINITE_EPISODES, summarise
from trainyard.rllib.env_runner import EnvRunner
from trainyard.rllib.episode_log import episode_figures
from trainyard.runs.stopping import OutOfTime
from trainyard.training.environment import SYNC

Kind = Literal["validation", "test"]


class EvaluationRunner(EnvRunner):
    """Plays in one environment; ends an episode that is too long, and the evaluation when time is up."""

    kind: Kind = "validation"
    max_steps = 0
    deadline: float | None = None
    steps = episodes = cut = 0
    """Steps of the running episode, episodes that have ended, and those of them that were cut."""

    @property
    def _name(self) -> str:
        return f"the {self.kind}"

    def begin(self, deadline: float | None) -> None:
        """Before an evaluation; deadline: of time.monotonic(), None for none."""
        self.deadline = deadline
        self.steps = self.episodes = self.cut = 0
        self._reset_next = False

    def words(self) -> str:
        """What goes on, for people; asked from another thread."""
        seconds = self.stuck.seconds()
        stuck = f", one of them for {seconds:.0f} s now" if seconds >= 10 else ""
        return f"{self.kind}: {self.steps:,} steps in its episode {self.episodes + 1}{stuck}"

    def _try_env_step(self, actions: Any) -> Any:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise OutOfTime
        if self._reset_next:
            # What the vector does itself after an episode that ended by itself.
            self._reset_next, self.steps = False, 0
            observations, infos = self._try_env_reset()
            return observations, np.zeros(1), np.zeros(1, bool), np.zeros(1, bool), infos
        observations, rewards, terminateds, truncateds, infos = super()._try_env_step(actions)
        if not self._ongoing_episodes[0].is_reset:
            self.steps = 0
            return observations, rewards, terminateds, truncateds, infos
        self.steps += 1
        over = bool(terminateds[0] or truncateds[0])
        if not over and self.steps >= self.max_steps:
            truncateds, over, self._reset_next = np.ones(1, bool), True, True
            self.cut += 1
        self.episodes += over
        return observations, rewards, terminateds, truncateds, infos


class Evaluator:
    """Plays whole episodes with the algorithm's current policy."""

    def __init__(
        self,
        algorithm: Algorithm,
        *,
        kind: Kind,
        episodes: int,
        explore: bool,
        environment_config: Mapping[str, Any],
        seed: int,
        max_steps: int = 100_000,
        tolerate: float = 0.0,
    ) -> None:
        """Make the environment with `environment_config` over the training environment's own configuration.

        max_steps: of an episode, which is ended (truncated) there. tolerate: share of the episodes that may have
        numbers that are not finite, and are left out.
        """
        self.kind: Kind = kind
        self._algorithm = algorithm
        self._episodes = episodes
        self._explore = explore
        self._tolerate = tolerate
        self._seen: set[str] = set()
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
        self._runner = EvaluationRunner(config=config, worker_index=0)
        self._runner.kind, self._runner.max_steps, self._runner.tolerates = kind, max_steps, tolerate > 0

    def evaluate(self, iteration: int, deadline: float | None = None) -> Evaluation:
        """Play the episodes.

        Args:
            iteration: of the policy.
            deadline: of time.monotonic(), at which they are given up.

        Raises:
            OutOfTime: they were.
            NonFiniteNumber: a reward, observation or action is not finite, more often than is tolerated.
        """
        started = time.monotonic()
        self._runner.set_state(policy_state(self._algorithm))
        self._runner.begin(deadline)
        # Asked for episodes, the runner resets its environment with its seed first, every time.
        episodes = self._runner.sample(num_episodes=self._episodes, explore=self._explore)
        self._runner.get_metrics()
        found = [episode_figures([episode]) | performance.of_infos(episode.get_infos()) for episode in episodes]
        named = {f"{self.kind}/{name}": value for name, value in summarise(found).items()}
        named |= self._counted({NON_FINITE_EPISODES: self._left_out(episodes), CUT_EPISODES: self._runner.cut})
        return Evaluation(self.kind, iteration, named, episodes, time.monotonic() - started, found)

    def words(self) -> str:
        """What goes on, for people; asked from another thread."""
        return self._runner.words()

    def stop(self) -> None:
        self._runner.stop()

    def _counted(self, counts: dict[str, int]) -> dict[str, int]:
        """Those that are not 0, or once were not."""
        self._seen |= {name for name, count in counts.items() if count}
        return {f"{self.kind}/{name}": count for name, count in counts.items() if name in self._seen}

    def _left_out(self, episodes: list[SingleAgentEpisode]) -> int:
        """How many of the evaluation's episodes are missing; raises NonFiniteNumber when they are too many."""
        left_out = self._runner.episodes - len(episodes)
        if left_out and (not episodes or too_many(left_out, self._runner.episodes, self._tolerate)):
            raise NonFiniteNumber(
                f"{left_out} of {self._runner.episodes} episodes of the {self.kind} had a number that is not finite; "
                f"correct the environment, or raise {FIELD}"
            )
        return left_out


def policy_state(algorithm: Algorithm) -> dict[str, Any]:
    """Weights from the learner (those of APPO's and IMPALA's own module are stale) and the connectors' state."""
    component = f"{COMPONENT_LEARNER}/{COMPONENT_RL_MODULE}"
    learner = algorithm.learner_group.get_state(components=component, inference_only=True)
    state = {COMPONENT_RL_MODULE: learner[COMPONENT_LEARNER][COMPONENT_RL_MODULE]}
    runner = algorithm.env_runner
    if runner is not None:
        state |= runner.get_state(components=[COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_MODULE_TO_ENV_CONNECTOR])
    return state
