import numpy as np

from trainyard.episodes.records import MAIN_TRIAL, Settings
from trainyard.recording.from_asynchronous import batches_of
from trainyard.rllib.asynchronous.episodes import Episode, EpisodeId


def episode(runner, number, *, incarnation=0):
    return Episode(
        EpisodeId(runner, incarnation, 0, number),
        observations=np.zeros((4, 2)),
        actions=np.array([0, 1, 1]),
        rewards=np.array([1, 2, 3], np.float32),
        log_probabilities=np.zeros(3, np.float32),
        terminated=True,
        policy_version=5,
        figures={"order_followed": 1.0},
    )


def test_whole_episodes_are_grouped_by_the_process_that_played_them():
    batches = batches_of(
        [episode(1, 0), episode(2, 0), episode(1, 1), episode(1, 0, incarnation=1)], Settings("All"), "3"
    )
    found = [
        (batch.source.trial, batch.source.runner, batch.source.incarnation, [chunk.n for chunk in batch.chunks])
        for batch in batches
    ]
    assert found == [("3", 1, 0, [0, 1]), ("3", 1, 1, [0]), ("3", 2, 0, [0])]


def test_an_episode_is_one_finished_chunk():
    ((chunk,),) = (batch.chunks for batch in batches_of([episode(1, 3)], Settings("All"), MAIN_TRIAL))
    assert (chunk.start, chunk.length, chunk.total_reward, chunk.finished) == (0, 3, 6.0, True)
    assert (chunk.policy_version, chunk.figures) == (5, {"order_followed": 1.0})
    assert chunk.rewards.tolist() == [1, 2, 3]


def test_without_steps_it_keeps_length_and_return():
    ((chunk,),) = (batch.chunks for batch in batches_of([episode(1, 3)], Settings("Off"), MAIN_TRIAL))
    assert (chunk.actions, chunk.rewards, chunk.length) == (None, None, 3)
