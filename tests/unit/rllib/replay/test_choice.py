"""When DQN and SAC replay from flat arrays."""

import gymnasium as gym
import pytest
from ray.rllib.algorithms.dqn import DQN, DQNConfig
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.algorithms.sac import SAC, SACConfig

from trainyard.rllib.learners import choose_learner
from trainyard.rllib.replay import choose_replay
from trainyard.rllib.replay.training import FlatReplayDQN, FlatReplaySAC

BOX = gym.spaces.Box(-1, 1, (3,))
DISCRETE = gym.spaces.Discrete(2)
PAIR = gym.spaces.Dict({"a": BOX, "b": BOX})


def chosen(config, observations=BOX, actions=DISCRETE):
    config.training(learner_class=config.get_default_learner_class())
    config.training(learner_class=choose_learner(config).learner_class)
    return choose_replay(config, observations, actions)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (DQNConfig(), FlatReplayDQN),
        (SACConfig(), FlatReplaySAC),
        (DQNConfig().training(replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 10}), FlatReplayDQN),
        (DQNConfig().learners(num_learners=1), FlatReplayDQN),
    ],
)
def test_flat_replay_is_chosen_for_rllibs_uniform_and_prioritised_buffers(config, expected):
    choice = chosen(config)
    assert choice.algo_class is expected
    assert choice.reason is None


def test_an_algorithm_without_a_replay_buffer_stays_as_it_is_without_a_word():
    choice = chosen(PPOConfig())
    assert (choice.algo_class, choice.reason) == (PPO, None)


@pytest.mark.parametrize(
    ("config", "spaces", "stock", "words"),
    [
        pytest.param(DQNConfig().learners(num_learners=2), {}, DQN, "2 learners", id="two learners"),
        pytest.param(DQNConfig(), {"observations": PAIR}, DQN, "observations are Dict", id="nested observations"),
        pytest.param(SACConfig(), {"actions": PAIR}, SAC, "actions are Dict", id="nested actions"),
        pytest.param(
            DQNConfig().training(replay_buffer_config={"type": "MultiAgentEpisodeReplayBuffer"}),
            {},
            DQN,
            "MultiAgentEpisodeReplayBuffer",
            id="another buffer",
        ),
        pytest.param(
            DQNConfig().rl_module(model_config={"use_lstm": True}), {}, DQN, "recurrent", id="recurrent module"
        ),
        pytest.param(
            DQNConfig().learners(learner_connector=lambda *args: []), {}, DQN, "connector", id="learner connector"
        ),
    ],
)
def test_elsewhere_rllibs_own_replay_is_used_and_the_reason_given(config, spaces, stock, words):
    choice = chosen(config, **spaces)
    assert choice.algo_class is stock
    assert words in choice.reason
