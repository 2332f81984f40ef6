"""What an end means: every one becomes the final progress line and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from rich.console import Console

from trainyard.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    Terminated,
    TrainyardError,
    UserError,
    root_cause,
)
from trainyard.progress import channel
from trainyard.progress.channel import Progress


class Sigterm:
    """Handler of SIGTERM: raises Terminated, and remembers it, since Ray passes on a plain KeyboardInterrupt."""

    def __init__(self) -> None:
        self.arrived = False

    def install(self) -> None:
        """Ray replaces the handler when it connects, so this is called after that too."""
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
    traceback.print_exception(error)
    return channel.failure("Run", type(cause).__name__, _trace(error, cause)), EXIT_FAILED


def _trace(error: BaseException, cause: BaseException) -> str:
    """The message, and the traceback as far as it is known (Ray's wrapping carries the remote one as text)."""
    remote = str(error) if error is not cause else ""
    text = remote or "".join(traceback.format_exception(error))
    return f"{type(cause).__name__}: {cause}\n{text}" if str(cause) not in text else text
