"""DQN's and SAC's training step over a flat replay buffer.

The rounds are RLlib's: sample, store, draw a batch, update, set priorities, hand the weights to the runners. Several
rounds make one training_step() here (as many as an iteration needs), so that metrics are reduced once for all of
them; RLlib reduces and merges about 200 values per round, which takes longer than a small network's update.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn.dqn import DQN
from ray.rllib.algorithms.sac.sac import SAC
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_TRAINING_STEP_CALLS_PER_ITERATION,
    REPLAY_BUFFER_ADD_DATA_TIMER,
    REPLAY_BUFFER_RESULTS,
    REPLAY_BUFFER_SAMPLE_TIMER,
    REPLAY_BUFFER_UPDATE_PRIOS_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from trainyard.rllib.learners.column_update import ReplayUpdate
from trainyard.rllib.replay.buffer import FlatPrioritizedReplayBuffer, FlatReplayBuffer, NStep

if TYPE_CHECKING:
    from trainyard.rllib.replay.round_runner import RoundRunner

Result = TypeVar("Result")

BUFFERS: dict[str, type[FlatReplayBuffer]] = {
    "EpisodeReplayBuffer": FlatReplayBuffer,
    "PrioritizedEpisodeReplayBuffer": FlatPrioritizedReplayBuffer,
}
"""By what RLlib calls the buffer in replay_buffer_config.type."""


class FlatReplayDQN(DQN):
    """DQN whose replay buffer holds arrays."""

    local_replay_buffer: FlatReplayBuffer
    _weight_copies: _WeightCopies | None = None

    def _create_local_replay_buffer_if_necessary(self, config: Mapping[str, Any]) -> FlatReplayBuffer:
        given = dict(config["replay_buffer_config"])
        buffer_class = BUFFERS[given.pop("type")]
        return buffer_class(
            **given,
            seed=self.config.seed,
            metrics_num_episodes_for_smoothing=self.config.metrics_num_episodes_for_smoothing,
        )

    def training_step(self) -> None:
        """Rounds of sampling and training until the iteration has its steps."""
        clock, rounds = _Clock(), 0
        sampled, goal = 0, _steps_per_call(self.config)
        lifetime = int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))
        trained = False
        runner = self._round_runner()
        while sampled < goal:
            store, train = samples_and_updates(self.config)
            fresh = sum(self._sample_and_store(clock, runner) for _ in range(store))
            if not fresh:
                # No runner answered; RLlib decides what becomes of that.
                break
            sampled += fresh
            rounds += 1
            if self._may_train(lifetime + sampled):
                for number in range(train):
                    log = sampled >= goal and number == train - 1
                    self._replay_and_update(lifetime + sampled, clock, log=log)
                with clock.measure(SYNCH_WORKER_WEIGHTS_TIMER):
                    self._hand_over_weights()
                trained = True
        if runner is not None:
            runner.end_rounds()
        self._take_results(trained)
        clock.log(self.metrics)
        # RLlib counts this call itself.
        self.metrics.log_value(NUM_TRAINING_STEP_CALLS_PER_ITERATION, rounds - 1, reduce="sum")

    def _round_runner(self) -> RoundRunner | None:
        """The runner of this process where it is the only one and plays rounds; else sample() is asked."""
        runner = self.env_runner
        if self.env_runner_group.num_remote_workers():
            return None
        return runner if getattr(runner, "plays_rounds", False) else None

    def _sample_and_store(self, clock: _Clock, runner: RoundRunner | None) -> int:
        """One round of all runners; returns the steps that they took."""
        if runner is not None:
            with clock.measure(ENV_RUNNER_SAMPLING_TIMER):
                chunks = runner.play_round()
            with clock.measure(REPLAY_BUFFER_ADD_DATA_TIMER):
                self.local_replay_buffer.add_chunks(chunks)
            return sum(len(chunk) for chunk in chunks)
        with clock.measure(ENV_RUNNER_SAMPLING_TIMER):
            episodes = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                concat=True,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
            )
        with clock.measure(REPLAY_BUFFER_ADD_DATA_TIMER):
            self.local_replay_buffer.add(episodes)
        return sum(len(episode) for episode in episodes)

    def _may_train(self, lifetime_steps: int) -> bool:
        if lifetime_steps < self.config.num_steps_sampled_before_learning_starts:
            return False
        # A buffer that refills after a restart may hold no transition over n_step steps yet.
        buffer = self.local_replay_buffer
        return len(buffer) >= self.config.total_train_batch_size or buffer.can_sample(_n_step(self.config))

    def _replay_and_update(self, lifetime_steps: int, clock: _Clock, *, log: bool) -> None:
        config, buffer = self.config, self.local_replay_buffer
        with clock.measure(REPLAY_BUFFER_SAMPLE_TIMER):
            columns = buffer.sample(
                config.total_train_batch_size,
                n_step=_n_step(config),
                gamma=config.gamma,
                beta=config.replay_buffer_config.get("beta"),
            )
        with clock.measure(LEARNER_UPDATE_TIMER):
            timesteps = {NUM_ENV_STEPS_SAMPLED_LIFETIME: lifetime_steps}
            [td_errors] = self._with_learner(
                lambda learner: learner.update_on_columns(columns, timesteps=timesteps, log=log)
            )
        if isinstance(buffer, FlatPrioritizedReplayBuffer):
            with clock.measure(REPLAY_BUFFER_UPDATE_PRIOS_TIMER):
                buffer.update_priorities(td_errors)

    def _hand_over_weights(self) -> None:
        runner = self.env_runner
        if runner is None or self.env_runner_group.num_remote_workers() or not self.learner_group.is_local:
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group,
                policies={DEFAULT_MODULE_ID},
                global_vars=None,
                inference_only=True,
            )
            return
        # In one process, RLlib's way over numpy and the object store is a copy of tensors.
        [learner] = self._with_learner(lambda learner: learner)
        if self._weight_copies is None or self._weight_copies.target is not runner.module:
            self._weight_copies = _WeightCopies(learner.module[DEFAULT_MODULE_ID], runner.module)
        self._weight_copies.make()
        runner._weights_seq_no = learner._weights_seq_no

    def _take_results(self, trained: bool) -> None:
        """Reduce what runners, buffer and Learner have logged."""
        group = self.env_runner_group
        if group.num_remote_workers():
            results = group.foreach_env_runner(lambda runner: runner.get_metrics(), local_env_runner=False)
        else:
            results = [group.local_env_runner.get_metrics()]
        self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        self.metrics.aggregate([self.local_replay_buffer.get_metrics()], key=REPLAY_BUFFER_RESULTS)
        if trained:
            results = self._with_learner(lambda learner: learner.replay_results())
            self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _with_learner(self, call: Callable[[ReplayUpdate], Result]) -> list[Result]:
        """Call a function with the Learner, wherever it is; its errors are raised here."""
        results = list(self.learner_group.foreach_learner(call))
        for result in results:
            if not result.ok:
                # A remote Learner's error is returned in place of its result.
                raise result.get()
        return [result.get() for result in results]


class FlatReplaySAC(FlatReplayDQN, SAC):
    """SAC whose replay buffer holds arrays."""


class _WeightCopies:
    """From a module to another that has the same weights or fewer, in one call.

    Loading a state copies into these tensors, so that the pairs stay those of the two modules.
    """

    def __init__(self, source: torch.nn.Module, target: torch.nn.Module) -> None:
        self.target = target
        given = source.state_dict()
        own = target.state_dict()
        self._to = list(own.values())
        self._from = [given[name] for name in own]

    @torch.no_grad()
    def make(self) -> None:
        torch._foreach_copy_(self._to, self._from)


def samples_and_updates(config: AlgorithmConfig) -> tuple[int, int]:
    """How often a round samples, and how often it then updates, so that `training_intensity` is kept.

    RLlib counts the runner of the driver among those that sample, which it does not where there are others: with one of
    these, every sampled step is replayed twice as often as was asked.
    """
    if not config.training_intensity:
        return 1, 1
    sampled = config.get_rollout_fragment_length() * config.num_envs_per_env_runner * max(config.num_env_runners, 1)
    updates = config.training_intensity * sampled / config.total_train_batch_size
    return (round(1 / updates), 1) if updates < 1 else (1, round(updates))


def _n_step(config: AlgorithmConfig) -> NStep:
    return config.n_step if isinstance(config.n_step, int) else tuple(config.n_step)


def _steps_per_call(config: AlgorithmConfig) -> int:
    """Steps that an iteration must have, where nothing else says when it ends; else one round's."""
    if config.min_time_s_per_iteration or config.min_train_timesteps_per_iteration:
        return 1
    return config.min_sample_timesteps_per_iteration or 1


class _Clock:
    """Seconds per phase over many rounds, logged as the mean of one under RLlib's names."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._times: dict[str, int] = {}

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start
        self._times[phase] = self._times.get(phase, 0) + 1

    def log(self, metrics: MetricsLogger) -> None:
        for phase, seconds in self._seconds.items():
            metrics.log_value((TIMERS, phase), seconds / self._times[phase], reduce="ema")
