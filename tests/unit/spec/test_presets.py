"""Presets fill in what a file leaves out; wrong ones are refused with what to write."""

import pytest

from trainyard.errors import InvalidConfiguration
from trainyard.spec import presets
from trainyard.spec.parsing import parse
from trainyard.training import parameters
from trainyard.training.config import CONFIGS


def spec(algorithm, **sections):
    return {"algorithm": algorithm, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 1}, **sections}


def test_what_the_file_says_stays():
    assert presets.filled({"lr": 0.5}, {"lr": 0.1, "gamma": 0.9}) == {"lr": 0.5, "gamma": 0.9}


@pytest.mark.parametrize("name", sorted(presets.PRESETS))
def test_every_preset_is_accepted_for_its_algorithm(name):
    parse(spec({"name": presets.PRESETS[name].algorithm, "preset": name}))


@pytest.mark.parametrize("name", sorted(presets.PRESETS))
def test_the_algorithm_and_its_network_take_all_that_a_preset_sets(name):
    preset = presets.PRESETS[name]
    assert parameters.config_faults(preset.algorithm, CONFIGS[preset.algorithm](), dict(preset.config)) == []
    assert parameters.model_faults(preset.algorithm, dict(preset.model)) == []


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ({"name": "PPO", "preset": "cartpol"}, "did you mean cartpole?"),
        ({"name": "PPO", "preset": "pendulum"}, "is for SAC, not PPO"),
        ({"name": "IMPALA", "preset": "cartpole"}, "there is none for IMPALA"),
    ],
)
def test_a_wrong_preset_is_refused_with_what_to_write(algorithm, words):
    with pytest.raises(InvalidConfiguration, match=r"spec\.algorithm\.preset") as refused:
        parse(spec(algorithm))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("name", "sampling", "words"),
    [
        ("DQN", {"mode": "Asynchronous"}, "which DQN cannot do"),
        ("APPO", {"mode": "Synchronous"}, "APPO is always asynchronous"),
        ("PPO", {"episodesPerUpdate": 5}, "set mode: Asynchronous"),
        ("IMPALA", {"mode": "Asynchronous", "maxPolicyLag": 5}, "use PPO with mode: Asynchronous"),
        ("PPO", {"mode": "Asynchronous", "envRunners": 0}, "use 1 or more"),
    ],
)
def test_sampling_that_does_not_fit_the_algorithm_is_refused(name, sampling, words):
    with pytest.raises(InvalidConfiguration, match=r"spec\.sampling") as refused:
        parse(spec({"name": name}, sampling=sampling))
    assert words in str(refused.value)


def test_only_ppo_collects_whole_episodes():
    assert parse(spec({"name": "PPO"}, sampling={"mode": "Asynchronous"})).whole_episodes
    assert not parse(spec({"name": "APPO"}, sampling={"mode": "Asynchronous"})).whole_episodes
    assert not parse(spec({"name": "PPO"})).whole_episodes
