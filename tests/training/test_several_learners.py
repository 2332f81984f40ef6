"""Several lean Learners exchange gradients as RLlib's do: same episodes in, same results and parameters out."""

from __future__ import annotations

import copy
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from tests.episodes import episodes_of, pendulum_steps
from tests.learner_results import assert_same_results, lean_learner

STEPS = {"num_env_steps_sampled_lifetime": 300}
SHUFFLED = {"num_epochs": 3, "minibatch_size": 32, "shuffle_batch_per_epoch": True}


def two(config_class, env: str = "CartPole-v1", **training):
    config = config_class().environment(env).debugging(seed=7).training(**training)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[16, 16]))
    config.learners(num_learners=2, num_cpus_per_learner=0.5)
    config.training(learner_class=config.get_default_learner_class())
    return config


def module_spec(config):
    env = gym.make(config.env)
    return config.get_multi_rl_module_spec(spaces={"default_policy": (env.observation_space, env.action_space)})


@pytest.fixture(scope="module")
def group(ray_session):
    """Two processes whose Learners exchange gradients: lean ones of PPO."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    config = two(PPOConfig, lr=0.003)
    config.training(learner_class=lean_learner(config.learner_class))
    made = LearnerGroup(config=config, module_spec=module_spec(config))
    yield made
    made.shutdown()
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def seed_everything(seed: int) -> None:
    np.random.seed(seed)
    torch.manual_seed(seed)


def compiled(results) -> dict:
    return MetricsLogger.peek_results(results, compile=True)


def updated(group: LearnerGroup, learner_class, config, shards, **kwargs) -> list:
    """Two updates of two new Learners, each on its shard: of each Learner the results and its parameters."""
    spec = module_spec(config)

    def update_here(_):
        shard = shards[torch.distributed.get_rank()]
        learner = learner_class(config=config.copy(copy_frozen=False), module_spec=copy.deepcopy(spec))
        learner.build()
        # The threads of APPO and IMPALA call RLlib's update of any Learner; the other Learners have their own.
        update = Learner.update if issubclass(learner_class, THREADED) else learner_class.update
        try:
            results = []
            for seed in (1, 2):
                seed_everything(seed)
                data = TrainingData(episodes=copy.deepcopy(shard))
                results.append(compiled(update(learner, training_data=data, timesteps=dict(STEPS), **kwargs)))
            return results, learner.module.get_state()["default_policy"]
        finally:
            learner.shutdown()

    found = list(group.foreach_learner(update_here))
    errors = [result.get() for result in found if not result.ok]
    if errors:
        raise errors[0]
    return [result.get() for result in found]


THREADED = tuple(two(config_class).learner_class for config_class in (APPOConfig, IMPALAConfig))


def assert_same(stock: list, lean: list) -> None:
    for (expected, weights), (actual, own) in zip(stock, lean, strict=True):
        for one, other in zip(expected, actual, strict=True):
            assert_same_results(one, other)
        assert_same_weights(weights, own)
    # The gradients were exchanged: both Learners, with different episodes, have the same parameters.
    assert_same_weights(lean[0][1], lean[1][1], tolerance=0)


def assert_same_weights(expected: dict, actual: dict, tolerance: float = 2e-5) -> None:
    assert expected.keys() == actual.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def test_an_update_of_a_group_of_lean_learners_is_that_of_rllibs(group):
    episodes = episodes_of([40, 73, 11, 91])
    sharded = TrainingData(episodes=copy.deepcopy(episodes)).shard(2, len_lookback_buffer=1, **SHUFFLED)
    shards, minibatches = [data.episodes for data, _ in sharded], sharded[0][1]["num_total_minibatches"]
    assert [sum(map(len, shard)) for shard in shards] == [107, 108]
    assert minibatches == 10
    config = two(PPOConfig, lr=0.003)
    expected = updated(group, config.learner_class, config, shards, num_total_minibatches=minibatches, **SHUFFLED)
    results = []
    for seed in (1, 2):
        list(group.foreach_learner(lambda _, seed=seed: seed_everything(seed)))
        found = group.update(episodes=copy.deepcopy(episodes), timesteps=dict(STEPS), **SHUFFLED)
        results.append([compiled(result) for result in found])
    weights = group.get_weights()["default_policy"]
    for (theirs, their_weights), *own in zip(expected, *results, strict=True):
        assert_same_results(theirs[0], own[0])
        assert_same_results(theirs[1], own[1])
        assert_same_weights(their_weights, weights)


@pytest.mark.parametrize(
    ("training", "kwargs"),
    [
        pytest.param({}, {**SHUFFLED, "num_total_minibatches": 7}, id="shuffled"),
        pytest.param({}, {"num_epochs": 2, "minibatch_size": 25, "num_total_minibatches": 12}, id="in order"),
        pytest.param({}, {}, id="whole batch, once"),
        pytest.param({}, {"num_epochs": 3}, id="whole batch, three times"),
        pytest.param(
            {"grad_clip": 0.5, "grad_clip_by": "global_norm", "entropy_coeff": 0.01, "lr": [[0, 0.01], [1000, 0.0001]]},
            {**SHUFFLED, "num_total_minibatches": 7},
            id="clipped by global norm, learning-rate schedule",
        ),
    ],
)
def test_ppo_on_batches_of_different_sizes_ends_as_rllibs_learners_do(group, training, kwargs):
    config = two(PPOConfig, **{"lr": 0.003, **training})
    shards = [episodes_of([60, 33, 45], seed=3), episodes_of([20, 21], seed=4)]
    stock = updated(group, config.learner_class, config, shards, **kwargs)
    assert_same(stock, updated(group, lean_learner(config.learner_class), config, shards, **kwargs))


@pytest.mark.parametrize("config_class", [APPOConfig, IMPALAConfig])
def test_appo_and_impala_end_as_rllibs_learners_do(group, config_class):
    config = two(config_class, lr=0.003, grad_clip=5.0)
    shards = [episodes_of([50] * 4, seed=3), episodes_of([50] * 2, seed=4)]
    stock = updated(group, config.learner_class, config, shards)
    assert_same(stock, updated(group, lean_learner(config.learner_class), config, shards))


def test_dqn_ends_as_rllibs_learners_do(group):
    config = two(DQNConfig, lr=0.003, grad_clip=40.0, target_network_update_freq=100)
    extra = {"weights": 1.0, "n_step": 1}
    shards = [episodes_of([1] * 20, seed=3, extra=extra), episodes_of([1] * 12, seed=4, extra=extra)]
    stock = updated(group, config.learner_class, config, shards)
    assert_same(stock, updated(group, lean_learner(config.learner_class), config, shards))


def test_sac_ends_as_rllibs_learners_do(group):
    config = two(SACConfig, "Pendulum-v1", actor_lr=0.003, critic_lr=0.002, alpha_lr=0.001)
    shards = [pendulum_steps(20, seed=3), pendulum_steps(12, seed=4)]
    stock = updated(group, config.learner_class, config, shards)
    assert_same(stock, updated(group, lean_learner(config.learner_class), config, shards))
