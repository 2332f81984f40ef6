"""Runs whose storage is behind a filesystem URI: going on after the machine is gone, and starting from another run.

The filesystem is fsspec's in memory: like an object store it is reached through the URI alone, and no path of this
machine leads there.
"""

import csv
import json
import shutil
import time

import numpy as np
import pytest
from pyarrow import fs

from trainyard.callbacks import Callback
from trainyard.errors import InvalidConfiguration
from trainyard.observers.curves import Curves
from trainyard.runs import resuming
from trainyard.runs.run import Identity, RestoredReplay, Run
from trainyard.runs.storage import at_uri
from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse
from trainyard.training.loop import train

pytestmark = pytest.mark.usefixtures("ray_session")

DQN = {
    "num_steps_sampled_before_learning_starts": 50,
    "train_batch_size_per_learner": 16,
    # One update for 16 steps: an iteration of DQN has a thousand.
    "training_intensity": 1,
    "replay_buffer_config": {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 500, "alpha": 0.6, "beta": 0.4},
}
REPLAY = "algorithm/replay_buffer.npz"


@pytest.fixture
def bucket():
    """The URI of an empty place that outlives each attempt."""
    return f"fsspec+memory:///bucket-{time.monotonic_ns()}"


class DiesAfter(Callback):
    """Ends the attempt as a lost machine does: nothing is written any more, and its disk is gone."""

    def __init__(self, iteration):
        self._last = iteration

    def on_iteration(self, run, iteration):
        if iteration.number == self._last:
            shutil.rmtree(run.storage.local)
            run.storage.local.mkdir()
            raise ConnectionError("the machine is gone")


def attempt(bucket, name, *callbacks, **sections):
    """One attempt on a machine that has nothing of the earlier ones."""
    spec = normalise_numbers(
        {
            "seed": 7,
            "algorithm": {"name": "DQN", "config": DQN, "model": {"fcnet_hiddens": [16]}},
            "environment": {"name": "CartPole-v1"},
            "sampling": {"envRunners": 0},
            "checkpoints": {"everyIterations": 1, "keep": 2},
        }
        | sections
    )
    run = Run(Identity("test"), parse(spec), {"spec": spec}, at_uri(bucket, name))
    try:
        train(run, [Curves(), *callbacks])
    finally:
        run.storage.discard_scratch()
    return run


def files(bucket, folder):
    """The content of every file below a folder, by its name there."""
    filesystem, root = fs.FileSystem.from_uri(bucket)
    selector = fs.FileSelector(f"{root}/{folder}", recursive=True, allow_not_found=True)
    paths = [info.path for info in filesystem.get_file_info(selector) if info.type == fs.FileType.File]
    return {path.partition(f"{folder}/")[2]: read(bucket, path.partition(f"{root}/")[2]) for path in paths}


def read(bucket, name):
    filesystem, root = fs.FileSystem.from_uri(bucket)
    with filesystem.open_input_file(f"{root}/{name}") as stream:
        return stream.read()


def steps_in_the_buffer(bucket, name, tmp_path):
    (tmp_path / "buffer.npz").write_bytes(read(bucket, f"{name}/{REPLAY}"))
    with np.load(tmp_path / "buffer.npz") as state:
        return int(state["lengths"].sum())


def test_another_machine_goes_on_with_the_replay_buffer_and_the_curve(bucket, tmp_path):
    with pytest.raises(ConnectionError):
        attempt(bucket, "team/run/u", DiesAfter(3), stop={"iterations": 9})
    kept = files(bucket, "team/run/u/checkpoints")
    assert [name for name in kept if name.endswith(REPLAY)] == [f"2/{REPLAY}"], "the latest alone keeps it"
    stored = steps_in_the_buffer(bucket, "team/run/u/checkpoints/2", tmp_path)
    run = attempt(bucket, "team/run/u", stop={"iterations": 4})
    assert (run.restored_iteration, run.counters.iteration) == (2, 4)
    assert run.restored_replay == RestoredReplay(stored)
    # The lost attempt ended by an exception, so that it could still say how far it had got.
    assert run.lost_iterations == 1
    rows = csv.DictReader(read(bucket, "team/run/u/progress.csv").decode().splitlines())
    assert [float(row["time/iteration"]) for row in rows] == [1, 2, 3, 4]


def test_other_runs_start_from_it_and_leave_it_as_it_is(bucket, tmp_path):
    attempt(bucket, "team/first/u", stop={"iterations": 2})
    before = files(bucket, "team/first/u")
    stored = steps_in_the_buffer(bucket, "team/first/u/checkpoints/2", tmp_path)
    run = attempt(
        bucket, "team/second/u", stop={"iterations": 3}, resumeFrom={"uri": f"{bucket}/team/first/u"}
    )  # fmt: skip
    assert (run.resumed_from, run.restored_iteration, run.counters.iteration) == ("All of iteration 2", 2, 3)
    assert run.restored_replay == RestoredReplay(stored)
    assert json.loads(read(bucket, "team/second/u/checkpoints/3/trainyard.json"))["counters"]["iteration"] == 3
    weights = {"uri": f"{bucket}/team/first/u/checkpoints/2", "restore": "Weights"}
    run = attempt(bucket, "team/third/u", stop={"iterations": 1}, resumeFrom=weights)
    assert (run.resumed_from, run.restored_iteration) == ("Weights of iteration 2", 0)
    assert files(bucket, "team/first/u") == before


def test_a_place_without_a_run_is_refused_before_anything_starts(bucket):
    at_uri(bucket, "team/empty")
    wanted = {"algorithm": {"name": "DQN"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 1}}
    for folder, words in (("team/none", "is no folder that can be seen"), ("team/empty", "has no latest checkpoint")):
        with pytest.raises(InvalidConfiguration, match=words):
            resuming.check(parse(wanted | {"resumeFrom": {"uri": f"{bucket}/{folder}"}}))
