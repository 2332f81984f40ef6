"""The runner of a policy that is updated after every few steps: DQN's and SAC's in the driver's process.

RLlib's sample() ends every episode's part, begins the next one, checks both and logs some 20 metrics per call, which
for a call of one step takes longer than the environment and the policy together. RoundRunner plays the same rounds,
one after the other, and does the rest of sample() once for all of them.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core.columns import Columns
from ray.rllib.env.env_runner import NUM_ENV_STEP_FAILURES_LIFETIME
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics import (
    ENV_STEP_TIMER,
    RLMODULE_INFERENCE_TIMER,
    SAMPLE_TIMER,
    TIME_BETWEEN_SAMPLING,
    WEIGHTS_SEQ_NO,
)

from trainyard.rllib.connectors import EnvironmentActions, StackObservations
from trainyard.rllib.env_runner import EnvRunner
from trainyard.rllib.replay.transitions import Chunk


class RoundRunner(EnvRunner):
    """A runner whose rounds are RLlib's sample() less the book-keeping, which `end_rounds` does for all of them.

    Between the two, episodes are in parts of many rounds instead of one; steps, callbacks and sums are the same.
    """

    _ongoing_episodes: list[Any]
    _played: _Played | None = None

    @property
    def plays_rounds(self) -> bool:
        """Whether `play_round` does what sample() would do here."""
        config = self.config
        return (
            _pieces(self._env_to_module) == [StackObservations]
            and _pieces(self._module_to_env) == [EnvironmentActions]
            and config.batch_mode == "truncate_episodes"
            and not config.restart_failed_sub_environments
            and getattr(self, "_env_runner_state_server", None) is None
            and str(self._device) == "cpu"
            and not self.module.is_stateful()
        )

    def play_round(self) -> list[Chunk]:
        """Play what a sample() would play; returns the steps in sample()'s order: ended episodes, then the others."""
        if self._needs_initial_reset:
            self._reset_envs_and_episodes(self.config.explore)
        played = self._played
        if played is None:
            played = self._played = _Played(self)
        start = time.perf_counter()
        if played.ended_at:
            played.between += start - played.ended_at
        played.rounds += 1
        played.weights = self._weights_seq_no
        steps = 0
        ended: list[Chunk] = []
        first = [len(episode) for episode in self._ongoing_episodes]
        with self.blaming_the_network():
            while steps < played.steps_per_round:
                steps += self._step(steps, played, first, ended)
        played.steps += steps
        going_on = (
            _chunk(episode, begin)
            for episode, begin in zip(self._ongoing_episodes, first, strict=True)
            if episode.t and not self.is_left_out(episode)
        )
        chunks = [*ended, *going_on]
        played.ended_at = time.perf_counter()
        played.playing += played.ended_at - start
        return chunks

    def _step(self, before: int, played: _Played, first: list[int], ended: list[Chunk]) -> int:
        """Step all environments once; returns how many took a step (the others began an episode)."""
        observations, rewards, terminateds, truncateds, infos, actions, outputs = self._act(before, played)
        stepped = 0
        episodes = self._ongoing_episodes
        # As in RLlib, the policy's next input is taken before an ended episode makes room for the next one.
        self._cached_to_module = {Columns.OBS: _tensor(observations)}
        begun = []
        for index, episode in enumerate(episodes):
            if not episode.is_reset:
                episode.add_env_reset(observation=observations[index], infos=infos[index])
                begun.append(index)
                continue
            stepped += 1
            extra = {name: values[index] for name, values in outputs.items()}
            extra[WEIGHTS_SEQ_NO] = self._weights_seq_no
            episode.add_env_step(
                observation=observations[index],
                action=actions[index],
                reward=rewards[index],
                infos=infos[index],
                terminated=terminateds[index],
                truncated=truncateds[index],
                extra_model_outputs=extra,
            )
        for index, episode in enumerate(episodes):
            if index in begun:
                self._make_on_episode_callback("on_episode_start", index, episodes)
            elif self.tells_of_steps:
                self._make_on_episode_callback("on_episode_step", index, episodes)
            if episode.is_done:
                self._make_on_episode_callback("on_episode_end", index, episodes)
                if not self.is_left_out(episode):
                    ended.append(_chunk(episode, first[index]))
                first[index] = 0
                played.done.append(episode)
                self._new_episode(index, episodes)
        return stepped

    def _act(self, before: int, played: _Played) -> tuple[Any, ...]:
        """The policy's actions, and what the environments answer."""
        module, explore = self.module, self.config.explore
        start = time.perf_counter()
        with torch.no_grad():
            if explore:
                runners = self.config.num_env_runners or 1
                at = (self.num_env_steps_sampled_lifetime // runners + before) * runners
                # What forward_exploration() calls once all layers are in evaluation mode, in which they stay here.
                outputs = module._forward_exploration(self._cached_to_module, t=at)
            else:
                outputs = module._forward_inference(self._cached_to_module)
        decided = time.perf_counter()
        outputs = played.draw(rl_module=module, batch=outputs, episodes=self._ongoing_episodes, explore=explore)
        actions = outputs.pop(Columns.ACTIONS)
        stepping = time.perf_counter()
        try:
            results = self.step_environments(outputs.pop(Columns.ACTIONS_FOR_ENV, actions))
        except Exception as error:
            self.metrics.log_value(NUM_ENV_STEP_FAILURES_LIFETIME, 1, reduce="lifetime_sum")
            raise RuntimeError from error
        played.deciding += decided - start
        played.stepping += time.perf_counter() - stepping
        played.vector_steps += 1
        return *results, actions, outputs

    def end_rounds(self) -> None:
        """Do what every sample() does at its end, once for all rounds since the last call."""
        played, self._played = self._played, None
        if played is None:
            return
        samples = [episode.to_numpy() if self.episodes_to_numpy else episode for episode in played.done]
        self._done_episodes_for_metrics.extend(samples)
        horizon = self.config.episode_lookback_horizon
        following = [episode.cut(len_lookback_buffer=horizon) for episode in self._ongoing_episodes]
        for episode in self._ongoing_episodes:
            # One that has only begun has nothing to hand on.
            if episode.t:
                episode.validate()
                self._ongoing_episodes_for_metrics[episode.id_].append(episode)
                samples.append(episode.to_numpy() if self.episodes_to_numpy else episode)
        self._ongoing_episodes = following
        self._log(played)
        make_callback(
            "on_sample_end",
            callbacks_objects=self._callbacks,
            callbacks_functions=self.config.callbacks_on_sample_end,
            kwargs={"env_runner": self, "metrics_logger": self.metrics, "samples": samples},
        )
        self.forget_ended()

    def _log(self, played: _Played) -> None:
        log = self.metrics.log_value
        log(WEIGHTS_SEQ_NO, played.weights, window=1)
        for name, seconds, times in (
            (TIME_BETWEEN_SAMPLING, played.between, played.rounds - 1),
            (SAMPLE_TIMER, played.playing, played.rounds),
            (RLMODULE_INFERENCE_TIMER, played.deciding, played.vector_steps),
            (ENV_STEP_TIMER, played.stepping, played.vector_steps),
        ):
            if times:
                log(name, seconds / times, reduce="ema")
        self._log_env_steps(metric=self._metrics_num_try_env_step, num_steps=played.vector_steps)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=played.steps)
        self._increase_sampled_metrics(played.steps, len(played.done))


class _Played:
    """What was played since the last end of rounds."""

    def __init__(self, runner: RoundRunner) -> None:
        [self.draw] = runner._module_to_env.connectors
        self.steps_per_round = runner.config.get_rollout_fragment_length(runner.worker_index) * runner.num_envs
        self.rounds = self.vector_steps = self.steps = self.weights = 0
        self.between = self.playing = self.deciding = self.stepping = self.ended_at = 0.0
        self.done: list[SingleAgentEpisode] = []


def _pieces(pipeline: Any) -> list[type]:
    return [type(piece) for piece in pipeline.connectors]


def _tensor(observations: NDArray[Any]) -> torch.Tensor:
    """As StackObservations makes it of the same observations, in memory of its own."""
    tensor = torch.from_numpy(np.array(observations))
    return tensor.float() if tensor.dtype == torch.float64 else tensor


def _chunk(episode: SingleAgentEpisode, begin: int) -> Chunk:
    """The steps of an episode's part from `begin` on."""
    observations, actions, rewards = episode.observations, episode.actions, episode.rewards
    return Chunk(
        episode.id_,
        np.asarray(observations.data[observations.lookback + begin :]),
        np.asarray(actions.data[actions.lookback + begin :]),
        np.asarray(rewards.data[rewards.lookback + begin :], np.float64),
        episode.is_terminated,
        episode.is_truncated,
    )
