"""Whom the env runner tells of what it plays."""

import pytest
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from trainyard.rllib.env_runner import EnvRunner

STEPS = 300  # of a new policy, whose episodes are seldom longer than 60
heard = []


class OfSteps(RLlibCallback):
    def on_episode_step(self, **kwargs):
        heard.append("on_episode_step")


class OfEnds(RLlibCallback):
    def on_episode_end(self, **kwargs):
        heard.append("on_episode_end")


def listen(**kwargs):
    heard.append("on_episode_step")


@pytest.fixture
def prepared(monkeypatch):
    """What RLlib prepared to tell of."""
    heard.clear()
    whiches = []
    tell = SingleAgentEnvRunner._make_on_episode_callback

    def count(self, which, idx, episodes):
        whiches.append(which)
        tell(self, which, idx, episodes)

    monkeypatch.setattr(SingleAgentEnvRunner, "_make_on_episode_callback", count)
    return whiches


def played(**callbacks):
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0).callbacks(**callbacks)
    config.debugging(seed=1)
    EnvRunner(config=config, worker_index=0).sample(num_timesteps=STEPS)


@pytest.mark.parametrize(
    "listener",
    [{"callbacks_class": [OfEnds, OfSteps]}, {"callbacks_class": OfEnds, "on_episode_step": listen}],
    ids=["class", "function"],
)
def test_who_listens_is_told_of_every_step(prepared, listener):
    played(**listener)
    assert heard.count("on_episode_step") == STEPS


def test_steps_of_which_nobody_wants_to_hear_are_not_prepared_to_be_told(prepared):
    played(callbacks_class=OfEnds)
    assert "on_episode_step" not in prepared
    assert heard.count("on_episode_end") == prepared.count("on_episode_end") > 0
