"""Trainables for tests of the search; imported by name in trials."""

import os
import signal
import time
from pathlib import Path

import numpy as np


def generator(config):
    """Reward falls after its second epoch; records when the trial ran, to see how many ran at the same time."""
    marks = Path(config["marks"]) if "marks" in config else None
    name = f"{config['x']}-{os.getpid()}-{time.monotonic_ns()}"
    if marks:
        (marks / f"{name}.begin").write_text(str(time.time()))
    for epoch in range(config.get("epochs", 3)):
        time.sleep(config.get("seconds", 0.0))
        yield {"reward": float(config["x"] * (2 if epoch == 1 else 1)), "epoch": epoch + 1}
    if marks:
        (marks / f"{name}.end").write_text(str(time.time()))


def failing(config):
    yield {"reward": 1.0}
    if config["x"] == 2:
        raise ArithmeticError("two is too many")
    yield {"reward": float(config["x"])}


def always_failing(config):
    raise ArithmeticError("never")
    yield {}


def returning(config):
    return {"reward": float(config["x"])}


def failing_under_tune(config):
    from ray import tune

    if config["x"] == 1:
        raise ArithmeticError("one is too few")
    tune.report({"reward": 1.0})
    if config["x"] == 2:
        raise ArithmeticError("two is too many")
    tune.report({"reward": float(config["x"])})


def killed(config):
    os.kill(os.getpid(), signal.SIGKILL)


def reporting(config):
    from ray import tune

    for epoch in range(3):
        tune.report({"reward": float(config["x"] + epoch)})


def long(config):
    """One epoch at once; the next one takes as long as it is told."""
    yield {"reward": float(config["x"])}
    time.sleep(config["x"])
    yield {"reward": float(config["x"])}


def of_numpy(config):
    yield {"reward": np.array([float(config["x"])]), "loss": np.float32(0.5)}


def of_numpy_under_tune(config):
    from ray import tune

    tune.report({"reward": np.array([float(config["x"])]), "loss": np.float32(0.5)})
