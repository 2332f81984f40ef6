"""The flat replay buffers hold and draw what RLlib's episode replay buffers do."""

from __future__ import annotations

import copy
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.replay_buffers import EpisodeReplayBuffer, PrioritizedEpisodeReplayBuffer

from trainyard.errors import NonFiniteNumber
from trainyard.rllib.replay.buffer import FlatPrioritizedReplayBuffer, FlatReplayBuffer

OBSERVATIONS = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
ACTIONS = gym.spaces.Discrete(5)
GAMMA = 0.9
KINDS = [
    pytest.param(EpisodeReplayBuffer, FlatReplayBuffer, id="uniform"),
    pytest.param(PrioritizedEpisodeReplayBuffer, FlatPrioritizedReplayBuffer, id="prioritised"),
]


def episode(number: int, length: int, *, start: int = 0, terminated=False, truncated=False) -> SingleAgentEpisode:
    """Steps [start, start + length) of an episode whose observations and rewards tell where they are from."""
    steps = np.arange(start, start + length + 1)
    return SingleAgentEpisode(
        id_=f"episode-{number}",
        observation_space=OBSERVATIONS,
        action_space=ACTIONS,
        observations=[np.array([number, step], np.float32) for step in steps],
        actions=[int(step) % 5 for step in steps[:-1]],
        rewards=[float(number * 100 + step) for step in steps[:-1]],
        terminated=terminated,
        truncated=truncated,
        t_started=start,
        len_lookback_buffer=0,
    )


# Two environments' fragments in turn: an episode in three parts that ends, one that is cut off, one that goes on.
FRAGMENTS = [
    [episode(1, 3), episode(2, 4)],
    [episode(1, 2, start=3), episode(2, 1, start=4, truncated=True)],
    [episode(1, 2, start=5, terminated=True), episode(3, 6)],
    [episode(4, 1, terminated=True), episode(3, 1, start=6)],
]


def fill(buffer, fragments=FRAGMENTS):
    for fragment in copy.deepcopy(fragments):
        buffer.add([part.to_numpy() for part in fragment])
    return buffer


def rllib_rows(buffer, count: int, **kwargs) -> list[tuple]:
    """Transitions that RLlib's buffer draws, as its learner connectors would read them."""
    drawn = buffer.sample(num_items=count, sample_episodes=True, gamma=GAMMA, batch_length_T=0, **kwargs)
    return [
        (
            *map(float, sample.get_observations(0)),
            *map(float, sample.get_observations(-1)),
            int(sample.get_actions(0)),
            round(float(sample.get_rewards(0)), 3),
            bool(sample.is_terminated),
            bool(sample.is_truncated),
            int(sample.get_extra_model_outputs("n_step", 0)),
        )
        for sample in drawn
    ]


def flat_rows(buffer, count: int, **kwargs) -> list[tuple]:
    batch = buffer.sample(count, gamma=GAMMA, **kwargs)
    columns = zip(
        batch["obs"].tolist(), batch["new_obs"].tolist(), batch["actions"].tolist(), batch["rewards"].tolist(),
        batch["terminateds"].tolist(), batch["truncateds"].tolist(), batch["n_step"].tolist(), strict=True,
    )  # fmt: skip
    return [(*obs, *then, action, round(reward, 3), *rest) for obs, then, action, reward, *rest in columns]


def steps_and_return(row: tuple) -> tuple:
    return row[:6]


def is_whole(row: tuple) -> bool:
    """Not cut short by the end of the episode, where RLlib's uniform buffer is wrong (see FlatReplayBuffer)."""
    return row[3] - row[1] == row[8]


@pytest.mark.parametrize(("rllib", "flat"), KINDS)
@pytest.mark.parametrize("n_step", [1, 2, 3, (1, 4)], ids=str)
def test_the_same_transitions_are_drawn_with_the_same_frequency(rllib, flat, n_step):
    kwargs = {"n_step": n_step} if flat is FlatReplayBuffer else {"n_step": n_step, "beta": 0.4}
    buffer = fill(rllib(capacity=100))
    rows = [row for _ in range(40) for row in rllib_rows(buffer, 200, **kwargs)]
    ours = flat_rows(fill(flat(capacity=100, seed=3)), 8000, **kwargs)
    assert {row for row in rows if is_whole(row)} <= set(ours)
    expected, found = Counter(map(steps_and_return, rows)), Counter(map(steps_and_return, ours))
    assert found.keys() == expected.keys()
    for row, count in expected.items():
        # Two counts of the same mean: their difference has a variance of at most the sum.
        assert abs(found[row] - count) < 5 * np.sqrt(found[row] + count), row


@pytest.mark.parametrize(("rllib", "flat"), KINDS)
@pytest.mark.parametrize("capacity", [5, 10, 13, 17, 19])
def test_the_same_episodes_are_evicted(rllib, flat, capacity):
    """Above the capacity the oldest episode goes as a whole; a part that comes later begins a new one."""
    theirs, ours = rllib(capacity=capacity), flat(capacity=capacity, seed=0)
    # One environment: RLlib's uniform buffer fails when episodes that lie between each other are evicted.
    parts = sorted((part for fragment in FRAGMENTS for part in fragment), key=lambda part: (part.id_, part.t_started))
    for part in parts:
        fill(theirs, [[part]])
        fill(ours, [[part]])
        assert len(ours) == len(theirs)
        assert ours.get_num_episodes() == theirs.get_num_episodes()
        assert ours.get_num_episodes_evicted() == theirs.get_num_episodes_evicted()
        seen = set(rllib_rows(theirs, 300, n_step=1, beta=0.0))
        assert set(flat_rows(ours, 600, n_step=1, beta=0.0)) == seen


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_priorities_and_importance_weights_are_rllibs(alpha):
    theirs = fill(PrioritizedEpisodeReplayBuffer(capacity=100, alpha=alpha))
    ours = fill(FlatPrioritizedReplayBuffer(capacity=100, alpha=alpha, seed=5))
    errors = np.random.default_rng(1)
    by_observation: dict[tuple, float] = {}
    for _ in range(30):
        drawn = theirs.sample(num_items=16, n_step=1, beta=0.0)
        keys = [tuple(sample.get_observations(0).tolist()) for sample in drawn]
        values = np.array([by_observation.setdefault(key, float(errors.exponential())) for key in keys])
        theirs.update_priorities(values)
        keys = [tuple(key) for key in ours.sample(16, n_step=1, beta=0.0)["obs"].tolist()]
        ours.update_priorities(np.array([by_observation.setdefault(key, float(errors.exponential())) for key in keys]))
    assert len(by_observation) == len(ours) == 20
    weights = {}
    for _ in range(60):
        for sample in theirs.sample(num_items=16, n_step=1, beta=0.4):
            weights[tuple(sample.get_observations(0).tolist())] = sample.get_extra_model_outputs("weights", 0)
    batch = ours.sample(3000, n_step=1, beta=0.4)
    for key, weight in zip(batch["obs"].tolist(), batch["weights"].tolist(), strict=True):
        if tuple(key) in weights:
            assert weight == pytest.approx(weights[tuple(key)], rel=1e-5)
    assert batch["weights"].max() <= 1.0 + 1e-6


def test_new_steps_get_the_highest_priority_so_far():
    buffer = FlatPrioritizedReplayBuffer(capacity=100, alpha=0.5, seed=0)
    buffer.add([episode(1, 4).to_numpy()])
    buffer.sample(64, n_step=1)
    buffer.update_priorities(np.full(64, 16.0))
    buffer.add([episode(2, 1).to_numpy()])
    found = Counter(number for number, _ in buffer.sample(5000, n_step=1)["obs"].tolist())
    # All five steps have priority 16 ** 0.5 now.
    assert found[2.0] == pytest.approx(1000, rel=0.15)


def test_steps_are_drawn_in_proportion_to_the_power_of_their_priority():
    buffer = FlatPrioritizedReplayBuffer(capacity=100, alpha=0.5, seed=0)
    buffer.add([episode(1, 4).to_numpy()])
    priority = {0.0: 1.0, 1.0: 4.0, 2.0: 9.0, 3.0: 16.0}
    drawn = buffer.sample(64, n_step=1)["obs"][:, 1]
    buffer.update_priorities(np.array([priority[step] for step in drawn.tolist()]))
    batch = buffer.sample(20_000, n_step=1, beta=1.0)
    found = Counter(batch["obs"][:, 1].tolist())
    for step, value in priority.items():
        assert found[step] == pytest.approx(20_000 * value**0.5 / 10, rel=0.05)
        # Weights of beta 1 undo the priorities: the rarest step has weight 1.
        weights = batch["weights"][batch["obs"][:, 1] == step]
        np.testing.assert_allclose(weights, value**-0.5, rtol=1e-5)


def test_an_n_step_that_no_episode_has_is_an_error_and_not_an_endless_loop():
    buffer = FlatPrioritizedReplayBuffer(capacity=100, seed=0)
    buffer.add([episode(1, 2).to_numpy()])
    assert not buffer.can_sample(3)
    with pytest.raises(ValueError, match="no episode in the replay buffer has as many steps"):
        buffer.sample(4, n_step=3)


def test_n_step_returns_are_discounted_sums():
    """By hand: rewards 100, 101, 102 with gamma 0.9, then the observation after them; at the end fewer."""
    buffer = FlatReplayBuffer(capacity=100, seed=0)
    buffer.add([episode(1, 3, terminated=True).to_numpy()])
    rows = set(flat_rows(buffer, 200, n_step=2))
    assert rows == {
        (1.0, 0.0, 1.0, 2.0, 0, round(100 + 0.9 * 101, 3), False, False, 2),
        (1.0, 1.0, 1.0, 3.0, 1, round(101 + 0.9 * 102, 3), True, False, 2),
        (1.0, 2.0, 1.0, 3.0, 2, 102.0, True, False, 1),
    }


def test_a_cut_episode_bootstraps_from_its_last_observation_with_the_steps_that_there_are():
    buffer = FlatReplayBuffer(capacity=100, seed=0)
    buffer.add([episode(1, 2, truncated=True).to_numpy()])
    assert set(flat_rows(buffer, 100, n_step=3)) == {
        (1.0, 0.0, 1.0, 2.0, 0, round(100 + 0.9 * 101, 3), False, True, 2),
        (1.0, 1.0, 1.0, 2.0, 1, 101.0, False, True, 1),
    }


@pytest.mark.parametrize("flat", [FlatReplayBuffer, FlatPrioritizedReplayBuffer])
def test_a_state_brings_back_everything_but_the_random_generator(flat):
    buffer = fill(flat(capacity=17, seed=1))
    if flat is FlatPrioritizedReplayBuffer:
        buffer.sample(50, n_step=1)
        buffer.update_priorities(np.arange(50.0))
    restored = flat(capacity=17, seed=2)
    restored.set_state(buffer.get_state())
    assert len(restored) == len(buffer) > 0
    assert restored.get_num_episodes() == buffer.get_num_episodes()
    assert restored.get_added_timesteps() == buffer.get_added_timesteps()
    buffer.rng, restored.rng = np.random.default_rng(9), np.random.default_rng(9)
    expected = Counter(flat_rows(buffer, 20_000, n_step=2, beta=0.4))
    found = Counter(flat_rows(restored, 20_000, n_step=2, beta=0.4))
    assert found.keys() == expected.keys()
    for row, count in expected.items():
        assert abs(found[row] - count) < 5 * np.sqrt(found[row] + count)


def test_a_state_is_of_arrays_that_need_no_pickle(tmp_path):
    buffer = fill(FlatPrioritizedReplayBuffer(capacity=100, seed=1))
    np.savez(tmp_path / "buffer.npz", **buffer.get_state())
    restored = FlatPrioritizedReplayBuffer(capacity=100)
    with np.load(tmp_path / "buffer.npz", allow_pickle=False) as state:
        restored.set_state(state)
    assert len(restored) == len(buffer)


def test_a_restored_buffer_goes_on_evicting_the_oldest():
    buffer = FlatReplayBuffer(capacity=17, seed=1)
    buffer.set_state(fill(FlatReplayBuffer(capacity=17, seed=1)).get_state())
    buffer.add([episode(9, 10).to_numpy()])
    # 7 + 5 + 7 + 1 steps were 13 without episode 1; with 10 more, 2 and 3 go too.
    assert {row[0] for row in flat_rows(buffer, 500, n_step=1)} == {4.0, 9.0}
    assert len(buffer) == 11


@pytest.mark.parametrize(("rllib", "flat"), KINDS)
def test_metrics_have_rllibs_names_and_sums(rllib, flat):
    whole = [[episode(1, 3)], [episode(2, 4)], [episode(3, 6)], [episode(4, 5)]]
    theirs, ours = fill(rllib(capacity=12), whole), fill(flat(capacity=12, seed=0), whole)
    rllib_rows(theirs, 32, n_step=1, beta=0.0)
    flat_rows(ours, 32, n_step=1, beta=0.0)
    expected = theirs.metrics.peek()
    ours._since_metrics.log(ours)
    found = ours.metrics.peek()
    assert found.keys() == expected.keys()
    for name in ("num_env_steps_added", "num_episodes_added", "num_env_steps_evicted", "num_env_steps_sampled"):
        assert found[name] == expected[name], name


def test_long_runs_keep_rows_and_links_straight():
    """Random fragments of three environments over many evictions, against a plain list of steps."""
    generator = np.random.default_rng(4)
    buffer = FlatReplayBuffer(capacity=50, seed=0)
    begun, position = 3, {0: [0, 0], 1: [1, 0], 2: [2, 0]}
    for _ in range(600):
        which = int(generator.integers(3))
        number, start = position[which]
        length, ends = int(generator.integers(1, 6)), bool(generator.random() < 0.3)
        buffer.add([episode(number, length, start=start, terminated=ends).to_numpy()])
        position[which] = [begun, 0] if ends else [number, start + length]
        begun += ends
        assert len(buffer) <= 50 or buffer.get_num_episodes() == 1
        for number, step, then, after, _, reward, *_ in flat_rows(buffer, 20, n_step=1):
            assert (then, after) == (number, step + 1)
            assert reward == number * 100 + step
    # Freed rows are used again.
    assert buffer._store._used < 200


def test_a_priority_that_is_not_finite_is_refused_and_changes_nothing():
    buffer = FlatPrioritizedReplayBuffer(1000, seed=1)
    buffer.add([episode(1, 50)])
    buffer.sample(8, n_step=1)
    priorities = np.ones(8)
    priorities[5] = np.nan
    with pytest.raises(NonFiniteNumber, match=r"replay buffer: the priority\[5\] is nan"):
        buffer.update_priorities(priorities)
    drawn = {tuple(row) for row in buffer.sample(1000, n_step=1)["obs"].tolist()}
    assert len(drawn) == 50
