"""A Tune generator function, as a team wrote theirs: ten epochs of a tenth of a second, one `yield` per epoch.

Used by the samples tune-grid and tuner-test through `trainable: {function: trainyard.examples.tune_grid:train}`.
"""

import socket
import time
from collections.abc import Iterator
from typing import Any

EPOCHS = 10
SECONDS_PER_EPOCH = 0.1


def train(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield `reward` (rises with `config["lr"]`) and `loss` (falls with it) once for each of `config["epochs"]`."""
    lr = config["lr"]
    for epoch in range(config.get("epochs", EPOCHS)):
        time.sleep(SECONDS_PER_EPOCH)
        yield {
            "reward": (epoch + 1) * 100 * (1 + lr),
            "loss": 1 / (epoch + 1) / (1 + lr),
            "epoch": epoch + 1,
            "trial_id": config["trial_id"],
            "hostname": socket.gethostname(),
        }
