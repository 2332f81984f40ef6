"""A driver process for the recording tests: trains a recorded run, and may kill itself in the middle.

It joins the Ray at RAY_ADDRESS, which goes on when it is killed.

Usage: recorded_run.py FOLDER UID ATTEMPT ITERATIONS KILL_AFTER
"""

import json
import os
import signal
import sys
from pathlib import Path

import ray

from trainyard.callbacks import Callback
from trainyard.recording.driver_side import Recording
from trainyard.runs import storage
from trainyard.runs.run import Identity, Run
from trainyard.spec.parsing import parse
from trainyard.training.loop import train

SPEC = {
    "seed": 3,
    "algorithm": {
        "name": "PPO",
        "config": {"train_batch_size_per_learner": 200, "minibatch_size": 100, "num_epochs": 1},
    },
    "environment": {"name": "CartPole-v1"},
    "sampling": {"envRunners": 1, "envsPerRunner": 2},
    "checkpoints": {"everyIterations": 2},
    "recording": {"steps": "All"},
}


class KillDriver(Callback):
    """Ends the driver's process with SIGKILL after an iteration; comes after the recording in the callbacks."""

    def __init__(self, after: int) -> None:
        self._after = after

    def on_iteration(self, run, iteration):
        if iteration.number == self._after:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, uid: str, attempt: int, iterations: int, kill_after: int) -> None:
    document = {"spec": SPEC | {"stop": {"iterations": iterations}}}
    ray.init(address="auto", logging_level="ERROR")
    run = Run(
        Identity("recorded", uid=uid, attempt=attempt),
        parse(document["spec"]),
        document,
        storage.at_directory(folder),
    )
    train(run, [Recording(), KillDriver(kill_after)])
    counters = {
        "env_steps": run.counters.env_steps,
        "episodes": run.counters.episodes,
        "restored": run.restored_iteration,
        "lost": run.lost_iterations,
    }
    (folder / "counters.json").write_text(json.dumps(counters))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *(int(argument) for argument in sys.argv[3:6]))
