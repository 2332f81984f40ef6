"""Off-policy advantages: GAE when nothing is stale, V-trace by its definition otherwise."""

import numpy as np
import pytest

from trainyard.rllib.asynchronous.correction import correct

DISCOUNT, DECAY = 0.9, 0.8


def one_episode(rewards, values, final_value, log_ratios, decay=DECAY):
    return correct(
        lengths=np.array([len(rewards)]),
        rewards=np.array(rewards),
        values=np.array(values),
        final_values=np.array([final_value]),
        log_ratios=np.array(log_ratios),
        discount=DISCOUNT,
        trace_decay=decay,
    )


def test_without_staleness_the_advantages_are_gae_and_the_targets_its_returns():
    rewards, values, final = [1.0, 2.0, 3.0], [0.5, 0.25, -1.0], 4.0
    corrected = one_episode(rewards, values, final, [0.0, 0.0, 0.0])
    third = 3.0 + 0.9 * 4.0 - (-1.0)
    second = 2.0 + 0.9 * (-1.0) - 0.25 + 0.9 * 0.8 * third
    first = 1.0 + 0.9 * 0.25 - 0.5 + 0.9 * 0.8 * second
    np.testing.assert_allclose(corrected.advantages, [first, second, third])
    np.testing.assert_allclose(corrected.weights, 1.0)
    np.testing.assert_allclose(corrected.value_targets, np.add(values, [first, second, third]))


def test_a_terminated_episode_of_one_step_has_its_reward_as_target():
    corrected = one_episode([5.0], [2.0], 0.0, [0.0])
    np.testing.assert_allclose(corrected.value_targets, [5.0])


def test_weights_are_truncated_at_one_so_that_likelier_actions_count_once():
    corrected = one_episode([1.0, 1.0], [0.0, 0.0], 0.0, [np.log(3.0), np.log(0.25)])
    np.testing.assert_allclose(corrected.weights, [1.0, 0.25])


@pytest.mark.parametrize("decay", [1.0, 0.8])
def test_value_targets_are_the_v_trace_sum(decay):
    """v_s = V(s) + sum_t gamma^(t-s) (prod_{i<t} c_i) rho_t delta_t, c_i = lambda min(1, ratio), as in IMPALA."""
    generator = np.random.default_rng(4)
    steps = 6
    rewards, values = generator.normal(size=steps), generator.normal(size=steps)
    ratios = generator.uniform(0.2, 2.0, size=steps)
    final = 0.7
    rho = np.minimum(1.0, ratios)
    following = np.append(values[1:], final)
    delta = rewards + DISCOUNT * following - values
    expected = [
        values[s] + sum(DISCOUNT ** (t - s) * np.prod(decay * rho[s:t]) * rho[t] * delta[t] for t in range(s, steps))
        for s in range(steps)
    ]
    corrected = one_episode(rewards, values, final, np.log(ratios), decay=decay)
    np.testing.assert_allclose(corrected.value_targets, expected)


def test_episodes_of_different_lengths_do_not_leak_into_each_other():
    together = correct(
        lengths=np.array([2, 1, 3]),
        rewards=np.array([1.0, 2.0, 10.0, 3.0, 4.0, 5.0]),
        values=np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]),
        final_values=np.array([1.0, 0.0, 2.0]),
        log_ratios=np.log([0.5, 1.0, 0.7, 1.0, 0.9, 0.2]),
        discount=DISCOUNT,
        trace_decay=DECAY,
    )
    alone = [
        one_episode([1.0, 2.0], [0.1, 0.2], 1.0, np.log([0.5, 1.0])),
        one_episode([10.0], [0.3], 0.0, np.log([0.7])),
        one_episode([3.0, 4.0, 5.0], [0.4, 0.5, 0.6], 2.0, np.log([1.0, 0.9, 0.2])),
    ]
    for name in ("advantages", "weights", "value_targets"):
        np.testing.assert_allclose(getattr(together, name), np.concatenate([getattr(part, name) for part in alone]))


def test_fully_discounted_traces_leave_the_one_step_temporal_difference():
    corrected = one_episode([1.0, 2.0], [0.5, 0.25], 4.0, [0.0, 0.0], decay=0.0)
    np.testing.assert_allclose(corrected.advantages, [1.0 + 0.9 * 0.25 - 0.5, 2.0 + 0.9 * 4.0 - 0.25])
