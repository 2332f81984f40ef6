"""Processes that outlive this command: recorded with pid and start time, so that only our own are ever ended."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.cluster.commands import TAIL_CHARACTERS
from dev.cluster.errors import ClusterError

STOP_SECONDS = 10.0
START_TIME_FIELD = 19  # of /proc/PID/stat after the program's name, counted from 0: clock ticks since boot


@dataclass(frozen=True)
class Record:
    """One started process. The start time tells it from a later process that was given the same pid."""

    pid: int
    start_time: str
    command: list[str]


def start_time(pid: int) -> str | None:
    """When the process started, in clock ticks since boot; None when there is none (a zombie counts as none)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[START_TIME_FIELD]


class Processes:
    """The processes of one cluster: records in `folder`, logs in `logs`."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs

    def ensure(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> bool:
        """Have `command` running under `name`; True when it was started now, restarted if its command changed."""
        words = [str(word) for word in command]
        record = self._read(name)
        if record and self._alive(record):
            if record.command == words:
                return False
            self.stop(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        with self.log(name).open("a") as log:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started = start_time(process.pid)
        if started is None:
            raise ClusterError(f"{name} ended at once:\n{self.tail(name)}")
        self._record(name).write_text(json.dumps(asdict(Record(process.pid, started, words))))
        return True

    def is_running(self, name: str) -> bool:
        record = self._read(name)
        return record is not None and self._alive(record)

    def check(self) -> None:
        """Raise with the end of its log when a recorded process has ended."""
        for name in self.names():
            if not self.is_running(name):
                raise ClusterError(f"{name} has ended:\n{self.tail(name)}\n(the whole log: {self.log(name)})")

    def forget_ended(self) -> None:
        """Drop the records of processes that are gone (after a reboot, all of them)."""
        for name in self.names():
            if not self.is_running(name):
                self._record(name).unlink()

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.json"))

    def stop(self, *names: str) -> None:
        """End the processes together, by force after ten seconds, and forget them."""
        records = {name: record for name in names if (record := self._read(name))}
        for stopper in (signal.SIGTERM, signal.SIGKILL):
            alive = [record for record in records.values() if self._alive(record)]
            for record in alive:
                os.kill(record.pid, stopper)
            self._wait(alive)
        for name in records:
            self._record(name).unlink()

    def _wait(self, records: list[Record]) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while any(self._alive(record) for record in records) and time.monotonic() < deadline:
            for record in records:
                _reap(record.pid)
            time.sleep(0.05)

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def tail(self, name: str) -> str:
        log = self.log(name)
        return log.read_text(errors="replace")[-TAIL_CHARACTERS:] if log.exists() else ""

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _read(self, name: str) -> Record | None:
        try:
            return Record(**json.loads(self._record(name).read_text()))
        except FileNotFoundError:
            return None

    @staticmethod
    def _alive(record: Record) -> bool:
        return start_time(record.pid) == record.start_time


def _reap(pid: int) -> None:
    """Collect the exit status of our own child; somebody else's child is not ours to collect."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
