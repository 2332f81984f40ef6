"""`trainyard drive-entrypoint`: runs the program of `spec.entrypoint` and keeps its progress file.

The program appends its own lines with `trainyard.report(...)`; this process writes the first line and the final one.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping
from threading import Thread
from types import FrameType

from trainyard.errors import EXIT_TERMINATED, EXIT_USER_ERROR, InvalidConfiguration, TrainyardError, UserError
from trainyard.launch.reading import RUN_VARIABLE, progress_path, read_document
from trainyard.progress.channel import ProgressFile, Snapshot, failure
from trainyard.progress.report import JOB_ID_VARIABLE, PROGRESS_FILE_VARIABLE
from trainyard.runs import packages
from trainyard.runs.packages import Requirements

# Seconds between SIGTERM and SIGKILL for the program; Ray's job manager kills this process 3 s after its own SIGTERM.
GRACE_SECONDS = 2.0
KEPT_LINES = 20
# What a pipe holds at most, unless its program makes it larger.
PIPE_BYTES = 65536


def drive(environ: Mapping[str, str]) -> int:
    """Run the program with the shell in this working folder; return its exit code."""
    path = progress_path(environ)
    file = ProgressFile(path, environ.get(JOB_ID_VARIABLE) or "local")
    try:
        text = environ.get(RUN_VARIABLE)
        if not text:
            raise InvalidConfiguration.of(RUN_VARIABLE, "is not set", "the operator sets it")
        _, specification = read_document(text)
        if specification.entrypoint is None:
            raise InvalidConfiguration.of("spec.entrypoint", "is missing", "use trainyard drive for this run")
        file.append(lambda last: {"progress": {}, **last})
        own = packages.of(specification)
        if own is not None:
            own.enter()
    except UserError as error:
        print(f"{error.reason}: {error}", flush=True)
        file.append(_final("User", error.reason, str(error), error.field), final=True)
        return EXIT_USER_ERROR
    given = dict(environ) | {PROGRESS_FILE_VARIABLE: str(path)}
    return run_program(specification.entrypoint, own.for_program(given) if own is not None else given, file)


class ProgramFailed(TrainyardError):
    """The program of a local run ended with this exit code."""

    def __init__(self, code: int) -> None:
        self.exit_code = code
        super().__init__(f"the program ended with exit code {code}")


def run_here(command: str, address: str, file: ProgressFile, own: Requirements | None) -> Snapshot:
    """Run the program of a local run against the Ray cluster at `address`; return its last snapshot.

    Args:
        own: the run's packages, installed on this machine.

    Raises:
        ProgramFailed: any exit code but 0.
    """
    environ = dict(os.environ) | {"RAY_ADDRESS": address, PROGRESS_FILE_VARIABLE: str(file.path)}
    code = run_program(command, own.for_program(environ) if own is not None else environ, file)
    if code:
        raise ProgramFailed(code)
    return file.last()


def run_program(command: str, environ: Mapping[str, str], file: ProgressFile) -> int:
    """Run `command`, pass its output through, and write the final line with its last lines when it fails.

    The run is over when the program is: what it leaves running is ended then, as it is on the cluster.
    """
    reading, writing = os.pipe()
    program = subprocess.Popen(
        command, shell=True, env=dict(environ), stdout=writing, stderr=subprocess.STDOUT, start_new_session=True
    )
    os.close(writing)
    terminated = False

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        _signal_group(program, signal.SIGTERM)
        signal.signal(signal.SIGALRM, lambda number, frame: _signal_group(program, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    previous = signal.signal(signal.SIGTERM, on_sigterm)
    output = _Output(reading)
    try:
        output.pass_on_until_end_of(program)
        if terminated:
            # What the shell has started has its time to end by itself.
            output.pass_on_until_closed()
        _signal_group(program, signal.SIGKILL)
        code = program.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, previous)
        os.close(reading)
    if terminated:
        file.append(_final("Run", "Terminated", "the program was ended by SIGTERM"), final=True)
        return EXIT_TERMINATED
    if code == 0:
        file.append(_succeeded, final=True)
        return 0
    code = code if code > 0 else 128 - code
    kind = "User" if code == EXIT_USER_ERROR else "Run"
    message = f"the program ended with exit code {code}; its last lines:\n{output.last_lines()}"
    file.append(_final(kind, f"ExitCode{code}", message), final=True)
    return code


class _Output:
    """What a program writes into a pipe, passed on to this process's own output; its last lines are kept."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._tail = ""
        os.set_blocking(pipe, False)

    def pass_on_until_end_of(self, program: subprocess.Popen[bytes]) -> None:
        """Pass on until the program has ended and what was written by then is passed on.

        The end of the pipe says nothing about that: processes that the program leaves running keep it open, and a
        program may close its output long before it ends.
        """
        ended, end = os.pipe()

        def wait() -> None:
            program.wait()
            os.close(end)

        Thread(target=wait, daemon=True).start()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._pipe, selectors.EVENT_READ)
                selector.register(ended, selectors.EVENT_READ)
                while ended not in (ready := {key.fd for key, _ in selector.select()}):
                    if self._pipe in ready and not self._pass_on():
                        selector.unregister(self._pipe)
        finally:
            os.close(ended)
        # All that the program itself has written is in the pipe now; a process that it left may go on writing.
        waiting = fcntl.ioctl(self._pipe, termios.FIONREAD, bytes(4))
        self._pass_on(int.from_bytes(waiting, sys.byteorder))

    def pass_on_until_closed(self) -> None:
        """Pass on until every process that has the pipe has ended."""
        os.set_blocking(self._pipe, True)
        while self._pass_on():
            pass

    def _pass_on(self, limit: int = PIPE_BYTES) -> bool:
        """Pass on what is there, `limit` bytes at most; False at the end of the pipe."""
        try:
            read = os.read(self._pipe, limit) if limit else b""
        except BlockingIOError:
            return True
        text = self._decode(read)
        sys.stdout.write(text)
        sys.stdout.flush()
        self._tail = "".join((self._tail + text).splitlines(keepends=True)[-KEPT_LINES:])[-PIPE_BYTES:]
        return bool(read)

    def last_lines(self) -> str:
        return self._tail


def _signal_group(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the shell and all that it started; a group that is gone already needs none."""
    try:
        os.killpg(program.pid, number)
    except ProcessLookupError:
        return


def _succeeded(last: Snapshot) -> Snapshot:
    progress = {**last.get("progress", {}), "percent": 100}
    return {**last, "progress": progress, "summary": last.get("metrics", {})}


def _final(kind: str, reason: str, message: str, field: str = ""):  # type: ignore[no-untyped-def]
    return lambda last: {**last, "progress": last.get("progress", {}), "failure": failure(kind, reason, message, field)}
