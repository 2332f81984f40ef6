import sys
import types

import numpy as np
import pytest
import torch

from trainyard.errors import InvalidConfiguration
from trainyard.examples import tune_grid
from trainyard.search.trainables import iterations_of, load, with_values


@pytest.fixture
def module(monkeypatch):
    made = types.ModuleType("users_module")
    monkeypatch.setitem(sys.modules, "users_module", made)
    made.train = lambda config: None
    made.two = lambda config, more: None
    made.number = 3
    return made


def test_a_function_is_found_by_module_and_name(module):
    assert load("users_module:train") is module.train
    assert load("trainyard.examples.tune_grid:train") is tune_grid.train


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no_such_module:train", "cannot be imported"),
        ("users_module:trian", "did you mean 'train'"),
        ("users_module:number", "is a int; name a function"),
        ("users_module:two", "cannot be called with one argument"),
    ],
)
def test_what_is_no_trainable_is_refused_in_words(module, path, words):
    with pytest.raises(InvalidConfiguration) as error:
        load(path)
    assert words in str(error.value)
    assert error.value.field == "spec.trainable.function"


def test_values_are_set_by_path_and_the_original_stays():
    spec = {"trainable": {"function": "m:f", "config": {"a": 1}}}
    assert with_values(spec, {"trainable.config.lr": 0.1, "trainable.config.net.size": 3}) == {
        "trainable": {"function": "m:f", "config": {"a": 1, "lr": 0.1, "net": {"size": 3}}}
    }
    assert spec["trainable"]["config"] == {"a": 1}


@pytest.mark.parametrize(
    ("output", "reported"),
    [
        (iter([{"a": 1}, {"a": 2}]), None),
        ({"a": 1}, [{"a": 1}]),
        (0.5, [{"value": 0.5}]),
        (np.float32(5), [{"value": 5}]),
        (torch.tensor([4.0]), [{"value": 4.0}]),
        ({"score": np.array([4.0]), "note": "a"}, [{"score": 4.0, "note": "a"}]),
        (None, []),
    ],
)
def test_what_a_function_returns_is_reported(output, reported):
    found = []
    if reported is None:
        with pytest.raises(TypeError, match="yield or return"):
            iterations_of(lambda config: output, {}, found.append)
        return
    iterations_of(lambda config: output, {}, found.append)
    assert found == reported


def test_what_a_generator_yields_is_reported(monkeypatch):
    monkeypatch.setattr(tune_grid, "SECONDS_PER_EPOCH", 0.0)
    found = []
    iterations_of(tune_grid.train, {"lr": 0.01, "trial_id": 1}, found.append)
    assert len(found) == 10
    assert found[-1]["reward"] == pytest.approx(1010.0)
    assert found[-1]["loss"] == pytest.approx(0.0990, abs=5e-5)
