"""Flat minibatches: every row in every epoch, same sizes, same order as RLlib for the same seed."""

import numpy as np
import pytest
import torch
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from ray.rllib.utils.minibatch_utils import MiniBatchCyclicIterator

from trainyard.rllib.learners.flat import marking_last
from trainyard.rllib.learners.minibatches import minibatches, tensor_columns


def rows_of(count: int) -> dict:
    return {"x": torch.arange(count), "nested": {"y": torch.arange(count) * 10.0}}


@pytest.mark.parametrize("rows", [10, 16, 17])
@pytest.mark.parametrize("size", [1, 4, 16, 23])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("total", [0, 1, 5])
def test_rows_come_in_the_order_of_rllibs_iterator(rows, size, shuffle, epochs, total):
    np.random.seed(7)
    batch = MultiAgentBatch({"p": SampleBatch({"x": torch.arange(rows)})}, env_steps=rows)
    theirs = MiniBatchCyclicIterator(
        batch,
        num_epochs=epochs,
        minibatch_size=size,
        shuffle_batch_per_epoch=shuffle and epochs > 1,
        num_total_minibatches=total,
    )
    expected = [minibatch.policy_batches["p"]["x"].tolist() for minibatch in theirs]
    np.random.seed(7)
    own = minibatches(
        {"p": (rows_of(rows), rows)}, minibatch_size=size, num_epochs=epochs, shuffle=shuffle, total=total
    )
    assert [minibatch["p"]["x"].tolist() for minibatch in own] == expected


def test_nested_columns_stay_together_with_the_others():
    for minibatch in minibatches({"p": (rows_of(9), 9)}, minibatch_size=4, num_epochs=3, shuffle=True):
        torch.testing.assert_close(minibatch["p"]["nested"]["y"], minibatch["p"]["x"] * 10.0)


def test_without_a_size_and_with_one_epoch_the_batch_is_passed_as_it_is():
    columns = rows_of(5)
    (only,) = minibatches({"p": (columns, 5)}, minibatch_size=None, num_epochs=1, shuffle=True)
    assert only["p"] is columns


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="no rows"):
        list(minibatches({"p": (rows_of(0), 0)}, minibatch_size=4, num_epochs=1, shuffle=False))


def test_columns_of_other_objects_are_left_out():
    assert set(tensor_columns({"x": torch.zeros(2), "infos": [{}, {}]})) == {"x"}


@pytest.mark.parametrize(("items", "marked"), [([], []), ([1], [(1, True)]), ([1, 2], [(1, False), (2, True)])])
def test_the_last_item_is_marked(items, marked):
    assert list(marking_last(items)) == marked
