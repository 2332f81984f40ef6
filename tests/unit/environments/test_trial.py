"""An environment is tried before anything starts: what it gives, in words, and what is expected."""

import time

import gymnasium as gym
import numpy as np
import pytest

from trainyard.environments.trial import STEPS, observation_problem, try_out
from trainyard.errors import InvalidConfiguration, NonFiniteNumber


class Good(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self):
        self.steps = self.resets = 0

    def reset(self, *, seed=None, options=None):
        self.resets += 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, False, False, {}


def giving(**parts):
    """A class whose step gives something else in some places."""
    names = ("observation", "reward", "terminated", "truncated", "info")

    class Gives(Good):
        def step(self, action):
            own = dict(zip(names, super().step(action), strict=True)) | parts
            return tuple(own.values())

    return Gives


def resetting(result):
    class Resets(Good):
        def reset(self, *, seed=None, options=None):
            return result

    return Resets


def stepping(result):
    class Steps(Good):
        def step(self, action):
            return result

    return Steps


class WithoutSeed(Good):
    def reset(self):
        return np.zeros(2, np.float32), {}


class WithoutOptions(Good):
    def reset(self, *, seed=None):
        return np.zeros(2, np.float32), {}


class Raising(Good):
    def step(self, action):
        raise ZeroDivisionError("no fuel")


class WithoutSpaces(Good):
    observation_space = None


class WithAStringForASpace(Good):
    action_space = "Discrete(2)"


ZEROS = np.zeros(2, np.float32)
REFUSED = {
    "no seed": (WithoutSeed, ["reset()", "'seed'", "def reset(self, *, seed=None, options=None)"]),
    "no options": (WithoutOptions, ["reset()", "'options'"]),
    "reset gives an observation only": (resetting(ZEROS), ["reset() gave an array of shape (2,)", "pair"]),
    "reset gives three": (resetting((ZEROS, {}, 1)), ["reset() gave", "not a pair"]),
    "reset gives another shape": (resetting((np.zeros(3), {})), ["reset()", "its shape is (3,)", "(2,)"]),
    "reset gives a text as its info": (resetting((ZEROS, "info")), ["reset() gave 'info' (str) as its info"]),
    "four results": (stepping((ZEROS, 1.0, False, {})), ["step() gave 4 results, not 5", "old gym API"]),
    "no results": (stepping(None), ["step() gave None (NoneType), not 5"]),
    "reward of shape (1,)": (giving(reward=np.ones(1)), ["step()", "reward", "shape (1,)", "float(reward)"]),
    "reward None": (giving(reward=None), ["step() gave the reward None (NoneType)"]),
    "reward a text": (giving(reward="1"), ["step() gave the reward '1' (str)"]),
    "terminated None": (giving(terminated=None), ["step() gave terminated as None", "True or False"]),
    "truncated an array": (giving(truncated=np.zeros(1, bool)), ["step() gave truncated as an array of shape (1,)"]),
    "info a list": (giving(info=[]), ["step() gave [] (list) as its info", "{}"]),
    "observation of another shape": (giving(observation=np.zeros((2, 1))), ["shape is (2, 1), and the space's (2,)"]),
    "observation a text": (giving(observation="left"), ["step() gave an observation", "'left' (str)"]),
    "step raises": (Raising, ["step() raised ZeroDivisionError: no fuel", "test_trial.py:", "in step"]),
    "no space": (WithoutSpaces, ["its observation_space is None", "gymnasium.spaces"]),
    "a space that is none": (WithAStringForASpace, ["its action_space is 'Discrete(2)' (str)"]),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "words"), REFUSED.values(), ids=REFUSED)
def test_what_no_collector_could_use_is_refused_in_words(kind, words):
    with pytest.raises(InvalidConfiguration) as error:
        try_out(kind(), field="spec.environment.name", name="team:Env", seed=1)
    text = str(error.value)
    assert text.startswith("spec.environment.name: team:Env: ")
    assert all(word in text for word in words), text
    assert "\n" not in text


@pytest.mark.parametrize(
    "kind",
    [
        Good,
        giving(reward=np.float32(1)), giving(reward=1), giving(reward=True), giving(reward=np.array(1.0)),
        giving(terminated=np.bool_(True)), giving(truncated=1), giving(observation=[0.0, 1.0]),
        giving(observation=np.zeros(2)), giving(observation=np.zeros(2, int)), giving(observation=np.full(2, 7.0)),
    ],
)  # fmt: skip
def test_what_only_deviates_in_form_is_taken(kind):
    env = kind()
    try_out(env, field="spec.environment.name", name="team:Env", seed=1)
    assert env.steps == STEPS


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (giving(reward=float("nan")), "step 1: reward is nan"),
        (giving(observation=np.array([0, np.inf])), "step 1: observation[1] is inf"),
        (resetting((np.array([np.nan, 0]), {})), "reset(): observation[0] is nan"),
    ],
)
def test_a_number_that_is_not_finite_is_named_unless_it_is_tolerated(kind, words):
    with pytest.raises(NonFiniteNumber) as error:
        try_out(kind(), field="spec.environment.name", name="team:Env", seed=1)
    assert words in str(error.value)
    try_out(kind(), field="spec.environment.name", name="team:Env", seed=1, tolerates=True)


def test_an_episode_that_is_over_is_followed_by_a_reset():
    env = giving(terminated=True)()
    try_out(env, field="", name="", seed=1)
    assert env.resets == STEPS + 1


def test_a_slow_environment_is_not_tried_for_long(monkeypatch):
    monkeypatch.setattr("trainyard.environments.trial.SECONDS", 0.0)
    env = Good()
    started = time.monotonic()
    try_out(env, field="", name="", seed=1)
    assert env.steps == 2
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("space", "observation", "words"),
    [
        (gym.spaces.Discrete(3), 3, "it is 3 (int)"),
        (gym.spaces.Discrete(3), 2, ""),
        (gym.spaces.Dict(a=gym.spaces.Box(0, 1, (2,))), {"a": np.zeros(3)}, "of 'a', its shape is (3,)"),
        (gym.spaces.Dict(a=gym.spaces.Box(0, 1, (2,))), {"b": np.zeros(2)}, "it is {'b'"),
        (gym.spaces.Box(0, 1, (2,)), [[1], [1, 2]], "inhomogeneous"),
    ],
)
def test_observations_of_other_spaces(space, observation, words):
    found = observation_problem(space, observation)
    assert words in found
    assert bool(found) == bool(words)
