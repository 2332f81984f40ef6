"""Sampling in proportion to priorities."""

import numpy as np
import pytest

from trainyard.rllib.replay.priorities import FAN_OUT, PriorityTree


def test_a_mass_falls_on_the_row_where_the_running_sum_passes_it():
    tree = PriorityTree()
    tree.set(np.array([0, 1, 5]), np.array([1.0, 2.0, 4.0]))
    assert tree.total == 7.0
    assert tree.minimum == 1.0
    np.testing.assert_array_equal(tree.find(np.array([0.0, 0.99, 1.0, 2.99, 3.0, 6.99])), [0, 0, 1, 1, 5, 5])


@pytest.mark.parametrize("rows", [1, FAN_OUT, FAN_OUT + 1, FAN_OUT**2, FAN_OUT**2 + 1, 300_000])
def test_trees_of_any_height_find_what_a_linear_search_finds(rows):
    generator = np.random.default_rng(0)
    tree = PriorityTree(rows)
    chosen = generator.choice(rows, size=max(1, rows // 3), replace=False)
    priorities = np.zeros(rows)
    priorities[chosen] = generator.integers(1, 9, size=len(chosen))
    tree.set(chosen, priorities[chosen])
    masses = generator.random(500) * tree.total
    np.testing.assert_array_equal(tree.find(masses), np.searchsorted(np.cumsum(priorities), masses, side="right"))
    assert tree.total == priorities.sum()
    assert tree.minimum == priorities[chosen].min()


def test_removed_rows_are_never_drawn_and_do_not_count():
    tree = PriorityTree(200)
    tree.set(np.arange(200), np.full(200, 3.0))
    tree.set(np.array([7]), np.array([0.5]))
    tree.remove(np.arange(0, 200, 2))
    tree.remove(np.array([7]))
    assert tree.total == pytest.approx(99 * 3.0)
    assert tree.minimum == 3.0
    found = tree.find(np.random.default_rng(1).random(2000) * tree.total)
    assert set(found.tolist()) == set(range(1, 200, 2)) - {7}


def test_of_a_row_that_is_set_twice_the_last_value_counts():
    tree = PriorityTree()
    tree.set(np.array([3, 3, 3]), np.array([1.0, 2.0, 5.0]))
    assert tree.total == 5.0


def test_a_mass_that_rounding_puts_at_the_total_falls_on_the_last_row_with_a_priority():
    tree = PriorityTree(FAN_OUT * 3)
    tree.set(np.array([2, 70]), np.array([0.1, 0.2]))
    assert tree.find(np.array([tree.total, tree.total * 2])).tolist() == [70, 70]


def test_growing_keeps_the_priorities():
    tree = PriorityTree(10)
    tree.set(np.array([1, 9]), np.array([0.25, 0.5]))
    tree.grow(FAN_OUT**2 + 1)
    assert len(tree) > FAN_OUT**2
    assert (tree.total, tree.minimum) == (0.75, 0.25)
    assert tree.find(np.array([0.2, 0.3])).tolist() == [1, 9]


def test_many_updates_pile_up_no_rounding_errors():
    tree = PriorityTree(1000)
    generator = np.random.default_rng(2)
    tree.set(np.arange(1000), generator.random(1000))
    for _ in range(300):
        tree.set(generator.integers(0, 1000, 32), generator.random(32) * 10 ** generator.uniform(-9, 9))
    leaves = tree.of(np.arange(1000))
    assert tree.total == pytest.approx(leaves.sum(), rel=1e-12)
