"""What RLlib is given for an environment, decided before any actor starts."""

import sys

import gymnasium
import pytest

from trainyard.environment_names import SYNC, VECTOR_ENTRY_POINT, choose
from trainyard.errors import InvalidConfiguration


class FailingEnv(gymnasium.Env):
    def __init__(self):
        raise RuntimeError("the licence server does not answer")


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


def test_an_environment_that_cannot_be_made_shows_where_it_failed():
    with pytest.raises(InvalidConfiguration) as error:
        choose("its_choices:FailingEnv", {})
    assert "the licence server does not answer" in str(error.value)
    assert "in __init__" in str(error.value)
    assert error.value.field == "spec.environment.config"
