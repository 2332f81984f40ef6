"""Every collector names the first number that is not finite, or leaves its episode out where that is tolerated."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.tune.registry import register_env

from trainyard.errors import NonFiniteNumber, root_cause
from trainyard.rllib.asynchronous.episode_runner import EpisodeRunner, RunnerSettings
from trainyard.rllib.asynchronous.policy import Layer, PolicyWeights
from trainyard.rllib.connectors import make_lean
from trainyard.rllib.env_runner import MOSTLY_LEFT_OUT, EnvRunner
from trainyard.rllib.replay.round_runner import RoundRunner

LENGTH = 5


class Spoilt(gym.Env):
    """Episodes of LENGTH steps; in every `every`-th episode, at one step (0: the reset), one number is `value`."""

    observation_space = gym.spaces.Box(-10, 10, (3,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, what="reward", step=3, value=float("nan"), every=2):
        self.what, self.at, self.value, self.every = what, step, value, every
        self.episode = self.step_number = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.step_number = self.episode + 1, 0
        return self._observation(), {}

    def step(self, action):
        self.step_number += 1
        reward = self.value if self.what == "reward" and self._now() else 1.0
        return self._observation(), reward, self.step_number == LENGTH, False, {}

    def _observation(self):
        observation = np.full(3, self.step_number, np.float32)
        if self.what == "observation" and self._now():
            observation[1] = self.value
        return observation

    def _now(self):
        return self.step_number == self.at and self.episode % self.every == 0


CASES = {
    "reward": ({"what": "reward"}, "episode 2, step 3: the reward is nan"),
    "infinite": ({"what": "reward", "value": float("-inf")}, "episode 2, step 3: the reward is -inf"),
    "observation": ({"what": "observation"}, "episode 2, step 3: observation[1] is nan"),
    "reset": ({"what": "observation", "step": 0}, "episode 2, its reset: observation[1] is nan"),
}


def runner_of(kind, spoilt, envs=1):
    register_env("spoilt", lambda config: Spoilt(**spoilt))
    config = SACConfig() if kind == "rounds" else PPOConfig()
    config.environment("spoilt").debugging(seed=1).env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
    if kind != "RLlib's":
        make_lean(config)
    return (RoundRunner if kind == "rounds" else EnvRunner)(config=config, worker_index=0)


def play(runner, kind, steps):
    if kind == "rounds":
        return [chunk for _ in range(steps) for chunk in runner.play_round()]
    return runner.sample(num_timesteps=steps)


KINDS = ["RLlib's", "lean", "rounds"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_runner_names_environment_episode_step_and_value(kind, case):
    spoilt, words = case
    with pytest.raises((NonFiniteNumber, RuntimeError)) as raised:
        play(runner_of(kind, spoilt), kind, 4 * LENGTH)
    error = root_cause(raised.value)
    assert isinstance(error, NonFiniteNumber)
    assert f"environment 0 of the driver's env runner, {words}" in str(error)
    assert "spec.sampling.nonFinite.tolerate" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_environments_the_one_is_named(kind):
    with pytest.raises((NonFiniteNumber, RuntimeError)) as raised:
        play(runner_of(kind, CASES["observation"][0], envs=3), kind, 12 * LENGTH)
    assert "environment 0 of" in str(root_cause(raised.value))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_where_it_is_tolerated_such_an_episode_is_left_out_and_the_others_are_whole(kind, case):
    runner = runner_of(kind, case[0] | {"every": 3})
    runner.tolerates = True
    parts = play(runner, kind, 9 * LENGTH)
    lengths = {}
    for part in parts:
        name = part.episode_id if kind == "rounds" else part.id_
        lengths[name] = lengths.get(name, 0) + len(part)
        assert np.isfinite(part.rewards if kind == "rounds" else part.get_rewards()).all()
        assert np.isfinite(part.observations if kind == "rounds" else part.get_observations()).all()
    # Two of three episodes are whole; of the third there is, in rounds, what was handed on before it was spoilt.
    whole = [length for length in lengths.values() if length == LENGTH]
    assert len(whole) == 6
    assert len(lengths) == 6 or (kind == "rounds" and all(length <= LENGTH for length in lengths.values()))


def test_a_runner_whose_episodes_are_mostly_left_out_gives_up():
    runner = runner_of("lean", {"what": "reward", "every": 1})
    runner.tolerates = True
    with pytest.raises((NonFiniteNumber, RuntimeError)) as raised:
        runner.sample(num_timesteps=100 * LENGTH)
    assert f"{MOSTLY_LEFT_OUT} of {MOSTLY_LEFT_OUT} episodes" in str(root_cause(raised.value))


@pytest.mark.parametrize("kind", KINDS)
def test_an_action_that_is_not_finite_is_the_policys(kind):
    runner = runner_of(kind, {"every": 1000})
    with torch.no_grad():
        for parameter in runner.module.parameters():
            parameter.fill_(float("nan"))
    # torch's distributions may refuse their parameters before there is an action.
    with pytest.raises(NonFiniteNumber, match=r"network's parameters are not finite|the policy gave environment 0"):
        play(runner, kind, LENGTH)


def weights(bias=0.0):
    layer = Layer(np.zeros((3, 2), np.float32), np.full(2, bias, np.float32), "linear")
    return PolicyWeights((layer,), "gaussian", Spoilt.action_space, 4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_runner_of_whole_episodes_names_it_too(case):
    spoilt, words = case
    runner = EpisodeRunner(RunnerSettings(lambda: Spoilt(**spoilt), seed=1, index=6))
    sent, failures = weights(), []
    while not failures:
        failures, sent = runner.collect(sent, timeout=5.0).failures, None
    error = failures[0].user_error
    assert isinstance(error, NonFiniteNumber)
    assert f"environment 0 of runner 6, {words.replace('the reward', 'reward')}" in str(error)


def test_a_runner_of_whole_episodes_leaves_it_out_where_that_is_tolerated():
    runner = EpisodeRunner(RunnerSettings(Spoilt, seed=1, index=6, tolerates=True))
    sent, episodes, left_out = weights(), [], []
    while len(episodes) < 6:
        delivery = runner.collect(sent, timeout=5.0)
        sent, episodes, left_out = None, episodes + delivery.episodes, left_out + delivery.left_out
        assert not delivery.failures
    assert all(len(episode) == LENGTH and np.isfinite(episode.rewards).all() for episode in episodes)
    assert abs(len(left_out) - len(episodes)) <= 1
    assert "step 3: reward is nan" in left_out[0].words


def test_a_policy_of_whole_episodes_that_is_not_finite_is_told():
    runner = EpisodeRunner(RunnerSettings(lambda: Spoilt(every=1000), seed=1, index=6))
    [failure] = runner.collect(weights(float("nan")), timeout=5.0).failures
    assert "policy of 4 updates" in failure.error
    assert isinstance(failure.user_error, NonFiniteNumber)


class Closing(Spoilt):
    closed = 0

    def close(self):
        Closing.closed += 1
        raise OSError("no such process")


def test_an_environment_that_failed_is_closed(caplog):
    Closing.closed = 0
    runner = EpisodeRunner(RunnerSettings(lambda: Closing(every=1), seed=1, index=6))
    assert runner.collect(weights(), timeout=5.0).failures
    assert Closing.closed == 1
    assert "could not be closed either" in caplog.text
