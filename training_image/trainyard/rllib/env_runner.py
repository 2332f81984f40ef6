"""RLlib's runner for one agent, without what changes no result, and with a look at every number that comes and goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.debug import update_global_seed_if_necessary
from ray.rllib.utils.spaces.space_utils import unbatch

from trainyard.environments.stuck import StuckStep
from trainyard.episodes import finite
from trainyard.episodes.copies import lent, own_info, own_observation
from trainyard.errors import NonFiniteNumber, root_cause
from trainyard.rllib import compat
from trainyard.rllib.episode_log import EpisodeLog
from trainyard.runs.seeds import Stream, seed_of

MOSTLY_LEFT_OUT = 10
"""A runner gives up after this many left-out episodes, if they are at least as many as all others; `tolerate` does not
change this."""

Results = tuple[Any, Any, Any, Any, list[dict[str, Any]]]


class EnvRunner(SingleAgentEnvRunner):
    """RLlib's runner, except that

    - an error in it reaches the driver: RLlib's own ends its process, and what the environment said is lost;
    - it leaves out what nobody sees: RLlib's sets every layer to evaluation mode and back for each step, and prepares
      to tell of each step where nobody listens;
    - what it keeps is its own: an environment may use its arrays and infos again;
    - a number that is not finite is named where it is met first, and ends the run or, where that is tolerated, its
      episode's use;
    - each environment has a stream of random numbers of its own (RLlib gives environment i of runner w the seed
      s + w + i, so that runners share streams).
    """

    tolerates = False
    """Whether an episode with a number that is not finite is left out instead of raising."""

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any) -> None:
        self._begun: Counter[int] = Counter()
        self._left_out: set[str] = set()
        self._left_out_so_far = 0
        super().__init__(config=config, **kwargs)
        index = self.worker_index or 0
        self.stuck = StuckStep(f"an environment of {self._name}")
        self.tolerates = any(isinstance(found, EpisodeLog) and found.tolerate > 0 for found in self._callbacks)
        if config.seed is not None:
            update_global_seed_if_necessary(config.framework_str, seed_of(config.seed, Stream.RUNNER, index))

    @property
    def _name(self) -> str:
        return f"env runner {self.worker_index}" if self.worker_index else "the driver's env runner"

    def make_module(self) -> None:
        super().make_module()
        if self.module is not None:
            self.module.eval()

    @cached_property
    def tells_of_steps(self) -> bool:
        """Whether anybody wants to be told of each step, as far as this Ray lets know."""
        if compat.why_not("env runner") is not None:
            return True
        own = RLlibCallback.on_episode_step
        return bool(self.config.callbacks_on_episode_step) or any(
            type(callback).on_episode_step is not own for callback in self._callbacks
        )

    def _make_on_episode_callback(self, which: str, *args: Any, **kwargs: Any) -> None:
        if which != "on_episode_step" or self.tells_of_steps:
            super()._make_on_episode_callback(which, *args, **kwargs)

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return func(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again, as what the environment raised
            raise root_cause(error) from None

    def sample(self, **kwargs: Any) -> list[SingleAgentEpisode]:
        """RLlib's, without the episodes that are left out."""
        with self.blaming_the_network():
            episodes = super().sample(**kwargs)
        if not self._left_out:
            return episodes
        kept = [episode for episode in episodes if not self.is_left_out(episode)]
        self.forget_ended()
        return kept

    @contextmanager
    def blaming_the_network(self) -> Iterator[None]:
        """An error for which the network's weights are the reason says so: torch's own words are of distributions."""
        try:
            yield
        except Exception as error:
            if isinstance(root_cause(error), NonFiniteNumber) or self.module is None:
                raise
            spoilt = [name for name, tensor in self.module.named_parameters() if not torch.isfinite(tensor).all()]
            if not spoilt:
                raise
            raise NonFiniteNumber(
                f"{self._name}: {len(spoilt)} of the network's parameters are not finite ({spoilt[0]} is the first), "
                f"so it gives no actions; {finite.LEARNER_REMEDY}"
            ) from error

    def is_left_out(self, episode: SingleAgentEpisode) -> bool:
        """Whether a number of this episode was not finite."""
        return episode.id_ in self._left_out

    def forget_ended(self) -> None:
        """Episodes that have ended come no more."""
        self._left_out &= {episode.id_ for episode in self._ongoing_episodes}

    def stop(self) -> None:
        self.stuck.end()
        super().stop()

    def _new_episode(self, env_index: int, episodes: list[Any] | None = None) -> None:
        self._begun[env_index] += 1
        super()._new_episode(env_index, episodes)

    def _try_env_reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        with self.stuck:
            observations, infos = super()._try_env_reset(seed=None if seed is None else self._seeds(), options=options)
        return self._checked_observations(self._own(observations)), [own_info(info) for info in infos]

    def _try_env_step(self, actions: Any) -> Any:
        self._check_actions(actions)
        with self.stuck:
            results = super()._try_env_step(lent(actions))
        # RLlib's word for a step that failed and is to be repeated is no tuple.
        return self.checked(results) if isinstance(results, tuple) else results

    def checked(self, results: Results) -> Results:
        """What the environments answered, as this runner's own, and finite."""
        observations, rewards, terminateds, truncateds, infos = results
        if not finite.is_finite(rewards):
            rewards = np.array(rewards)
            for index in np.flatnonzero(~np.isfinite(rewards)):
                self._meet(int(index), finite.first_fault(float(rewards[index]), "the reward"))
            rewards = finite.replaced(rewards)
        observations = self._checked_observations(self._own(observations))
        return observations, rewards, terminateds, truncateds, [own_info(info) for info in infos]

    def step_environments(self, actions: Any) -> Results:
        """One step of all environments, as RLlib's `sample` makes it, less its logs and its wrapping of errors."""
        self._check_actions(actions)
        with self.stuck:
            results = self.env.step(lent(actions))
        return self.checked(results)

    def _checked_observations(self, observations: Any) -> Any:
        if finite.is_finite(observations):
            return observations
        for index, observation in enumerate(unbatch(observations)):
            if not finite.is_finite(observation):
                self._meet(index, finite.first_fault(observation, "observation"))
        return finite.replaced(observations)

    def _check_actions(self, actions: Any) -> None:
        if finite.is_finite(actions):
            return
        index, action = next(
            (index, action) for index, action in enumerate(unbatch(actions)) if not finite.is_finite(action)
        )
        raise NonFiniteNumber(
            f"the policy gave {self._place(index)}: {finite.first_fault(action, 'action')}, though every observation "
            f"was finite; {finite.LEARNER_REMEDY}"
        )

    def _meet(self, env_index: int, what: str) -> None:
        """A number of one environment's running episode is not finite."""
        episode = self._ongoing_episodes[env_index]
        if self.is_left_out(episode):
            return
        place = self._place(env_index)
        if not self.tolerates:
            raise NonFiniteNumber(f"{place}: {what}; {finite.REMEDY}")
        self._left_out.add(episode.id_)
        self._left_out_so_far += 1
        if self._left_out_so_far >= MOSTLY_LEFT_OUT and 2 * self._left_out_so_far >= self._begun.total():
            raise NonFiniteNumber(
                f"{self._left_out_so_far} of {self._begun.total()} episodes of {self._name} had a number that is not "
                f"finite; the last in {place}: {what}; correct the environment"
            )

    def _place(self, env_index: int) -> str:
        episode = self._ongoing_episodes[env_index]
        step = f"step {episode.t + 1}" if episode.is_reset else "its reset"
        return f"environment {env_index} of {self._name}, episode {self._begun[env_index]}, {step}"

    def _seeds(self) -> int | list[int]:
        """A seed for each environment; one for all where a vectorised environment takes no more."""
        root, index = self.config.seed, self.worker_index or 0
        if self._has_copies or getattr(self.env.unwrapped, "takes_seeds", False):
            return [seed_of(root, Stream.ENVIRONMENT, index, number) for number in range(self.num_envs)]
        return seed_of(root, Stream.ENVIRONMENT, index)

    @cached_property
    def _has_copies(self) -> bool:
        """Whether the vector is gymnasium's, of single environments: its results are copies."""
        return isinstance(self.env.unwrapped, SyncVectorEnv | AsyncVectorEnv)

    def _own(self, observations: Any) -> Any:
        return observations if self._has_copies else own_observation(observations)
