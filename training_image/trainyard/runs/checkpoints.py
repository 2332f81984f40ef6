"""Checkpoints of a run: written whole or not at all, a few kept, the best one beside them.

A checkpoint is a folder `checkpoints/<iteration>/` with the algorithm's own files and `trainyard.json` (counters,
callbacks' state), which is written last: a folder without it is an unfinished write and is ignored and removed.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainyard.runs.storage import RunStorage

FOLDER = "checkpoints"
BEST = f"{FOLDER}/best"
STATE_FILE = "trainyard.json"
ALGORITHM_FOLDER = "algorithm"
# In the algorithm's folder. It can be large and serves only to go on, so that the latest checkpoint alone keeps it.
REPLAY_FILE = "replay_buffer.npz"


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
        state = state | {"checkpoint": asdict(checkpoint)}
        scratch = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=_scratch_root(self._storage)))
        try:
            save_algorithm(scratch / ALGORITHM_FOLDER)
            (scratch / STATE_FILE).write_text(json.dumps(state))
            self._place(scratch, name)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if not best:
            self._prune()
        return checkpoint

    def latest(self) -> Checkpoint | None:
        """The whole checkpoint with the highest iteration, or None."""
        return next((found for name in self._iterations(descending=True) if (found := self._read(name))), None)

    def best(self) -> Checkpoint | None:
        return self._read(BEST)

    def itself(self) -> Checkpoint | None:
        """The storage's own folder, where that is a checkpoint and not a run's folder."""
        return self._read(".")

    def take_over_best(self, other: "CheckpointStore") -> None:
        """Copy the best checkpoint of another run, so that this run has one before it finds a better one."""
        best = other.best()
        if best is None:
            return
        scratch = Path(tempfile.mkdtemp(prefix="checkpoint-", dir=_scratch_root(self._storage)))
        try:
            shutil.copytree(other.algorithm_folder(best), scratch / ALGORITHM_FOLDER)
            (scratch / STATE_FILE).write_text(json.dumps(other.state_of(best)))
            self._place(scratch, BEST)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def add_to_best(self, file: Path) -> None:
        """Put a file beside the best checkpoint's own; the next best one comes without it."""
        if not self._storage.is_local:
            self._storage.upload(file, f"{BEST}/{file.name}")
            return
        target = self._storage.local / BEST / file.name
        unfinished = target.with_name(f".{target.name}-unfinished")
        shutil.copyfile(file, unfinished)
        unfinished.rename(target)

    def state_of(self, checkpoint: Checkpoint) -> dict[str, Any]:
        text = self._storage.read_text(f"{checkpoint.name}/{STATE_FILE}")
        if text is None:
            raise FileNotFoundError(f"{checkpoint.uri} has no {STATE_FILE}")
        return json.loads(text)

    def algorithm_folder(self, checkpoint: Checkpoint) -> Path:
        """A local folder with the algorithm's own files."""
        return self._storage.download(f"{checkpoint.name}/{ALGORITHM_FOLDER}")

    def _place(self, scratch: Path, name: str) -> None:
        if self._storage.is_local:
            # A rename is atomic: a driver killed here leaves the old checkpoint or the new one.
            target = self._storage.local / name
            target.parent.mkdir(parents=True, exist_ok=True)
            retired = target.with_name(f".{target.name}-retired")
            if target.exists():
                target.rename(retired)
            scratch.rename(target)
            shutil.rmtree(retired, ignore_errors=True)
            return
        self._storage.delete(name)
        self._storage.upload(scratch / ALGORITHM_FOLDER, f"{name}/{ALGORITHM_FOLDER}")
        self._storage.upload(scratch / STATE_FILE, f"{name}/{STATE_FILE}")

    def _iterations(self, *, descending: bool) -> list[str]:
        numbers = sorted(
            (int(name) for name in self._storage.list_folders(FOLDER) if name.isdigit()), reverse=descending
        )
        return [f"{FOLDER}/{number}" for number in numbers]

    def _read(self, name: str) -> Checkpoint | None:
        text = self._storage.read_text(f"{name}/{STATE_FILE}")
        if text is None:
            return None
        return Checkpoint(**json.loads(text)["checkpoint"] | {"name": name, "uri": self._storage.uri_of(name)})

    def _prune(self) -> None:
        iterations = self._iterations(descending=True)
        for name in iterations[self._keep :]:
            self._storage.delete(name)
        for name in iterations[1 : self._keep]:
            self._storage.delete(f"{name}/{ALGORITHM_FOLDER}/{REPLAY_FILE}")


def _scratch_root(storage: RunStorage) -> Path:
    """On the same filesystem as a local target, so that the rename into place works."""
    folder = storage.local / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return folder
