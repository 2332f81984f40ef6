"""Checkpoints of a run: written whole or not at all, a few kept, the best one beside them.

A checkpoint is a folder `checkpoints/<iteration>/` with the algorithm's own files and `trainyard.json` (counters,
callbacks' state), which arrives last and goes first: a folder without it is what a killed driver left, is ignored, and
is removed when the next attempt starts (`settle`).

There is one best checkpoint, and a driver may be killed while another takes its place. The new one is therefore put
beside it whole, as `checkpoints/best-new/`; from then on it is the best one for whoever reads, and only then does it
become `checkpoints/best/`, which the next attempt makes up for where this one was killed. docs/checkpoints.md has the
table of what a kill leaves at every point.
"""

import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainyard.runs.storage import RunStorage

FOLDER = "checkpoints"
BEST = f"{FOLDER}/best"
NEW_BEST = f"{FOLDER}/best-new"
STATE_FILE = "trainyard.json"
ALGORITHM_FOLDER = "algorithm"
# In the algorithm's folder. It can be large and serves only to go on, so that the latest checkpoint alone keeps it.
REPLAY_FILE = "replay_buffer.npz"
# Names of folders that are being written or removed; each has a part of its own, so that no leftover is in the way.
SCRATCH = ".writing-"
RETIRED = ".retired-"
# What earlier versions called them.
_EARLIER_SCRATCH = "checkpoint-"
_EARLIER_RETIRED_BEST = f"{FOLDER}/.best-retired"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was written. `name` is its folder below the run's storage."""

    iteration: int
    name: str
    uri: str
    time: float
    best: bool = False


class CheckpointStore:
    """Writes, lists and prunes the checkpoints of one run."""

    def __init__(self, storage: RunStorage, keep: int) -> None:
        self._storage = storage
        self._keep = keep

    def save(
        self, iteration: int, save_algorithm: Callable[[Path], Any], state: dict[str, Any], *, best: bool = False
    ) -> Checkpoint:
        """Write a checkpoint of `iteration`, or as `checkpoints/best`; older ones beyond `keep` are removed.

        Args:
            save_algorithm: writes the algorithm's own files into the local folder that it is given.
            state: JSON-compatible; what `state_of` returns later.
        """
        name = BEST if best else f"{FOLDER}/{iteration}"
        checkpoint = Checkpoint(iteration, name, self._storage.uri_of(name), time.time(), best)
        with self._scratch() as scratch:
            save_algorithm(scratch / ALGORITHM_FOLDER)
            (scratch / STATE_FILE).write_text(json.dumps(state | {"checkpoint": asdict(checkpoint)}))
            self._place(scratch, name)
        if not best:
            self._prune()
        return checkpoint

    def settle(self) -> None:
        """Finish what a driver that was killed had begun, and remove what it left; for the run's own store alone."""
        self._settle_best()
        if self._storage.is_local and self._read(BEST) is None and self._read(_EARLIER_RETIRED_BEST) is not None:
            self._put(self._storage.local / _EARLIER_RETIRED_BEST, BEST)
        for folder in self._storage.list_folders(FOLDER):
            name = f"{FOLDER}/{folder}"
            unfinished = (folder.isdigit() or name == BEST) and self._read(name) is None
            if unfinished or folder.startswith((".", _EARLIER_SCRATCH)):
                self._remove(name)
        self._prune()

    def latest(self) -> Checkpoint | None:
        """The whole checkpoint with the highest iteration, or None."""
        return next((found for name in self._iterations(descending=True) if (found := self._read(name))), None)

    def best(self) -> Checkpoint | None:
        return self._read(NEW_BEST) or self._read(BEST)

    def itself(self) -> Checkpoint | None:
        """The storage's own folder, where that is a checkpoint and not a run's folder."""
        return self._read(".")

    def take_over_best(self, other: "CheckpointStore", best: Checkpoint) -> None:
        """Copy a checkpoint of another run as the best one, until this run finds a better one."""
        with self._scratch() as scratch:
            without_replay = shutil.ignore_patterns(REPLAY_FILE)
            shutil.copytree(other.algorithm_folder(best), scratch / ALGORITHM_FOLDER, ignore=without_replay)
            (scratch / STATE_FILE).write_text(json.dumps(other.state_of(best)))
            self._place(scratch, BEST)

    def add_to_best(self, file: Path) -> None:
        """Put a file beside the best checkpoint's own; the next best one comes without it."""
        if not self._storage.is_local:
            self._storage.upload(file, f"{BEST}/{file.name}")
            return
        with self._scratch() as scratch:
            shutil.copyfile(file, scratch / file.name)
            _flush(scratch)
            (scratch / file.name).rename(self._storage.local / BEST / file.name)

    def state_of(self, checkpoint: Checkpoint) -> dict[str, Any]:
        text = self._storage.read_text(f"{checkpoint.name}/{STATE_FILE}")
        if text is None:
            raise FileNotFoundError(f"{checkpoint.uri} has no {STATE_FILE}")
        return json.loads(text)

    def algorithm_folder(self, checkpoint: Checkpoint) -> Path:
        """A local folder with the algorithm's own files."""
        return self._storage.download(f"{checkpoint.name}/{ALGORITHM_FOLDER}")

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder to write into, on the same filesystem as a local target, so that the rename into place works."""
        scratch = self._storage.local / FOLDER / f"{SCRATCH}{uuid.uuid4().hex}"
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _place(self, scratch: Path, name: str) -> None:
        if self._storage.is_local:
            _flush(scratch)
        if name != BEST:
            self._put(scratch, name)
            return
        self._settle_best()
        self._put(scratch, NEW_BEST)
        self._replace_best(self._storage.local / NEW_BEST if self._storage.is_local else scratch)

    def _settle_best(self) -> None:
        """Let a new best checkpoint that is whole take its place; one that is not has never been one."""
        if self._read(NEW_BEST) is not None:
            self._replace_best(self._storage.download(NEW_BEST))
        else:
            self._remove(NEW_BEST)

    def _replace_best(self, folder: Path) -> None:
        self._put(folder, BEST)
        self._remove(NEW_BEST)

    def _put(self, folder: Path, name: str) -> None:
        """Make a whole local folder the checkpoint `name`; what was there is not needed any more.

        For an iteration that can only be what a killed driver left, because a run goes on from the latest.
        """
        if not self._storage.is_local:
            self._remove(name)
            self._storage.upload(folder / ALGORITHM_FOLDER, f"{name}/{ALGORITHM_FOLDER}")
            self._storage.upload(folder / STATE_FILE, f"{name}/{STATE_FILE}")
            return
        target = self._storage.local / name
        retired = target.with_name(f"{RETIRED}{uuid.uuid4().hex}")
        if target.exists():
            target.rename(retired)
        folder.rename(target)
        _sync(target.parent)
        shutil.rmtree(retired, ignore_errors=True)

    def _remove(self, name: str) -> None:
        """Remove a checkpoint, such that what is left of it when the driver is killed meanwhile is none."""
        self._storage.delete(f"{name}/{STATE_FILE}")
        self._storage.delete(name)

    def _iterations(self, *, descending: bool) -> list[str]:
        numbers = sorted(
            (int(name) for name in self._storage.list_folders(FOLDER) if name.isdigit()), reverse=descending
        )
        return [f"{FOLDER}/{number}" for number in numbers]

    def _read(self, name: str) -> Checkpoint | None:
        text = self._storage.read_text(f"{name}/{STATE_FILE}")
        if text is None:
            return None
        here = {"name": name, "uri": self._storage.uri_of(name)} | ({"best": True} if name in (BEST, NEW_BEST) else {})
        return Checkpoint(**json.loads(text)["checkpoint"] | here)

    def _prune(self) -> None:
        iterations = self._iterations(descending=True)
        for name in iterations[self._keep :]:
            self._remove(name)
        for name in iterations[1 : self._keep]:
            self._storage.delete(f"{name}/{ALGORITHM_FOLDER}/{REPLAY_FILE}")


def _flush(folder: Path) -> None:
    """Have the operating system write a folder's files to its disk, so that a lost node leaves no empty ones."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
