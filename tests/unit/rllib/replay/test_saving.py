"""Replay buffers beside checkpoints."""

from types import SimpleNamespace

import pytest
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.utils.replay_buffers import EpisodeReplayBuffer

from tests.unit.rllib.replay.test_buffer import fill
from trainyard.rllib.replay import saving
from trainyard.rllib.replay.buffer import FlatPrioritizedReplayBuffer, FlatReplayBuffer
from trainyard.rllib.replay.saving import SavedReplay


def algorithm(buffer, *, done=1000, starts=15):
    """An algorithm that has done `done` steps before, of a configuration in which learning starts after `starts`."""
    metrics = SimpleNamespace(peek=lambda key, default: done)
    config = DQNConfig().training(num_steps_sampled_before_learning_starts=starts)
    config.freeze()
    return SimpleNamespace(local_replay_buffer=buffer, metrics=metrics, config=config)


def learning_starts_at(restored):
    return restored.config.num_steps_sampled_before_learning_starts


@pytest.mark.parametrize("kind", [FlatReplayBuffer, FlatPrioritizedReplayBuffer])
def test_a_buffer_comes_back_with_as_many_steps(tmp_path, kind):
    before = algorithm(fill(kind(capacity=100)))
    assert saving.describe(before) == SavedReplay(20, before.local_replay_buffer.nbytes, saved=True)
    saving.save(before, tmp_path / "algorithm")
    after = algorithm(kind(capacity=100))
    saving.restore(after, tmp_path / "algorithm")
    assert len(after.local_replay_buffer) == 20
    assert learning_starts_at(after) == 15, "a restored buffer waits for nothing"


@pytest.mark.parametrize(
    ("buffer", "starts", "first"),
    [
        pytest.param(FlatReplayBuffer(capacity=100), 50, 1050, id="lost"),
        pytest.param(EpisodeReplayBuffer(capacity=100), 50, 1050, id="RLlib's own"),
        pytest.param(FlatReplayBuffer(capacity=30), 50, 1030, id="smaller than the warm-up"),
    ],
)
def test_with_an_empty_buffer_learning_starts_after_the_usual_warm_up(tmp_path, buffer, starts, first):
    after = algorithm(buffer, starts=starts)
    saving.restore(after, tmp_path)
    assert learning_starts_at(after) == first


def test_a_warm_up_that_was_interrupted_goes_on_where_it_was(tmp_path):
    saving.save(algorithm(fill(FlatReplayBuffer(capacity=100))), tmp_path)
    after = algorithm(FlatReplayBuffer(capacity=100), done=1020, starts=50)
    saving.restore(after, tmp_path)
    assert learning_starts_at(after) == 1050


def test_a_buffer_above_the_limit_is_not_written_and_the_reason_has_both_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "LIMIT_BYTES", 100)
    before = algorithm(fill(FlatReplayBuffer(capacity=100)))
    described = saving.describe(before)
    assert not described.saved
    assert described.bytes > 100
    assert SavedReplay(9, 600 * 2**20, saved=False).why_lost() == "its 600 MiB are more than the 0 MiB that are saved"
    saving.save(before, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_size_is_that_of_the_columns_that_are_written():
    buffer = fill(FlatReplayBuffer(capacity=100))
    arrays = sum(array.nbytes for name, array in buffer.get_state().items() if name in buffer._store._columns)
    assert buffer.nbytes == arrays


def test_rllibs_own_buffer_is_not_saved(tmp_path):
    described = saving.describe(algorithm(EpisodeReplayBuffer()))
    assert described == SavedReplay(0, None, saved=False)
    assert described.why_lost() == "RLlib's checkpoints do not hold it"
    saving.save(algorithm(EpisodeReplayBuffer()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_algorithm_without_a_buffer_has_nothing_to_save(tmp_path):
    assert saving.describe(algorithm(None)) is None
    saving.save(algorithm(None), tmp_path)
    assert list(tmp_path.iterdir()) == []
