"""PPO that learns from whole episodes as they arrive, as an RLlib algorithm.

RLlib's module, loss, Learner, checkpoints and metric names; only `training_step` (where the episodes come from) and
the advantages (the correction for staleness) are ours. RLlib's PPO loss is used as it is: it clips against
`action_dist_inputs` and `action_logp` of the batch, which are the proximal policy's here, and is positively
homogeneous in the advantages, so that multiplying these by the importance weight gives decoupled PPO's objective.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided
from ray.rllib.algorithms.ppo.ppo import PPO, PPOConfig
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.metrics import (
    ALL_MODULES,
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_TRAINED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)
from ray.tune.execution.placement_groups import PlacementGroupFactory

from trainyard.episodes.records import Settings
from trainyard.metrics import EPISODES, NON_FINITE
from trainyard.rllib.asynchronous.collector import CollectorSettings, EpisodeCollector
from trainyard.rllib.asynchronous.correction import Corrected, correct
from trainyard.rllib.asynchronous.episodes import Episode
from trainyard.rllib.asynchronous.export import ActionRules, ModuleWeights, exploration_weights
from trainyard.rllib.asynchronous.policy import PolicyWeights
from trainyard.rllib.asynchronous.results import (
    ASYNCHRONOUS,
    DISCARDED,
    POLICY_LAG_MAX,
    POLICY_LAG_MEAN,
    REPLACED,
    RUNNER_MEMORY_MAX,
    RUNNER_MEMORY_MEAN,
    RUNNERS,
)

# An episode is on the way while, on average, (environments / episodes per update) updates happen. Four times that
# leaves room for episodes much longer than the mean.
LAG_FACTOR = 4
MIN_LAG = 4
SLOW_STEP = 30.0
"""Seconds in one reset or step that are worth a word while everybody waits."""


def default_max_policy_lag(environments: int, episodes_per_update: int) -> int:
    """Updates that may happen between an episode's weights and its use before it is discarded."""
    return max(MIN_LAG, LAG_FACTOR * math.ceil(environments / episodes_per_update))


class AsynchronousPPOConfig(PPOConfig):
    """PPOConfig plus where the episodes come from."""

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or AsynchronousPPO)
        self.make_env: Callable[[], gym.Env] | None = None
        self.episode_runners = 1
        self.envs_per_episode_runner = 1
        self.num_cpus_per_episode_runner = 1.0
        self.memory_per_episode_runner: int | None = None
        self.episodes_per_update = 20
        self.max_policy_lag: int | None = None
        self.runner_stall_s = 600.0
        self.recording: Settings | None = None
        self.tolerate_non_finite = 0.0
        # The driver's own env runner only names the spaces and keeps the policy for evaluation.
        self.num_env_runners = 0
        self.num_envs_per_env_runner = 1

    def asynchronous(
        self,
        *,
        make_env: Callable[[], gym.Env] = NotProvided,
        episode_runners: int = NotProvided,
        envs_per_episode_runner: int = NotProvided,
        num_cpus_per_episode_runner: float = NotProvided,
        memory_per_episode_runner: int | None = NotProvided,
        episodes_per_update: int = NotProvided,
        max_policy_lag: int | None = NotProvided,
        runner_stall_s: float = NotProvided,
        recording: Settings | None = NotProvided,
        tolerate_non_finite: float = NotProvided,
    ) -> AsynchronousPPOConfig:
        """Sets where episodes come from.

        make_env: builds one environment, in the runners (picklable).
        episodes_per_update: finished episodes that make one update, which is one training iteration.
        max_policy_lag: updates between an episode's weights and its use beyond which it is discarded; None: see
            default_max_policy_lag.
        runner_stall_s: seconds in one reset or step after which a runner is replaced.
        recording: what a recording wants of the episodes; None without one.
        tolerate_non_finite: share of the episodes that may have numbers that are not finite, and are left out.
        """
        given = {name: value for name, value in locals().items() if name != "self" and value is not NotProvided}
        for name, value in given.items():
            setattr(self, name, value)
        return self

    def validate(self) -> None:
        super().validate()
        for name in ("episode_runners", "envs_per_episode_runner", "episodes_per_update"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_policy_lag is not None and self.max_policy_lag < 0:
            raise ValueError(f"max_policy_lag is {self.max_policy_lag}; it must be 0 or more, or None")
        if self.num_env_runners != 0:
            raise ValueError("num_env_runners is not used with asynchronous collection; set episode_runners")

    @property
    def lag_limit(self) -> int:
        if self.max_policy_lag is not None:
            return self.max_policy_lag
        return default_max_policy_lag(self.episode_runners * self.envs_per_episode_runner, self.episodes_per_update)


class AsynchronousPPO(PPO):
    """One training_step: the next `episodes_per_update` episodes, whoever finished them, and one update."""

    config: AsynchronousPPOConfig

    @classmethod
    def get_default_config(cls) -> AsynchronousPPOConfig:
        return AsynchronousPPOConfig()

    @classmethod
    def default_resource_request(cls, config: AlgorithmConfig | dict[str, Any]) -> PlacementGroupFactory:
        """RLlib's request plus one bundle for each runner."""
        request = super().default_resource_request(config)
        full = cls.get_default_config().update_from_dict(config)
        runner = {"CPU": full.num_cpus_per_episode_runner}
        if full.memory_per_episode_runner:
            runner["memory"] = full.memory_per_episode_runner
        return PlacementGroupFactory(request.bundles + [runner] * full.episode_runners, strategy=request.strategy)

    def setup(self, config: AlgorithmConfig) -> None:
        # First of all, so that the runners' processes start while this one builds the Learner.
        self.collector = EpisodeCollector(config.make_env or _environment_of(config), _collector_settings(config))
        self._updates = 0
        self._discarded = 0
        self._left_out = 0
        self._published: int | None = None
        # Told of every episode that arrives, those that are too stale to learn from included.
        self.listeners: list[Callable[[list[Episode]], None]] = []
        # Called about once a second while episodes are waited for; what it raises ends the wait.
        self.on_wait: Callable[[str], None] = lambda words: None
        super().setup(config)
        self._rules = ActionRules.of(self.config)
        spec = self.config.get_multi_rl_module_spec(
            spaces=self.env_runner.get_spaces() if self.env_runner else None, inference_only=False
        )
        self._module_spec = spec.rl_module_specs[DEFAULT_MODULE_ID]
        self._module: RLModule = self._module_spec.build()
        # Not published: a checkpoint may be restored before the first step, and runners would play with random weights.
        self._export()

    def training_step(self) -> None:
        if self._published is None:
            self._publish()
        episodes, lags = self._fresh_episodes()
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            batch = self._train_batch(episodes)
            results = self.learner_group.update(
                batch=batch,
                timesteps={
                    NUM_ENV_STEPS_SAMPLED_LIFETIME: self._lifetime(ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME),
                    NUM_MODULE_STEPS_TRAINED_LIFETIME: self._lifetime(
                        LEARNER_RESULTS, ALL_MODULES, NUM_MODULE_STEPS_TRAINED_LIFETIME
                    ),
                },
                num_epochs=self.config.num_epochs,
                minibatch_size=self.config.minibatch_size,
                shuffle_batch_per_epoch=self.config.shuffle_batch_per_epoch,
                num_total_minibatches=self._minibatches_per_learner(len(batch)),
            )
            self.metrics.aggregate(results, key=LEARNER_RESULTS)
        self._updates += 1
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self._publish()
        self._log_asynchronous(lags)

    def cleanup(self) -> None:
        self.collector.close()
        super().cleanup()

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        own = {"updates": self._updates, "discarded": self._discarded}
        return {**super().get_state(*args, **kwargs), ASYNCHRONOUS: own}

    def set_state(self, state: dict[str, Any]) -> None:
        own = state.pop(ASYNCHRONOUS, None)
        super().set_state(state)
        if own:
            # Those of a checkpoint of an earlier version are missing.
            self._discarded = own.get("discarded", self._discarded)
        # Weights of an earlier attempt must not look older than those that runners have already.
        self._updates = max(self._updates + 1, own["updates"] if own else 0)
        self._take_over_weights()

    def restore_from_path(self, *args: Any, **kwargs: Any) -> None:
        super().restore_from_path(*args, **kwargs)
        self._updates += 1
        self._take_over_weights()

    def _take_over_weights(self) -> None:
        """Runners that play already are given the restored weights; others get them with the first step."""
        if self._published is None:
            self._export()
        else:
            self._publish()

    def _fresh_episodes(self) -> tuple[list[Episode], list[int]]:
        """Episodes for one update and each one's lag; those that are too stale are counted and left out."""
        wanted = self.config.episodes_per_update
        episodes: list[Episode] = []
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            while len(episodes) < wanted:
                arrived = self.collector.gather(wanted - len(episodes), partial(self._wait, len(episodes), wanted))
                self._log_episodes(arrived)
                for listener in self.listeners:
                    listener(arrived)
                fresh = [e for e in arrived if self._updates - e.policy_version <= self.config.lag_limit]
                self._discarded += len(arrived) - len(fresh)
                episodes += fresh
        return episodes, [self._updates - episode.policy_version for episode in episodes]

    def _wait(self, before: int, wanted: int, there: int) -> None:
        slowest = self.collector.status().slowest
        slow = f"; an environment has been in one reset or step for {slowest:.0f} s" if slowest >= SLOW_STEP else ""
        self.on_wait(f"{before + there} of {wanted} episodes of this update are finished{slow}")

    def _train_batch(self, episodes: list[Episode]) -> MultiAgentBatch:
        observations = _as_tensor(np.concatenate([episode.observations[:-1] for episode in episodes]))
        final = _as_tensor(np.stack([episode.observations[-1] for episode in episodes]))
        actions = torch.from_numpy(np.concatenate([episode.actions for episode in episodes]))
        with torch.no_grad():
            output = self._module.forward_train({Columns.OBS: observations})
            inputs = output[Columns.ACTION_DIST_INPUTS]
            distribution = self._module.get_train_action_dist_cls().from_logits(inputs)
            log_probabilities = distribution.logp(actions)
            values = self._module.compute_values({Columns.OBS: observations}, embeddings=output.get(Columns.EMBEDDINGS))
            final_values = self._module.compute_values({Columns.OBS: final}).numpy()
        behaviour = np.concatenate([episode.log_probabilities for episode in episodes])
        corrected = correct(
            lengths=np.array([len(episode) for episode in episodes]),
            rewards=np.concatenate([episode.rewards for episode in episodes]),
            values=values.numpy(),
            final_values=np.where([episode.terminated for episode in episodes], 0.0, final_values),
            log_ratios=log_probabilities.numpy() - behaviour,
            discount=self.config.gamma,
            trace_decay=self.config.lambda_,
        )
        columns = {
            Columns.OBS: observations,
            Columns.ACTIONS: actions,
            Columns.ACTION_DIST_INPUTS: inputs,
            Columns.ACTION_LOGP: log_probabilities,
            Postprocessing.ADVANTAGES: torch.from_numpy(weighted_advantages(corrected)),
            Postprocessing.VALUE_TARGETS: torch.from_numpy(corrected.value_targets.astype(np.float32)),
        }
        steps = len(behaviour)
        return MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=steps)

    def _minibatches_per_learner(self, rows: int) -> int:
        """How many minibatches each of several learners makes of its part of the rows; 0: as many as the rows make.

        Learners wait for each other in every minibatch, and their parts may differ by a row. RLlib says this number
        for episodes only, not for batches.
        """
        config = self.config
        if config.num_learners < 2 or config.minibatch_size is None:
            return 0
        return max(1, config.num_epochs * rows // (config.num_learners * config.minibatch_size))

    def _publish(self) -> None:
        """Takes the Learner's weights over and makes them what runners ask for."""
        self.collector.publish(self._export())
        self._published = self._updates

    def _export(self) -> PolicyWeights | ModuleWeights:
        """Takes the Learner's weights over into the driver's module and its env runner; returns the runners' form."""
        weights = self.learner_group.get_weights()
        self._module.set_state(weights[DEFAULT_MODULE_ID])
        if self.env_runner is not None:
            self.env_runner.set_state({COMPONENT_RL_MODULE: weights})
        exported, self.not_numpy = exploration_weights(self._module, self._module_spec, self._updates, self._rules)
        return exported

    def _lifetime(self, *key: str) -> int:
        return self.metrics.peek(key, default=0)

    def _log_episodes(self, episodes: list[Episode]) -> None:
        def log(name: str | tuple[str, ...], value: Any, **kwargs: Any) -> None:
            path = (name,) if isinstance(name, str) else name
            self.metrics.log_value((ENV_RUNNER_RESULTS, *path), value, **kwargs)

        window = {"window": self.config.metrics_num_episodes_for_smoothing}
        for episode in episodes:
            log(EPISODE_RETURN_MEAN, episode.total_reward, **window)
            log(EPISODE_RETURN_MIN, episode.total_reward, reduce="min", **window)
            log(EPISODE_RETURN_MAX, episode.total_reward, reduce="max", **window)
            log(EPISODE_LEN_MEAN, len(episode), **window)
            figures = {"return": episode.total_reward, "length": len(episode), **episode.figures}
            log(EPISODES, figures, reduce="item_series")
        left_out = self.collector.status().left_out
        for _ in range(left_out - self._left_out):
            log(EPISODES, {NON_FINITE: 1.0}, reduce="item_series")
        self._left_out = left_out
        steps, count = sum(len(episode) for episode in episodes), len(episodes)
        log(NUM_EPISODES, count, reduce="sum")
        log(NUM_EPISODES_LIFETIME, count, reduce="lifetime_sum")
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        log((NUM_AGENT_STEPS_SAMPLED, DEFAULT_AGENT_ID), steps, reduce="sum")
        log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID), steps, reduce="lifetime_sum")

    def _log_asynchronous(self, lags: list[int]) -> None:
        status = self.collector.status()
        figures: dict[str, float] = {
            POLICY_LAG_MEAN: float(np.mean(lags)),
            POLICY_LAG_MAX: max(lags),
            DISCARDED: self._discarded,
            REPLACED: status.replaced,
            RUNNERS: status.answering,
        }
        if status.memory_bytes:
            figures[RUNNER_MEMORY_MEAN] = float(np.mean(status.memory_bytes))
            figures[RUNNER_MEMORY_MAX] = max(status.memory_bytes)
        self.metrics.log_dict(figures, key=ASYNCHRONOUS, window=1)


def weighted_advantages(corrected: Corrected) -> np.ndarray:
    """Standardised as RLlib's GAE connector does, then weighted by each step's importance; float32."""
    advantages = corrected.advantages
    standardised = (advantages - advantages.mean()) / max(1e-4, float(advantages.std()))
    return (standardised * corrected.weights).astype(np.float32)


def _as_tensor(observations: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(observations, dtype=np.float32))


def _collector_settings(config: AsynchronousPPOConfig) -> CollectorSettings:
    return CollectorSettings(
        runners=config.episode_runners,
        envs_per_runner=config.envs_per_episode_runner,
        seed=config.seed or 0,
        cpus_per_runner=config.num_cpus_per_episode_runner,
        memory_per_runner=config.memory_per_episode_runner,
        stall=config.runner_stall_s,
        recording=config.recording,
        tolerate=config.tolerate_non_finite,
    )


def _environment_of(config: AlgorithmConfig) -> Callable[[], gym.Env]:
    env, env_config = config.env, dict(config.env_config)
    if not isinstance(env, str) or env not in gym.registry:
        raise ValueError(f"environment {env!r} is no Gymnasium id: give asynchronous(make_env=...) what builds it")
    return lambda: gym.make(env, **env_config)
