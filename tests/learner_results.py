"""The Learners that are compared, and what they say about an update."""

from __future__ import annotations

import numpy as np
import pytest
from ray.rllib.core.learner.learner import Learner

from trainyard.rllib.learners import counterpart


def lean_learner(stock: type[Learner]) -> type[Learner]:
    """The lean counterpart; skips the test where this Ray has none (of the pinned one, test_compat.py says that)."""
    choice = counterpart(stock)
    if choice.reason is not None:
        pytest.skip(choice.reason)
    return choice.learner_class


def assert_same_results(expected: dict, actual: dict, path: str = "") -> None:
    assert expected.keys() == actual.keys(), path
    for key, value in expected.items():
        where = f"{path}/{key}"
        if key == "timers" or key.endswith(("timer", "throughput")):
            continue
        if isinstance(value, dict):
            assert_same_results(value, actual[key], where)
        else:
            np.testing.assert_allclose(actual[key], value, rtol=2e-3, atol=2e-4, err_msg=where)
