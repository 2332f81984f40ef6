"""Kill a driver at one operation on its storage after the other, and see what the next attempt makes of it.

The driver loop, its checkpoints and its storage are the real ones, in a process of its own that gets SIGKILL; the
algorithm is a toy that saves a few files, because RLlib would take seconds at every point to write its own.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from pyarrow import fs

from trainyard.callbacks import Callback, Evaluation
from trainyard.runs.checkpoints import Checkpoint, CheckpointStore
from trainyard.runs.run import Identity, Run
from trainyard.runs.storage import RunStorage, at_directory, new_scratch
from trainyard.spec.parsing import parse
from trainyard.training import loop

SPEC = {
    "seed": 1,
    "algorithm": {"name": "PPO"},
    "environment": {"name": "CartPole-v1"},
    "evaluation": {"episodes": 1, "everyIterations": 1},
    "checkpoints": {"everyIterations": 2, "keep": 2},
    "test": {"episodes": 1},
    "stop": {"iterations": 6},
}
# What the validation of each attempt says of iteration 1, 2, ...: later attempts find nothing that is as good.
FIRST = (10.0, 100.0, 50.0, 120.0, 30.0, 130.0)
LATER = (5.0, 6.0, 7.0, 8.0, 9.0, 4.0)
FINISHED = {"best", "4", "6"}
FILES = ["algorithm/learner/state.bin", "algorithm/weights.json", "trainyard.json"]
REPLAY = "algorithm/replay_buffer.npz"
SYSTEM_CALLS = (
    "open,openat,creat,mkdir,mkdirat,write,pwrite64,writev,sendfile,copy_file_range,ftruncate,fsync,fdatasync,"
    "chmod,fchmod,fchmodat,utimensat,link,linkat,symlink,symlinkat,rename,renameat,renameat2,unlink,unlinkat,rmdir"
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
AUDITED = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate")


class ToyTrainer:
    """What the driver loop asks of a Trainer. Its network is the attempt and the iteration that it is from."""

    values: tuple[float, ...] = FIRST

    def __init__(self, config: Any) -> None:
        self.algorithm = self
        self.iteration = 0
        self.network: dict[str, Any] = {}

    def train(self, deadline: float | None = None) -> tuple[dict[str, Any], list[dict[str, float]]]:
        self.iteration += 1
        self.network = {"iteration": self.iteration, "value": self.values[self.iteration - 1]}
        return {"num_env_steps_sampled_lifetime": 10 * self.iteration}, [{"return": 1.0, "length": 10.0}]

    def save(self, folder: Path, *, replay: bool = False) -> None:
        (folder / "learner").mkdir(parents=True)
        (folder / "weights.json").write_text(json.dumps(self.network))
        (folder / "learner" / "state.bin").write_bytes(b"s" * 100_000)
        if replay:
            (folder / "replay_buffer.npz").write_bytes(b"r" * 200_000)

    def restore(self, folder: Path) -> None:
        self.network = json.loads((folder / "weights.json").read_text())
        self.iteration = self.network["iteration"]

    def env_steps(self) -> int:
        return 10 * self.iteration

    def foreach_env_runner(self, call: Callable[[Any], None]) -> None:
        pass

    def listen(self, call: Callable[[list[Any]], None]) -> None:
        pass

    def replay(self) -> None:
        return None

    def words(self) -> str:
        return ""

    def stop(self) -> None:
        pass


class ToyEvaluator:
    """Says how good the network is that the trainer has now."""

    def __init__(self, trainer: ToyTrainer, *, kind: Any, **options: Any) -> None:
        self.kind, self._trainer = kind, trainer

    def words(self) -> str:
        return ""

    def evaluate(self, iteration: int, deadline: float | None = None) -> Evaluation:
        return Evaluation(self.kind, iteration, {f"{self.kind}/return_mean": self._trainer.network["value"]})

    def stop(self) -> None:
        pass


class Told(Callback):
    """Says to the parent process what is done, one JSON line each."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def say(self, **what: Any) -> None:
        os.write(self._pipe, (json.dumps(what) + "\n").encode())

    def on_run_start(self, run: Run) -> None:
        self.say(restored=run.restored_iteration, best=run.best.value if run.best else None)

    def on_checkpoint(self, run: Run, checkpoint: Checkpoint) -> None:
        self.say(saved="best" if checkpoint.best else checkpoint.iteration, best=run.best.value if run.best else None)

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        if evaluation.kind == "test":
            assert run.best is not None
            self.say(tested=evaluation.metrics["test/return_mean"], named=run.best.value)


class ObjectStore(fs.FileSystemHandler):
    """A remote filesystem as object stores are: a file is there when its upload is complete, and nothing is renamed.

    Every request is told to `hear`, before it is done; removing a folder is a request for each of its files.
    """

    def __init__(self, root: Path, hear: Callable[[str, str], None]) -> None:
        self._root, self._hear, self._lock = root, hear, Lock()
        root.mkdir(parents=True, exist_ok=True)
        self._files = fs.SubTreeFileSystem(str(root), fs.LocalFileSystem())

    def _request(self, name: str, path: str) -> None:
        with self._lock:
            self._hear(name, path)

    def get_type_name(self) -> str:
        return "object-store"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        return self._files.get_file_info(paths)

    def get_file_info_selector(self, selector: fs.FileSelector) -> list[fs.FileInfo]:
        return self._files.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        self._request("create_dir", path)
        self._files.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        for info in self._files.get_file_info(fs.FileSelector(path, recursive=True)):
            if info.type == fs.FileType.File:
                self.delete_file(info.path)
        self._request("delete_dir", path)
        self._files.delete_dir(path)

    def delete_file(self, path: str) -> None:
        self._request("delete_file", path)
        self._files.delete_file(path)

    def open_input_stream(self, path: str) -> Any:
        return self._files.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        return self._files.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        import pyarrow

        self._request("begin upload", path)
        return pyarrow.PythonFile(_Upload(self._root / path, lambda: self._request("complete upload", path)), mode="w")

    def copy_file(self, source: str, target: str) -> None:
        raise NotImplementedError

    move = open_append_stream = delete_dir_contents = delete_root_dir_contents = copy_file


class _Upload:
    """A file that appears under its name when it is closed."""

    def __init__(self, target: Path, complete: Callable[[], None]) -> None:
        self._target, self._complete = target, complete
        self._parts: list[bytes] = []
        self.closed = False

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._complete()
        with tempfile.NamedTemporaryFile(dir=self._target.parents[-2], delete=False) as file:
            file.write(b"".join(self._parts))
        os.replace(file.name, self._target)


@dataclass(frozen=True)
class Place:
    """Where a run is stored: `local`, or `remote` behind requests; and the temporary folder of its machine."""

    kind: str
    folder: Path

    @property
    def machine(self) -> Path:
        return self.folder / "machine"

    def open(self, hear: Callable[[str, str], None] = lambda name, path: None) -> RunStorage:
        self.machine.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(self.machine)
        if self.kind == "local":
            return at_directory(self.folder / "run")
        filesystem = fs.PyFileSystem(ObjectStore(self.folder / "bucket", hear))
        return RunStorage(filesystem, "run", new_scratch(), "store://bucket/run", True)

    @property
    def run(self) -> Path:
        """The run's folder, as a person finds it."""
        return self.folder / ("run" if self.kind == "local" else "bucket/run")


@dataclass
class Attempt:
    """What an attempt said before it ended, and how it ended. operations: those on its storage, in their order."""

    said: list[dict[str, Any]] = field(default_factory=list)
    operations: list[str] = field(default_factory=list)
    status: int = 0

    @property
    def killed(self) -> bool:
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == signal.SIGKILL

    def of(self, key: str) -> list[Any]:
        return [line[key] for line in self.said if key in line]


def play(place: Place, values: tuple[float, ...], *, kill_at: int | None = None) -> Attempt:
    """An attempt in a process of its own, which is killed before its operation number `kill_at` (from 0), if any.

    Operations are the requests to a remote storage. For a local one they are what Python's audit events tell of:
    files opened for writing, folders made, renames, removals.
    """
    return _in_a_child(place, values, lambda operation: _Killer(kill_at, operation), lambda pid: None)


class _Killer:
    """Counts the operations of this process, tells of them, and ends it before one of them."""

    def __init__(self, kill_at: int | None, tell: Callable[[str], None]) -> None:
        self._left, self._tell = kill_at, tell

    def hear(self, name: str, path: str) -> None:
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left = None if self._left is None else self._left - 1
        self._tell(f"{name} {path}")

    def listen_to_python(self, folder: Path) -> None:
        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event not in (*AUDITED, "open") or not str(arguments[0]).startswith(str(folder)):
                return
            if event == "open" and not arguments[2] & WRITING:
                return
            self.hear(event, str(arguments[0]))

        sys.addaudithook(audit)


def _in_a_child(
    place: Place,
    values: tuple[float, ...],
    make_killer: Callable[[Callable[[str], None]], _Killer | None],
    in_parent: Callable[[int], object],
) -> Attempt:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            told = Told(writing)
            _attempt(place, values, told, make_killer(lambda operation: told.say(operation=operation)))
        except BaseException:
            logging.getLogger().exception("the attempt failed")
            os._exit(1)
        os._exit(0)
    os.close(writing)
    in_parent(child)
    attempt = Attempt()
    with os.fdopen(reading) as lines:
        for line in map(json.loads, lines):
            if "operation" in line:
                attempt.operations.append(line["operation"])
            else:
                attempt.said.append(line)
    _, attempt.status = os.waitpid(child, 0)
    return attempt


def _attempt(place: Place, values: tuple[float, ...], told: Told, killer: _Killer | None) -> None:
    ToyTrainer.values = values
    vars(loop).update(Trainer=ToyTrainer, Evaluator=ToyEvaluator, build_config=lambda *given: None)
    if killer is None:  # somebody else watches
        os.kill(os.getpid(), signal.SIGSTOP)
    storage = place.open(killer.hear if killer is not None else lambda name, path: None)
    if killer is not None and place.kind == "local":
        killer.listen_to_python(place.run)
    run = Run(Identity("run"), parse(SPEC), {"spec": SPEC}, storage)
    loop.train(run, [told])
    storage.discard_scratch()


def play_under_strace(place: Place, values: tuple[float, ...], *, kill_at: tuple[str, int] | None = None) -> Attempt:
    """As `play` on a local storage, killed as it enters its n-th system call of a kind (from 1), by strace."""
    log = place.folder / "strace.log"
    inject = [f"--inject={kill_at[0]}:signal=SIGKILL:when={kill_at[1]}"] if kill_at is not None else []
    command = ["strace", "-qq", "-y", f"--output={log}", f"--trace={SYSTEM_CALLS}", *inject]
    tracers = []

    def trace(child: int) -> None:
        os.waitpid(child, os.WUNTRACED)
        tracers.append(subprocess.Popen([*command, f"--attach={child}"]))
        status = Path(f"/proc/{child}/status")
        while "TracerPid:\t0\n" in status.read_text():
            if tracers[0].poll() is not None:
                os.kill(child, signal.SIGKILL)
                raise RuntimeError("strace could not attach to a process of its own user")
            time.sleep(0.005)
        os.kill(child, signal.SIGCONT)

    attempt = _in_a_child(place, values, lambda tell: None, trace)
    tracers[0].wait()
    attempt.operations = [line for line in log.read_text().splitlines() if not line.startswith(("---", "+++"))]
    log.unlink()
    return attempt


def system_calls(attempt: Attempt, place: Place) -> Iterator[tuple[tuple[str, int], str]]:
    """The attempt's calls that change its storage: the kind and its number among those, and the call in words."""
    counts: Counter[str] = Counter()
    for line in attempt.operations:
        kind = line.partition("(")[0]
        counts[kind] += 1
        reads = kind in ("open", "openat") and "O_CREAT" not in line
        if str(place.run) in line and not reads:
            yield (kind, counts[kind]), label(line, place)


def label(operation: str, place: Place) -> str:
    """`operation: path -> path` below the run's folder, in words that are the same at every repetition."""
    kind = re.split(r"[( ]", operation)[0]
    if "upload" in operation:
        kind = " ".join(operation.split()[:2])
    operation = operation.partition(") = ")[0]  # strace tells of a result, which a killed call has not
    below = "run" if place.kind == "remote" and not operation.startswith("/") else str(place.run)
    paths = re.findall(rf"(?:^|[ \"<]){re.escape(below)}/?([^\s\"<>]*)", operation)
    plain = [re.sub(r"\.(writing|retired)-[0-9a-f]*", r".\1-*", path) or "." for path in dict.fromkeys(paths)]
    return f"{kind}: {' -> '.join(re.sub(r'checkpoints/[0-9]+', 'checkpoints/N', path) for path in plain)}"


@dataclass(frozen=True)
class Point:
    """What a kill at one operation left. problems: nothing where all is well."""

    operation: str
    best: str
    latest: str
    problems: tuple[str, ...]


def verdict(operation: str, place: Place, killed: Attempt) -> Point:
    """Look at what a killed attempt left, let another one go on, and look at the end."""
    problems: list[str] = [] if killed.killed else [f"ended by itself ({killed.status})"]
    saved = [line for line in killed.said if "saved" in line]
    best_before = max((line["best"] for line in saved if line["saved"] == "best"), default=None)
    latest_before = max((line["saved"] for line in saved if line["saved"] != "best"), default=0)
    with _found_in(place) as store:
        best, latest = store.best(), store.latest()
        value = None
        if best is not None:
            value = store.state_of(best)["best"]["value"]
            network = json.loads((store.algorithm_folder(best) / "weights.json").read_text())
            if network != {"iteration": best.iteration, "value": value}:
                problems.append(f"best is {value} and its network {network}")
    if best_before is not None and (value is None or value < best_before):
        problems.append(f"best was {best_before} and is {value}")
    iteration = latest.iteration if latest is not None else 0
    if iteration not in (latest_before, latest_before + 2):
        problems.append(f"latest was {latest_before} and is {iteration}")
    after = play(place, LATER)
    problems += _problems_of_the_next(place, after, value, iteration)
    return Point(
        operation,
        _which(value, best_before),
        _which(iteration or None, latest_before or None),
        tuple(problems),
    )


@contextmanager
def _found_in(place: Place) -> Iterator[CheckpointStore]:
    """The checkpoints as another program reads them."""
    before = tempfile.tempdir
    storage = place.open()
    try:
        yield CheckpointStore(storage, keep=2)
    finally:
        storage.discard_scratch()
        tempfile.tempdir = before


def _which(now: float | None, before: float | None) -> str:
    if now is None:
        return "none yet"
    return "the one before" if now == before else "the new one"


def _problems_of_the_next(place: Place, after: Attempt, best: float | None, iteration: int) -> Iterator[str]:
    if after.status:
        yield f"the next attempt ended with {after.status}"
        return
    if after.of("restored") != [iteration]:
        yield f"the next attempt went on from {after.of('restored')} and not {iteration}"
    [tested], [named] = after.of("tested"), after.of("named")
    if tested != named:
        yield f"the test played a policy of {tested}, and the best is {named}"
    if best is not None and named < best:
        yield f"the best was {best}, and at the end it is {named}"
    yield from left_behind(place)


def left_behind(place: Place) -> Iterator[str]:
    """What is there, or is missing, that a run without an interruption leaves (or does not)."""
    expected = {
        "reached.json",
        *(f"checkpoints/{name}/{file}" for name in FINISHED for file in FILES),
        f"checkpoints/6/{REPLAY}",
    }
    found = {str(path.relative_to(place.run)) for path in place.run.rglob("*") if path.is_file()}
    folders = {path.name for path in (place.run / "checkpoints").iterdir()}
    for name in sorted(found - expected) + sorted(folders - FINISHED):
        yield f"{name} is left behind"
    for name in sorted(expected - found):
        yield f"{name} is missing"
    for path in place.machine.iterdir():
        yield f"{path.name} is left behind on the machine"


def fresh(kind: str, folder: Path) -> Place:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Place(kind, folder)


def points(kind: str, folder: Path, *, quick: bool = False) -> Iterator[Point]:
    """The verdict at every operation of a run's first attempt; `quick` takes the last of those with the same words."""
    for number, what in _operations(kind, folder, quick=quick):
        place = fresh(kind, folder)
        yield verdict(what, place, play(place, FIRST, kill_at=number))


def _operations(kind: str, folder: Path, *, quick: bool) -> list[tuple[int, str]]:
    """The operations of an attempt that nobody kills: number and words."""
    place = fresh(kind, folder)
    whole = play(place, FIRST)
    if whole.status:
        raise RuntimeError("the toy's run fails without a kill")
    found = [(number, label(operation, place)) for number, operation in enumerate(whole.operations)]
    return (
        sorted((number, what) for what, number in {what: number for number, what in found}.items()) if quick else found
    )


def points_of_system_calls(folder: Path) -> Iterator[Point]:
    """The verdict at every system call on a local storage of a run's first attempt; needs strace."""
    place = fresh("local", folder)
    # Once for what a process does the first time only.
    verdict("", place, play_under_strace(place, FIRST))
    place = fresh("local", folder)
    calls = list(system_calls(play_under_strace(place, FIRST), place))
    for at, what in calls:
        place = fresh("local", folder)
        killed = play_under_strace(place, FIRST, kill_at=at)
        point = verdict(what, place, killed)
        last = label(killed.operations[-1], place)
        if last != what:
            point = Point(what, point.best, point.latest, (*point.problems, f"was killed at {last} instead"))
        yield point


def points_of_two_kills(kind: str, folder: Path) -> Iterator[Point]:
    """The verdict at every operation with which the next attempt makes up for a kill, until it has started."""
    for number, operation in _operations(kind, folder, quick=True):
        second = 0
        while True:
            place = fresh(kind, folder)
            first = play(place, FIRST, kill_at=number)
            again = play(place, LATER, kill_at=second)
            if again.said:
                break
            yield verdict(f"{operation}, and again", place, Attempt(first.said, [], again.status))
            second += 1
