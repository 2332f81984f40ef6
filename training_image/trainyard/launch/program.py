"""`trainyard drive-entrypoint`: runs the program of `spec.entrypoint` and keeps its progress file.

The program appends its own lines with `trainyard.report(...)`; this process writes the first line and the final one.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping
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
    """Run `command`, pass its output through, and write the final line with its last lines when it fails."""
    program = subprocess.Popen(
        command,
        shell=True,
        env=dict(environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    terminated = False

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        _signal_group(program, signal.SIGTERM)
        signal.signal(signal.SIGALRM, lambda number, frame: _signal_group(program, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, GRACE_SECONDS)

    previous = signal.signal(signal.SIGTERM, on_sigterm)
    tail: deque[str] = deque(maxlen=KEPT_LINES)
    try:
        assert program.stdout is not None
        for line in program.stdout:
            print(line, end="", flush=True)
            tail.append(line)
        code = program.wait()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, previous)
    if terminated:
        file.append(_final("Run", "Terminated", "the program was ended by SIGTERM"), final=True)
        return EXIT_TERMINATED
    if code == 0:
        file.append(_succeeded, final=True)
        return 0
    code = code if code > 0 else 128 - code
    kind = "User" if code == EXIT_USER_ERROR else "Run"
    message = f"the program ended with exit code {code}; its last lines:\n{''.join(tail)}"
    file.append(_final(kind, f"ExitCode{code}", message), final=True)
    return code


def _signal_group(program: subprocess.Popen[str], number: signal.Signals) -> None:
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
