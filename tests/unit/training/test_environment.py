"""What RLlib is given for an environment, decided before any actor starts."""

import pickle
import subprocess
import sys
from functools import partial

import gymnasium
import pytest

from trainyard.errors import InvalidConfiguration
from trainyard.training.environment import SYNC, VECTOR_ENTRY_POINT, check_overlay, choose


class FailingEnv(gymnasium.Env):
    def __init__(self):
        raise RuntimeError("the licence server does not answer")


class LicensedEnv(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, licence="any", bound=1.0):
        if licence == "none":
            raise RuntimeError("'none' is no licence")
        self.observation_space = gymnasium.spaces.Box(-bound, bound, (2,))

    def reset(self, *, seed=None, options=None):
        return self.observation_space.low, {}

    def step(self, action):
        return self.observation_space.low, 0.0, False, False, {}


@pytest.fixture(autouse=True)
def importable_here(monkeypatch):
    monkeypatch.setitem(sys.modules, "its_choices", sys.modules[__name__])


def test_a_gymnasium_id_stays_one_with_its_own_vectorised_form():
    choice = choose("CartPole-v1", {})
    assert (choice.rllib_name, choice.creator, choice.vectorize_mode) == ("CartPole-v1", None, VECTOR_ENTRY_POINT)


def test_an_environment_without_a_vectorised_form_is_copied():
    assert choose("Acrobot-v1", {}).vectorize_mode == SYNC
    assert choose("restore-order", {}).vectorize_mode == SYNC


def test_a_market_environment_makes_its_own_vector():
    choice = choose("trading", {"asset": "KO"})
    assert choice.vectorize_mode == VECTOR_ENTRY_POINT
    assert choice.creator({"asset": "KO", "num_envs": 4}).num_envs == 4
    assert choice.action_space.n == 3


def test_wrapped_environments_are_copied_with_their_wrappers():
    wrappers = [{"name": "context", "config": {"size": 3}}]
    choice = choose("CartPole-v1", {}, wrappers)
    assert choice.vectorize_mode == SYNC
    assert choice.observation_space.shape == (7,)
    assert choice.creator({}).observation_space.shape == (7,)


def test_a_runner_that_makes_an_environment_imports_nothing_that_only_the_driver_needs():
    make = partial(choose("CartPole-v1", {}, ["FlattenObservation"]).single, {})
    code = (
        f"import pickle, sys; env = pickle.loads({pickle.dumps(make)!r})(); env.reset(seed=1); "
        "print({'ray', 'torch', 'pydantic', 'pandas', 'trainyard.spec.sections'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_an_environment_that_cannot_be_made_shows_where_it_failed():
    with pytest.raises(InvalidConfiguration) as error:
        choose("its_choices:FailingEnv", {})
    assert "the licence server does not answer" in str(error.value)
    assert "in __init__" in str(error.value)
    assert error.value.field == "spec.environment.config"


KO = {"asset": "KO", "start": "2000-01-01", "end": "2017-12-31"}
FIELD = "spec.test.environmentConfig"


@pytest.mark.parametrize(
    ("overlay", "field", "words"),
    [
        ({"start": "2020-01-01", "end": "2024-12-31"}, f"{FIELD}.end", "covers 1990-01-02 to 2022-12-28"),
        ({"end": "1999-12-31"}, f"{FIELD}.end", "1999-12-31 is before start 2000-01-01"),
        ({"begin": "2018-01-01"}, f"{FIELD}.begin", "is not known"),
        ({"asset": "KOO"}, f"{FIELD}.asset", "did you mean 'KO'"),
        ({"window": 20}, FIELD, "its observations are Box"),
        ({"allow_short": False}, FIELD, "its actions are Discrete(2), and those of training Discrete(3)"),
    ],
)
def test_the_environment_of_an_evaluation_is_made_once_and_its_faults_name_its_own_keys(overlay, field, words):
    with pytest.raises(InvalidConfiguration) as error:
        check_overlay(choose("trading", KO), KO, overlay, FIELD)
    assert error.value.field == field
    assert words in str(error.value)


def test_an_evaluation_on_other_dates_is_taken():
    check_overlay(choose("trading", KO), KO, {"start": "2018-01-01", "end": "2019-12-31", "episode_length": 0}, FIELD)


def test_an_evaluation_that_cannot_be_made_shows_where_it_failed():
    with pytest.raises(InvalidConfiguration, match="is no licence") as error:
        check_overlay(choose("its_choices:LicensedEnv", {}), {}, {"licence": "none"}, FIELD)
    assert error.value.field == FIELD


def test_the_bounds_of_observations_may_differ():
    check_overlay(choose("its_choices:LicensedEnv", {}), {}, {"bound": 2.0}, FIELD)
