"""Episode-asynchronous PPO on real Ray: numpy policies equal torch's, nobody waits for anybody, and it learns."""

from __future__ import annotations

import itertools
import sys
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from ray import cloudpickle
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.spaces.space_utils import unsquash_action
from sqlalchemy import text

from tests.learner_results import lean_learner
from trainyard.recording.database import open_database
from trainyard.recording.driver_side import Recording
from trainyard.rllib.asynchronous.algorithm import AsynchronousPPO, AsynchronousPPOConfig, default_max_policy_lag
from trainyard.rllib.asynchronous.collector import CollectorSettings, EnvironmentFailed, EpisodeCollector, RunnersFailed
from trainyard.rllib.asynchronous.episodes import Episode, EpisodeId
from trainyard.rllib.asynchronous.export import (
    ActionRules,
    ModuleWeights,
    NotExportable,
    exploration_weights,
    numpy_weights,
)
from trainyard.rllib.asynchronous.policy import Layer, NumpyPolicy, PolicyWeights
from trainyard.runs.run import Identity, Run
from trainyard.runs.storage import at_directory
from trainyard.spec.parsing import parse
from trainyard.spec.presets import PRESETS
from trainyard.training.loop import train

RULES = ActionRules()


@pytest.fixture(scope="module")
def cluster(ray_session):
    # Runners get this file's environments by value: importing it would bring them torch and RLlib.
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def spec_for(env: str, model: DefaultModelConfig):
    made = gym.make(env)
    spaces = {"default_policy": (made.observation_space, made.action_space)}
    spec = PPOConfig().environment(env).rl_module(model_config=model).get_multi_rl_module_spec(spaces=spaces)
    return spec.rl_module_specs["default_policy"]


MODULES = [
    pytest.param("CartPole-v1", DefaultModelConfig(), id="categorical"),
    pytest.param("CartPole-v1", DefaultModelConfig(vf_share_layers=False), id="separate value network"),
    pytest.param("CartPole-v1", DefaultModelConfig(fcnet_activation="relu", fcnet_hiddens=[16]), id="relu"),
    pytest.param("CartPole-v1", DefaultModelConfig(fcnet_activation="silu", head_fcnet_hiddens=[8]), id="silu, head"),
    pytest.param("Pendulum-v1", DefaultModelConfig(), id="gaussian"),
    pytest.param("Pendulum-v1", DefaultModelConfig(free_log_std=True), id="gaussian with free deviations"),
]


class TestNumpyPolicy:
    @pytest.mark.parametrize(("env", "model"), MODULES)
    def test_gives_the_modules_distribution_and_log_probabilities(self, env, model):
        module = spec_for(env, model).build()
        policy = NumpyPolicy(numpy_weights(module, 3, RULES))
        generator = np.random.default_rng(1)
        observations = generator.normal(size=(50, *module.observation_space.shape)).astype(np.float32)
        with torch.no_grad():
            output = module.forward_exploration({Columns.OBS: torch.from_numpy(observations)})
        expected = output[Columns.ACTION_DIST_INPUTS]
        np.testing.assert_allclose(policy.distribution_inputs(observations), expected.numpy(), rtol=1e-4, atol=1e-5)
        steps = [policy.act(observation, generator) for observation in observations]
        distribution = module.get_exploration_action_dist_cls().from_logits(expected)
        log_probabilities = distribution.logp(torch.from_numpy(np.stack([step.action for step in steps])))
        np.testing.assert_allclose(
            [step.log_probability for step in steps], log_probabilities.numpy(), rtol=1e-4, atol=1e-4
        )

    @pytest.mark.parametrize(("env", "model"), MODULES)
    def test_chooses_the_modules_greedy_actions_as_the_environment_takes_them(self, env, model):
        module = spec_for(env, model).build()
        policy = NumpyPolicy(numpy_weights(module, 0, RULES))
        observations = np.random.default_rng(2).normal(size=(50, *module.observation_space.shape)).astype(np.float32)
        with torch.no_grad():
            inputs = module.forward_inference({Columns.OBS: torch.from_numpy(observations)})[Columns.ACTION_DIST_INPUTS]
        distribution = module.get_inference_action_dist_cls().from_logits(inputs)
        greedy = distribution.to_deterministic().sample().numpy()
        expected = [unsquash_action(action, module.action_space) for action in greedy]
        np.testing.assert_allclose([policy.greedy(o) for o in observations], expected, rtol=1e-4, atol=1e-4)

    def test_samples_actions_with_the_probabilities_of_its_logits(self):
        logits = np.log(np.array([0.2, 0.5, 0.3], np.float32))
        layer = Layer(np.zeros((1, 3), np.float32), logits, "linear")
        policy = NumpyPolicy(PolicyWeights((layer,), "categorical", gym.spaces.Discrete(3), 0, splits=(3,)))
        generator = np.random.default_rng(5)
        actions = [int(policy.act(np.zeros(1), generator).action) for _ in range(20_000)]
        np.testing.assert_allclose(np.bincount(actions) / 20_000, [0.2, 0.5, 0.3], atol=0.015)

    def test_log_probability_of_several_choices_is_the_sum_of_each(self):
        layer = Layer(np.zeros((1, 5), np.float32), np.log([0.5, 0.5, 0.2, 0.2, 0.6]).astype(np.float32), "linear")
        space = gym.spaces.MultiDiscrete([2, 3])
        policy = NumpyPolicy(PolicyWeights((layer,), "categorical", space, 0, splits=(2, 3)))
        inputs = policy.distribution_inputs(np.zeros((1, 1)))[0]
        assert policy.log_probability(inputs, np.array([0, 2])) == pytest.approx(np.log(0.5) + np.log(0.6), abs=1e-6)

    def test_a_module_that_numpy_cannot_run_is_run_by_torch_with_the_reason(self):
        spec = spec_for("CartPole-v1", DefaultModelConfig(fcnet_use_layernorm=True))
        weights, reason = exploration_weights(spec.build(), spec, 4, RULES)
        assert isinstance(weights, ModuleWeights)
        assert "LayerNorm" in reason
        step = weights.policy().act(np.zeros(4, np.float32), np.random.default_rng(0))
        assert step.for_env in (0, 1)
        assert step.log_probability < 0

    def test_a_recurrent_module_is_refused(self):
        spec = spec_for("CartPole-v1", DefaultModelConfig(use_lstm=True))
        with pytest.raises(NotExportable, match="recurrent"):
            exploration_weights(spec.build(), spec, 0, RULES)


class Timed(gym.Env):
    """Episodes of one step that take `seconds`."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, seconds: float = 0.01, error: str = "") -> None:
        self.seconds, self.error = seconds, error

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if self.error:
            raise RuntimeError(self.error)
        time.sleep(self.seconds)
        return np.zeros(1, np.float32), 1.0, True, False, {}


def coin(version: int = 0) -> PolicyWeights:
    layer = Layer(np.zeros((1, 2), np.float32), np.zeros(2, np.float32), "linear")
    return PolicyWeights((layer,), "categorical", gym.spaces.Discrete(2), version, splits=(2,))


@pytest.fixture
def collect_from(cluster):
    collectors = []

    def make(make_env, **settings):
        collector = EpisodeCollector(make_env, CollectorSettings(cpus_per_runner=0.1, heartbeat=0.5, **settings))
        collectors.append(collector)
        collector.publish(coin())
        return collector

    yield make
    for collector in collectors:
        collector.close()


class TestCollector:
    def test_takes_whichever_episodes_finish_first(self, collect_from, tmp_path):
        def make_env():
            try:
                (tmp_path / "the slow one").mkdir()
            except FileExistsError:
                return Timed(0.001)
            return Timed(120.0)

        collector = collect_from(make_env, runners=3)
        episodes = collector.gather(30)
        assert len(episodes) == 30
        assert len({episode.id.runner for episode in episodes}) <= 2

    def test_a_runner_that_died_is_replaced_and_the_others_go_on(self, collect_from):
        collector = collect_from(lambda: Timed(0.01), runners=2)
        collector.gather(4)
        ray.kill(collector.actors()[0])
        episodes = collector.gather(40)
        seen = {(episode.id.runner, episode.id.incarnation) for episode in episodes}
        assert (1, 0) in seen
        deadline = time.monotonic() + 30
        while (0, 1) not in seen and time.monotonic() < deadline:
            seen |= {(episode.id.runner, episode.id.incarnation) for episode in collector.gather(5)}
        assert (0, 1) in seen
        assert collector.status().replaced == 1

    def test_a_runner_whose_environment_hangs_is_replaced(self, collect_from):
        collector = collect_from(lambda: Timed(3.0), runners=1, stall=0.7, deaths=2)
        with pytest.raises(RunnersFailed, match="2 times in a row"):
            collector.gather(1)

    def test_an_environment_that_keeps_raising_fails_the_run_with_its_traceback(self, collect_from):
        collector = collect_from(lambda: Timed(error="no such file: prices.csv"), runners=2)
        with pytest.raises(EnvironmentFailed, match=r"no such file: prices\.csv(.|\n)*in step"):
            collector.gather(1)

    def test_new_weights_arrive_when_a_runner_next_asks(self, collect_from):
        collector = collect_from(lambda: Timed(0.01), runners=2)
        collector.gather(4)
        collector.publish(coin(version=9))
        versions = [episode.policy_version for episode in collector.gather(40)]
        assert set(versions) <= {0, 9}
        assert versions[-5:] == [9] * 5

    def test_a_learner_that_is_slower_than_the_environments_still_gets_fresh_episodes(self, collect_from):
        collector = collect_from(lambda: Timed(0.001), runners=2)
        # The first weights of a runner whose process starts late are old ones.
        while collector.status().answering < 2:
            collector.gather(2)
        collector.gather(10)
        lags = []
        for version in range(1, 41):
            collector.publish(coin(version))
            time.sleep(0.02)  # an update, in which a runner plays many times as many as are wanted
            lags += [version - episode.policy_version for episode in collector.gather(1)]
        # Of each runner there are an answer, a queue of one and an episode that waits for room in it.
        assert max(lags) <= 10, lags

    def test_its_status_counts_every_step_and_tells_memory(self, collect_from):
        collector = collect_from(lambda: Timed(0.001), runners=2, envs_per_runner=3)
        episodes = collector.gather(30)
        # One runner may play all of these before the other has started.
        while (status := collector.status()).answering < 2:
            episodes += collector.gather(10)
        assert status.env_steps >= len(episodes)
        assert all(20 * 2**20 < memory < 300 * 2**20 for memory in status.memory_bytes)


def asynchronous_ppo(*, learners: int = 0, num_epochs: int | None = None, **settings) -> AsynchronousPPOConfig:
    config = AsynchronousPPOConfig().environment("CartPole-v1").debugging(seed=1)
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[32, 32]))
    config.training(**PRESETS["cartpole"].config | {"lr": 0.001, "minibatch_size": 128})
    config.training(learner_class=lean_learner(config.get_default_learner_class()))
    if num_epochs is not None:
        config.training(num_epochs=num_epochs)
    config.learners(num_learners=learners, num_cpus_per_learner=0.5)
    defaults = {"episode_runners": 2, "episodes_per_update": 10, "num_cpus_per_episode_runner": 0.5}
    return config.asynchronous(**{**defaults, **settings})


@pytest.fixture
def build(cluster):
    built = []

    def make(**settings) -> AsynchronousPPO:
        algorithm = asynchronous_ppo(**settings).build_algo()
        built.append(algorithm)
        return algorithm

    yield make
    for algorithm in built:
        algorithm.stop()


def as_rllib_episode(episode) -> SingleAgentEpisode:
    return SingleAgentEpisode(
        observations=list(episode.observations),
        actions=list(episode.actions),
        rewards=[float(reward) for reward in episode.rewards],
        terminated=episode.terminated,
        truncated=not episode.terminated,
        extra_model_outputs={
            Columns.ACTION_LOGP: list(episode.log_probabilities),
            Columns.ACTION_DIST_INPUTS: [np.zeros(2, np.float32)] * len(episode),
        },
        observation_space=gym.spaces.Box(-10, 10, (4,), np.float32),
        action_space=gym.spaces.Discrete(2),
        len_lookback_buffer=0,
    )


class TestAlgorithm:
    def test_fresh_episodes_give_the_batch_that_rllibs_own_connectors_give(self, build):
        algorithm = build(episodes_per_update=4)
        algorithm._publish()
        episodes = algorithm.collector.gather(4)
        own = algorithm._train_batch(episodes)["default_policy"]

        def through_connectors(learner):
            batch = learner._learner_connector(
                rl_module=learner.module,
                batch={},
                episodes=[as_rllib_episode(episode) for episode in episodes],
                shared_data={},
                metrics=MetricsLogger(),
            )["default_policy"]
            return {name: batch[name][batch["loss_mask"]].numpy() for name in ("advantages", "value_targets")}

        expected = algorithm.learner_group.foreach_learner(through_connectors).result_or_errors[0].get()
        # RLlib standardises over the artificial last steps too, so advantages agree up to that affine map.
        own_advantages, theirs = own["advantages"].numpy(), expected["advantages"]
        assert np.corrcoef(own_advantages, theirs)[0, 1] > 0.9999
        np.testing.assert_allclose(own["value_targets"].numpy(), expected["value_targets"], rtol=1e-3, atol=1e-3)

    def test_it_learns_and_reports_lag_memory_and_every_episode(self, build):
        algorithm = build(envs_per_episode_runner=2, episodes_per_update=20)
        returns = []
        for _ in range(200):
            result = algorithm.train()
            fresh = [episode["return"] for episode in result["env_runners"]["trainyard_episodes"]]
            returns.append(fresh)
            figures = result["asynchronous"]
            assert figures["policy_lag_max"] <= algorithm.config.lag_limit
            # Five iterations without a choice of the best one: CartPole's random policy returns 22.
            if len(returns) >= 15 and np.mean(np.concatenate(returns[-5:])) > 60:
                break
        assert result["env_runners"]["num_episodes_lifetime"] == sum(map(len, returns))
        assert np.mean(np.concatenate(returns[-5:])) > 60
        assert np.mean(np.concatenate(returns[:5])) < 45, "it did not start well"
        assert figures["runner_memory_mean_bytes"] > 0

    def test_with_a_lag_limit_of_zero_only_fresh_episodes_are_learnt_from(self, build):
        algorithm = build(max_policy_lag=0)
        for _ in range(4):
            figures = algorithm.train()["asynchronous"]
            assert figures["policy_lag_max"] == 0
        assert figures["discarded_episodes_lifetime"] > 0

    def test_a_checkpoint_is_rllibs_and_goes_on(self, build, tmp_path):
        algorithm = build()
        algorithm.train()
        algorithm.save_to_path(str(tmp_path))
        expected = algorithm.learner_group.get_weights()["default_policy"]
        other = build()
        other.restore_from_path(str(tmp_path))
        for name, value in other.learner_group.get_weights()["default_policy"].items():
            np.testing.assert_array_equal(value, expected[name])
        assert other.train()["training_iteration"] == 2

    def test_after_a_restore_no_episode_is_played_with_weights_that_were_never_trained(self, build, tmp_path):
        algorithm = build(max_policy_lag=0)
        while not (before := algorithm.train()["asynchronous"]["discarded_episodes_lifetime"]):
            pass
        algorithm.save_to_path(str(tmp_path))
        algorithm.stop()
        other = build(max_policy_lag=0)
        time.sleep(1)  # in which runners would play with what the new process begins with
        other.restore_from_path(str(tmp_path))
        restored, versions = other._updates, []
        other.listeners.append(lambda episodes: versions.extend(episode.policy_version for episode in episodes))
        figures = other.train()["asynchronous"]
        assert min(versions) >= restored
        assert figures["discarded_episodes_lifetime"] == before

    def test_torch_modules_of_one_seed_choose_the_same_actions_again(self):
        spec = spec_for("CartPole-v1", DefaultModelConfig(fcnet_use_layernorm=True))
        weights, _ = exploration_weights(spec.build(), spec, 0, RULES)

        def actions():
            policy, generator = weights.policy(), np.random.default_rng(3)
            return [int(policy.act(np.zeros(4, np.float32), generator).action) for _ in range(50)]

        first = actions()
        assert first == actions()
        assert len(set(first)) == 2


def episode_of(steps: int) -> Episode:
    generator = np.random.default_rng(steps)
    return Episode(
        id=EpisodeId(0, 0, 0, 0),
        observations=generator.normal(size=(steps + 1, 4)).astype(np.float32),
        actions=generator.integers(0, 2, size=steps),
        rewards=np.ones(steps, np.float32),
        log_probabilities=np.full(steps, np.log(0.5), np.float32),
        terminated=True,
        policy_version=0,
    )


class TestRemoteLearners:
    def test_two_learners_make_as_many_minibatches_whatever_their_parts_of_the_steps(self, build, monkeypatch):
        algorithm = build(learners=2, num_epochs=1)
        # Of these steps one Learner gets a minibatch, and the other one more than a minibatch.
        steps = 2 * algorithm.config.minibatch_size + 1
        monkeypatch.setattr(algorithm, "_fresh_episodes", lambda: ([episode_of(steps)], [0]))
        before = algorithm.learner_group.get_weights()["default_policy"]
        training = threading.Thread(target=algorithm.training_step, daemon=True)
        training.start()
        training.join(120)
        if training.is_alive():
            for learner in algorithm.learner_group._workers:
                ray.kill(learner)  # they wait for each other
            pytest.fail("the Learners made different numbers of minibatches")
        learners = algorithm.learner_group.foreach_learner(lambda learner: learner.get_state()["rl_module"])
        weights, others = (result.get()["default_policy"] for result in learners)
        assert all(np.array_equal(value, others[name]) for name, value in weights.items())
        assert not all(np.array_equal(value, before[name]) for name, value in weights.items())
        assert all(np.array_equal(value, weights[name]) for name, value in algorithm._module.get_state().items())

    def test_one_remote_learner_trains_on_episodes_of_the_runners(self, build):
        algorithm = build(learners=1)
        for _ in range(3):
            result = algorithm.train()
        assert result["learners"]["default_policy"]["total_loss"] != 0
        assert result["env_runners"]["num_episodes_lifetime"] == 30


@pytest.fixture(scope="module")
def database(cluster, tmp_path_factory):
    """Twelve recorded episodes of a market; gives what answers a query."""
    folder = tmp_path_factory.mktemp("recorded")
    market = {"data": "sp500", "asset": "KO", "start": "2000-01-01", "end": "2005-12-31", "episode_length": 30}
    spec = {
        "seed": 1,
        "algorithm": {"name": "PPO", "config": {"minibatch_size": 100, "num_epochs": 1}},
        "environment": {"name": "trading", "config": market | {"reward": "log_return"}},
        "sampling": {"mode": "Asynchronous", "envRunners": 2, "cpusPerEnvRunner": 0.2, "episodesPerUpdate": 6},
        "stop": {"episodes": 12},
        "recording": {"steps": "Sampled", "sampleFraction": 0.5},
    }
    run = Run(Identity("recorded"), parse(spec), {"spec": spec}, at_directory(folder))
    train(run, [Recording()])
    assert run.counters.episodes == 12
    engine = open_database(f"sqlite:///{folder}/database/recording.sqlite")
    with engine.connect() as connection:
        yield lambda query: [tuple(row) for row in connection.execute(text(query))]
    engine.dispose()


class TestRecordedEpisodes:
    """Whole episodes of a market come to the database with what the recording of RLlib's runners would keep."""

    def test_every_episode_is_there_once_and_has_its_steps_where_they_are_sampled(self, database):
        assert database("select count(*), min(length), max(length) from live_episodes") == [(12, 30, 30)]
        sampled = "select count(*) from live_episodes where steps_recorded = (n % 2 = 0)"
        assert database(sampled) == [(12,)]
        ((steps,),) = database("select 30 * count(*) from live_episodes where steps_recorded")
        assert steps > 0
        assert database("select count(*) from live_steps") == [(steps,)]

    def test_steps_have_days_in_order_and_the_values_that_made_their_rewards(self, database):
        rows = database("select episode, reward, date, portfolio_value from live_steps order by episode, t")
        for (episode, _, day, value), (next_episode, reward, next_day, next_value) in itertools.pairwise(rows):
            if episode == next_episode:
                assert day < next_day
                assert reward == pytest.approx(np.log(next_value / value), abs=1e-5)

    def test_trades_are_dated_with_the_day_of_the_decision(self, database):
        trades = database(
            "select t.date, s.date, t.symbol, t.quantity, t.price from live_trades t left join live_steps s "
            "on s.run_id = t.run_id and s.episode = t.episode and s.t = t.t - 1 where t.t > 0"
        )
        assert trades
        for traded, day_before, symbol, quantity, price in trades:
            assert (traded, symbol) == (day_before, "KO")
            assert quantity != 0
            assert price > 0


def test_the_lag_limit_follows_from_how_many_episodes_are_under_way():
    assert default_max_policy_lag(environments=100, episodes_per_update=20) == 20
    assert default_max_policy_lag(environments=10, episodes_per_update=100) == 4


def test_ray_reserves_a_bundle_for_every_runner():
    config = asynchronous_ppo(episode_runners=5, num_cpus_per_episode_runner=0.2)
    request = AsynchronousPPO.default_resource_request(config)
    assert request.bundles[1:] == [{"CPU": 0.2}] * 5
