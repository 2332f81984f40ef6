"""Tells of a reset or step of an environment that does not return: nobody else can, while everybody waits for it."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback

logger = logging.getLogger(__name__)

FIRST_SECONDS = 60.0
"""In one reset or step, after which it is told for the first time; then after twice that, and so on."""


class StuckStep:
    """Watches one thread's calls into an environment; `with` it around each.

    Args:
        who: whose environment it is, for people.
        first: seconds after which a call is told of.
    """

    def __init__(self, who: str, first: float = FIRST_SECONDS) -> None:
        self._who = who
        self._first = first
        self._since: float | None = None
        self._caller = 0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def __enter__(self) -> None:
        """A call into the environment begins, in the thread that makes all of them."""
        if self._thread is None:
            self._caller = threading.get_ident()
            self._thread = threading.Thread(target=self._watch, name="stuck-step", daemon=True)
            self._thread.start()
        self._since = time.monotonic()

    def __exit__(self, *error: object) -> None:
        self._since = None

    def seconds(self) -> float:
        """How long the present call has taken; 0 between calls."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def end(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        told, after = None, self._first
        while not self._ended.wait(self._first / 4):
            since = self._since
            if since is None or since != told:
                told, after = since, self._first
            if since is not None and time.monotonic() - since >= after:
                after *= 2
                logger.warning(
                    "%s has been in one reset or step for %.0f s%s",
                    self._who, time.monotonic() - since, self._place(),
                )  # fmt: skip

    def _place(self) -> str:
        frame = sys._current_frames().get(self._caller)
        if frame is None:
            return ""
        last = traceback.extract_stack(frame)[-1]
        return f": it is at {last.filename}:{last.lineno}, in {last.name}"
