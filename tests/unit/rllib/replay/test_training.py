"""How often a round samples and updates, and what becomes of a Learner's error."""

from types import SimpleNamespace

import pytest
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.utils.actor_manager import RemoteCallResults, ResultOrError

from trainyard.rllib.replay.training import FlatReplayDQN, samples_and_updates


@pytest.mark.parametrize("intensity", [1, 2, 8, 16, 64])
@pytest.mark.parametrize("envs", [1, 8])
@pytest.mark.parametrize("runners", [0, 1, 2, 4])
def test_every_sampled_step_is_replayed_as_often_as_was_asked(runners, envs, intensity):
    config = DQNConfig().training(train_batch_size_per_learner=64, training_intensity=intensity)
    config.env_runners(num_env_runners=runners, num_envs_per_env_runner=envs, rollout_fragment_length=1)
    samples, updates = samples_and_updates(config)
    assert 64 * updates / (samples * envs * max(runners, 1)) == intensity


def test_without_an_intensity_a_round_is_a_sample_and_an_update():
    assert samples_and_updates(DQNConfig()) == (1, 1)


def test_an_error_of_a_remote_learner_is_raised():
    """RLlib returns it among the results."""
    results = RemoteCallResults()
    results.add_result(0, ResultOrError(error=ValueError("no such column")), None)
    algorithm = SimpleNamespace(learner_group=SimpleNamespace(foreach_learner=lambda call: results))
    with pytest.raises(ValueError, match="no such column"):
        FlatReplayDQN._with_learner(algorithm, lambda learner: learner.replay_results())
