"""The rule for numbers that are not finite."""

import numpy as np
import pytest

from trainyard.episodes.finite import first_fault, is_finite, replaced, too_many

NAN, INF = float("nan"), float("inf")
LARGE = np.full(4, np.finfo(np.float32).max, np.float32)


@pytest.mark.parametrize(
    "value",
    [
        1.0, 3, True, np.float32(1), np.zeros(3), np.zeros(3, np.uint8), LARGE, np.array(["a"]), "text", None,
        {"a": np.zeros(2), "b": (1.0, np.ones(1))},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_finite(value):
    assert is_finite(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (NAN, "reward is nan"),
        (np.float32(INF), "reward is inf"),
        (np.array(-INF), "reward is -inf"),
        (np.array([1, NAN, INF]), "reward[1] is nan"),
        (np.array([[1, 2], [3, INF]], np.float32), "reward[1, 1] is inf"),
        (np.array([INF, -INF]), "reward[0] is inf"),
        ({"a": np.zeros(2), "b": (1.0, np.array([0, NAN]))}, "reward['b'][1][1] is nan"),
    ],
    ids=str,
)
def test_what_is_not_is_named_with_its_place(value, words):
    assert not is_finite(value)
    assert first_fault(value, "reward") == words
    assert is_finite(replaced(value) if not isinstance(value, float | np.floating) else 0.0)


@pytest.mark.parametrize(
    ("left_out", "episodes", "tolerate", "expected"),
    [
        (1, 1000, 0.0, True),
        (1, 1, 0.01, False),
        (2, 100, 0.01, True),
        (2, 200, 0.01, False),
        (3, 200, 0.01, True),
        (50, 100, 0.5, False),
    ],
)
def test_how_many_are_too_many(left_out, episodes, tolerate, expected):
    assert too_many(left_out, episodes, tolerate) is expected
