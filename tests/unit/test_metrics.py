import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

from trainyard.metrics import (
    EpisodeWindow,
    as_number,
    better,
    figures,
    finite,
    flatten,
    is_finite_number,
    no_numbers,
    summarise,
)

NAN = float("nan")


@pytest.mark.parametrize("value", [None, NAN, math.inf, -math.inf, True, "1", [1.0]])
def test_what_is_no_finite_number_never_counts(value):
    assert not is_finite_number(value)
    assert not better(value, None, "max")


@pytest.mark.parametrize(
    ("value", "than", "mode", "min_delta", "expected"),
    [
        (1.0, None, "max", 5.0, True),
        (1.0, 1.0, "max", 0.0, False),
        (1.1, 1.0, "max", 0.0, True),
        (1.1, 1.0, "max", 0.2, False),
        (0.9, 1.0, "min", 0.0, True),
        (0.9, 1.0, "min", 0.2, False),
        (1.1, 1.0, "min", 0.0, False),
    ],
)
def test_a_better_value_improves_by_more_than_the_least_change(value, than, mode, min_delta, expected):
    assert better(value, than, mode, min_delta) is expected


def test_nested_results_become_flat_names_and_keep_numbers_only():
    nested = {"a": {"b": 1, "c": NAN, "d": "text", "e": [1, 2]}, "f": True, "g": 2.5}
    flat = flatten(nested, "rllib/")
    assert set(flat) == {"rllib/a/b", "rllib/a/c", "rllib/g"}
    assert finite(flat) == {"rllib/a/b": 1, "rllib/g": 2.5}


def test_a_window_keeps_the_last_episodes_and_counts_all():
    window = EpisodeWindow(size=3)
    window.add({"return": value, "length": 10} for value in (100.0, 1.0, 2.0, 6.0))
    assert window.metrics() == {
        "train/episodes": 4,
        "train/return_mean": 3.0,
        "train/return_min": 1.0,
        "train/return_max": 6.0,
        "train/episode_length_mean": 10.0,
    }


def test_a_window_without_episodes_has_no_return():
    assert EpisodeWindow().metrics() == {"train/episodes": 0}


def test_iterations_without_an_episode_leave_the_window_as_it_was():
    window = EpisodeWindow()
    window.add([{"return": 5.0, "length": 1}])
    before = window.metrics()
    window.add([])
    assert window.metrics() == before


def test_a_restored_window_goes_on_where_it_was():
    window, restored = EpisodeWindow(size=2), EpisodeWindow(size=2)
    window.add([{"return": 1.0}, {"return": 2.0}, {"return": 3.0}])
    restored.load_state_dict(window.state_dict())
    restored.add([{"return": 5.0}])
    assert restored.metrics()["train/return_mean"] == 4.0
    assert restored.finished == 4


def test_figures_of_an_environment_are_averaged_over_the_episodes_that_have_them():
    episodes = [{"return": 1.0, "sharpe": 2.0}, {"return": 3.0, "sharpe": NAN}, {"return": 5.0, "sharpe": 4.0}]
    assert summarise(episodes) == {"return_mean": 3.0, "return_min": 1.0, "return_max": 5.0, "sharpe": 3.0}


NUMBERS = [
    5, 5.0, np.float32(5), np.float64(5), np.int64(5), np.array(5), np.array([5.0]), np.array([[5]], dtype=np.int8),
    torch.tensor(5), torch.tensor([5.0]), torch.tensor(5.0, requires_grad=True), Decimal(5), Fraction(5),
]  # fmt: skip
OTHERS = [
    None, True, np.True_, np.array([True]), "5", b"5", np.str_("5"), [5], (5,), {"a": 5}, np.array([]),
    np.array([5, 5]),
    torch.tensor([5, 5]), 5j, np.array([5j]), np.array(["5"]), object(), np.datetime64("2020-01-01"),
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_scalars_and_arrays_of_one_element_are_numbers(value):
    number = as_number(value)
    assert (number, type(number) in (int, float)) == (5, True)
    assert finite({"a": value}) == flatten({"a": value}) == {"a": 5}
    assert is_finite_number(value)


@pytest.mark.parametrize("value", OTHERS, ids=lambda value: f"{type(value).__name__} {value}".partition(" at 0x")[0])
def test_everything_else_is_none(value):
    assert as_number(value) is None
    assert finite({"a": value}) == {}


def test_an_integer_that_no_float_holds_does_not_count():
    assert finite({"a": 10**400}) == {}


def test_nan_of_numpy_is_a_number_that_does_not_count():
    assert math.isnan(as_number(np.float32("nan")))
    assert finite({"a": np.float32("nan"), "b": torch.tensor(math.inf)}) == {}


def test_what_is_no_number_is_named_by_its_type_and_notes_are_not():
    given = {"a": np.zeros(4), "b": [1], "c": "text", "d": True, "e": None, "f": 1.0, "g": math.nan}
    assert no_numbers(given) == {"a": "ndarray of shape (4,)", "b": "list"}


def test_figures_that_are_dropped_are_told_once(caplog):
    for _ in range(3):
        assert figures({"sharpe": np.float32(1.5), "returns": [1, 2]}, "episode_metrics") == {"sharpe": 1.5}
    assert [record.message for record in caplog.records] == [
        "episode_metrics: 'returns' is no metric, because it is list: give one number"
    ]


def test_figures_that_are_no_dictionary_are_told_and_not_an_error(caplog):
    assert figures([1.0], "episode_metrics of one") == {}
    assert "is a list: give a dictionary" in caplog.text
