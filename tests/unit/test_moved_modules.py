"""Modules are still found under the names that they had in version 0.1."""

import importlib
import importlib.util
import pickle
import subprocess
import sys

import pytest

from trainyard.loading import MOVED

RLLIB = {"rllib", "training", "recording.runner_side", "search.on_tune"}


@pytest.mark.parametrize("old", [name for name in MOVED if not MOVED[name].startswith(tuple(RLLIB))])
def test_an_old_name_is_the_module_itself(old):
    module = importlib.import_module(f"trainyard.{old}")
    assert module is importlib.import_module(f"trainyard.{MOVED[old]}")
    assert module.__name__ == module.__spec__.name == f"trainyard.{MOVED[old]}"


@pytest.mark.parametrize("old", MOVED)
def test_no_module_has_an_old_name_again(old):
    assert importlib.util.find_spec(f"trainyard.{MOVED[old]}") is not None


def test_a_class_path_in_an_old_pickle_gives_the_class_of_today():
    from trainyard.rllib.replay.transitions import TransitionStore

    assert pickle.loads(b"ctrainyard.replay.transitions\nTransitionStore\n.") is TransitionStore


def test_a_users_module_of_the_same_last_name_is_left_alone(tmp_path):
    (tmp_path / "driver.py").write_text("OWN = True\n")
    code = "import trainyard, driver; print(driver.OWN)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True", done.stderr
