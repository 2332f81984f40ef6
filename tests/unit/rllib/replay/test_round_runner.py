"""Rounds of the lean runner are RLlib's sample(): the same steps, callbacks and sums."""

import functools

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from trainyard.rllib.connectors import make_lean
from trainyard.rllib.replay.buffer import FlatReplayBuffer, _chunks
from trainyard.rllib.replay.round_runner import RoundRunner

ROUNDS = 150


class Told(RLlibCallback):
    """Remembers what it was told."""

    def __init__(self):
        self.events = []
        self.sampled = []

    def on_episode_created(self, *, env_index, **kwargs):
        self.events.append(("created", env_index))

    def on_episode_start(self, *, episode, env_index, **kwargs):
        self.events.append(("start", env_index, episode.get_observations(-1).tolist()))

    def on_episode_step(self, *, episode, env_index, **kwargs):
        self.events.append(("step", env_index, episode.t, episode.get_rewards(-1)))

    def on_episode_end(self, *, episode, prev_episode_chunks, env_index, **kwargs):
        chunks = [*prev_episode_chunks, episode]
        total = sum(chunk.get_return() for chunk in chunks)
        self.events.append(("end", env_index, episode.t, pytest.approx(total), sum(len(chunk) for chunk in chunks)))

    def on_sample_end(self, *, samples, **kwargs):
        self.sampled += samples


def runner_of(config, *, lean: bool = True) -> RoundRunner:
    config = config.copy(copy_frozen=False).debugging(seed=3).callbacks(Told)
    config.env_runners(num_env_runners=0).fault_tolerance(restart_failed_sub_environments=False)
    if lean:
        make_lean(config)
    np.random.seed(0)
    torch.manual_seed(0)
    runner = RoundRunner(config=config, worker_index=0)
    runner.module.eval()
    torch.manual_seed(1)
    return runner


CONFIGS = [
    pytest.param(DQNConfig().environment("CartPole-v1"), id="DQN"),
    pytest.param(DQNConfig().environment("CartPole-v1").env_runners(num_envs_per_env_runner=3), id="DQN, 3 envs"),
    pytest.param(DQNConfig().environment("CartPole-v1").env_runners(explore=False), id="greedy"),
    pytest.param(
        DQNConfig().environment("CartPole-v1").env_runners(rollout_fragment_length=4, num_envs_per_env_runner=2),
        id="4 steps a round",
    ),
    pytest.param(SACConfig().environment("Pendulum-v1").env_runners(num_envs_per_env_runner=2), id="SAC"),
]


def by_samples(runner, number):
    return _chunks(runner.sample())


def by_rounds(runner, number):
    chunks = runner.play_round()
    if number % 60 == 59 or number == ROUNDS - 1:
        # What a training step ends with, also in the middle of an episode.
        runner.end_rounds()
    return chunks


def by_turns(runner, number):
    if number % 2:
        return by_samples(runner, number)
    chunks = runner.play_round()
    runner.end_rounds()
    return chunks


class Played:
    """A runner that has played, its chunks round by round, and its metrics so far after rounds 60 and 150."""

    def __init__(self, config, how):
        self.runner = runner_of(config)
        assert self.runner.plays_rounds
        self.rounds, self.metrics = [], []
        for number in range(ROUNDS):
            self.rounds.append(how(self.runner, number))
            if number in (59, ROUNDS - 1):
                self.metrics.append(MetricsLogger.peek_results(self.runner.get_metrics(), compile=True))
        [self.told] = self.runner._callbacks


# Several tests compare the same game.
played = functools.cache(Played)


@pytest.mark.parametrize("how", [by_rounds, by_turns])
@pytest.mark.parametrize("config", CONFIGS)
def test_rounds_give_the_chunks_of_samples_and_tell_the_same(config, how):
    stock, lean = played(config, by_samples), played(config, how)
    expected, found = FlatReplayBuffer(50), FlatReplayBuffer(50)
    for theirs, ours in zip(stock.rounds, lean.rounds, strict=True):
        assert_same_chunks(theirs, ours)
        expected.add_chunks(theirs)
        found.add_chunks(ours)
    assert lean.told.events == stock.told.events
    for theirs, ours in zip(stock.metrics, lean.metrics, strict=True):
        assert_same_sums(theirs, ours)
    arrays, others = expected.get_state(), found.get_state()
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "lengths", "counters"):
        np.testing.assert_array_equal(others[name], arrays[name])


def assert_same_chunks(expected, found):
    assert len(found) == len(expected)
    for theirs, ours in zip(expected, found, strict=True):
        for name in ("observations", "actions", "rewards"):
            values, others = getattr(theirs, name), getattr(ours, name)
            np.testing.assert_array_equal(others, values)
            assert others.dtype == values.dtype
        assert (ours.terminated, ours.truncated) == (theirs.terminated, theirs.truncated)


def assert_same_sums(expected, found):
    timed = ("timer", "throughput", "sample", "time_between_sampling", "episode_duration_sec_mean")
    # Connectors are called without RLlib's pipeline, so they are not timed.
    connectors = ("env_to_module", "module_to_env")
    counted = {k: v for k, v in expected.items() if not k.endswith(timed) and not k.startswith(connectors)}
    assert set(expected) - set(found) == {k for k in expected if k.startswith(connectors)} - set(found)
    for key, value in counted.items():
        np.testing.assert_allclose(_number(found[key]), _number(value), err_msg=key)


def _number(value):
    return [_number(one) for one in value.values()] if isinstance(value, dict) else value


@pytest.mark.parametrize("config", CONFIGS)
def test_samples_are_the_same_steps_in_fewer_parts(config):
    stock, lean = played(config, by_samples).told.sampled, played(config, by_rounds).told.sampled
    assert sum(map(len, lean)) == sum(map(len, stock))
    assert sum(one.get_return() for one in lean) == pytest.approx(sum(one.get_return() for one in stock))
    assert len(lean) < len(stock)
    for part in lean:
        part.validate()
        assert part.is_numpy


def test_rounds_without_rounds_are_nothing():
    runner = runner_of(CONFIGS[0].values[0])
    runner.end_rounds()
    assert runner._callbacks[0].sampled == []


class Breaks(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}

    def step(self, action):
        self.steps += 1
        if self.steps > 2:
            raise OSError("the simulator is gone")
        return self.observation_space.sample(), 0.0, False, False, {}


def test_what_the_environment_raises_is_the_cause_as_in_rllib():
    runner = runner_of(DQNConfig().environment(Breaks))
    runner.play_round()
    runner.play_round()
    with pytest.raises(RuntimeError) as caught:
        runner.play_round()
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("config", "lean"),
    [
        pytest.param(DQNConfig().environment("CartPole-v1"), False, id="RLlib's connectors"),
        pytest.param(
            DQNConfig().environment("CartPole-v1").env_runners(batch_mode="complete_episodes"),
            True,
            id="whole episodes",
        ),
    ],
)
def test_elsewhere_rounds_are_not_played(config, lean):
    assert not runner_of(config, lean=lean).plays_rounds
