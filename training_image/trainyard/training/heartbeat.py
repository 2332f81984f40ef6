"""A word about what goes on while nothing finishes: an iteration or an evaluation can take hours, or for ever."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from trainyard.progress.text import duration

logger = logging.getLogger(__name__)

EVERY_SECONDS = 30.0


class Heartbeat:
    """Calls `say`, in a thread of its own, as often as a phase has gone on for another `every` seconds (half a minute).

    Args:
        say: takes one line, for instance `validation: 48,000 steps in its episode 1, after 2 min 30 s`.
    """

    def __init__(self, say: Callable[[str], None], every: float | None = None) -> None:
        self._say = say
        self._every = EVERY_SECONDS if every is None else every
        self._phase: tuple[float, Callable[[], str]] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    @contextmanager
    def during(self, words: Callable[[], str]) -> Iterator[None]:
        """A phase, as long as the block; words: what it is doing, asked whenever there is something to say."""
        self._phase = (time.monotonic(), words)
        try:
            yield
        finally:
            self._phase = None

    def end(self) -> None:
        """Nothing is said after this returns."""
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        told: tuple[float, int] = (0.0, 0)
        while not self._ended.wait(self._every / 4):
            phase = self._phase
            if phase is None:
                continue
            began, words = phase
            elapsed = time.monotonic() - began
            beats = int(elapsed / self._every)
            if beats == 0 or told == (began, beats):
                continue
            told = began, beats
            try:
                self._say(f"{words()}, after {duration(elapsed)}")
            except Exception:
                # What is said is not worth the run, and the thread must go on.
                logger.exception("what goes on could not be told")
