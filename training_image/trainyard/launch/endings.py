"""The end of a run: every end becomes the final progress line and an exit code."""

from __future__ import annotations

import re
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import trainyard
from trainyard.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    OUT_OF_MEMORY,
    Terminated,
    TrainyardError,
    UserError,
    out_of_memory,
    root_cause,
)
from trainyard.progress import channel
from trainyard.progress.channel import Progress

# Characters of an exception's own message at the head of a failure's, of which the traceback is the rest.
MAX_FIRST_LINE = 600


class Sigterm:
    """Handler of SIGTERM: raises Terminated and remembers it, because Ray turns it into a plain KeyboardInterrupt."""

    def __init__(self) -> None:
        self.arrived = False

    def install(self) -> None:
        """Ray replaces the handler when it connects, so this is called again after that."""
        signal.signal(signal.SIGTERM, self)

    def __call__(self, number: int, frame: Any) -> None:
        self.arrived = True
        raise Terminated("SIGTERM")


SIGTERM = Sigterm()


def execute(body: Callable[[], dict[str, Any]], sink: Progress, console: Console) -> int:
    """Run `body`, write the final line whatever happens, shut Ray down, return the exit code."""
    SIGTERM.arrived = False
    SIGTERM.install()
    failure: dict[str, str] | None = None
    summary: dict[str, Any] | None = None
    code = EXIT_OK
    try:
        summary = body()
    except KeyboardInterrupt as error:
        failure, code = _interrupted(terminated=SIGTERM.arrived or isinstance(error, Terminated), console=console)
    except Exception as error:  # noqa: BLE001 - every end is reported
        failure, code = _explain(error, console)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        sink.finish(failure=failure, summary=summary)
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
    return code


def _interrupted(*, terminated: bool, console: Console) -> tuple[dict[str, str], int]:
    if terminated:
        console.print("terminated by SIGTERM")
        return channel.failure("Run", "Terminated", "the driver got SIGTERM"), EXIT_TERMINATED
    console.print("interrupted")
    return channel.failure("Run", "Interrupted", "the driver got SIGINT"), EXIT_INTERRUPTED


def _explain(error: Exception, console: Console) -> tuple[dict[str, str], int]:
    """Show the error; our own in words, any other with its traceback."""
    cause = root_cause(error)
    if isinstance(cause, TrainyardError):
        console.print(f"{cause.reason}: {cause}", style="red", highlight=False, markup=False)
        if isinstance(cause, UserError):
            return channel.failure("User", cause.reason, str(cause), cause.field), cause.exit_code
        return channel.failure("Run", cause.reason, str(cause)), cause.exit_code
    if (killed := out_of_memory(error)) is not None:
        console.print(f"{OUT_OF_MEMORY}: {killed}", style="red", highlight=False, markup=False)
        return channel.failure("Run", OUT_OF_MEMORY, killed), EXIT_FAILED
    traceback.print_exception(error)
    return channel.failure("Run", type(cause).__name__, _told(error, cause)), EXIT_FAILED


def _told(error: BaseException, cause: BaseException) -> str:
    """What the user's code raised and where, then the traceback; of a long one the middle is left out."""
    where = _own_line(cause, trace := _trace(error))
    text = f"{type(cause).__name__}: {cause}"
    if len(text) > MAX_FIRST_LINE:
        text = f"{text[:MAX_FIRST_LINE]} ..."
    return f"{text}{f' ({where})' if where else ''}\n{trace}"


def _trace(error: BaseException) -> str:
    """The traceback as far as it is known: Ray's wrapping carries the remote one as its text."""
    remote = str(error) if isinstance(getattr(error, "cause", None), BaseException) else ""
    return remote or "".join(traceback.format_exception(error))


def _own_line(cause: BaseException, trace: str) -> str:
    """The innermost line in a file of the user's own, else the innermost that is not a framework's; "" for none."""
    frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in traceback.extract_tb(cause.__traceback__)]
    if not frames:
        # A remote traceback is text.
        frames = [(file, int(line), name) for file, line, name in _FRAME.findall(trace)]
    found = [frame for frame in frames if not _is_library(frame[0])]
    found = found or [frame for frame in frames if not _is_framework(frame[0])]
    if not found:
        return ""
    file, line, name = found[-1]
    return f"{file}, line {line}, in {name}"


_FRAME = re.compile(r'^ *File "([^"]+)", line (\d+), in (\S+)', re.MULTILINE)
_FRAMEWORKS = ("ray", "torch", "numpy", "gymnasium", "trainyard")


def _is_library(file: str) -> bool:
    """Whether the file is Python's own or of an installed package."""
    return _is_framework(file) or "/site-packages/" in file or "/dist-packages/" in file


def _is_framework(file: str) -> bool:
    python = file.startswith("<") or (re.search(r"/lib/python3\.\d+/", file) and "-packages/" not in file)
    package = re.split(r"/(?:site|dist)-packages/", file)[-1].split("/")[0]
    return bool(python) or package in _FRAMEWORKS or Path(file).is_relative_to(Path(trainyard.__file__).parent)
