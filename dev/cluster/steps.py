"""Progress for people: one line when a step starts, a sign of life every ten seconds, one line when it ends."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

SIGN_OF_LIFE_SECONDS = 10.0


def duration(seconds: float) -> str:
    """3.2 s, 47 s, 5 min 12 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


@dataclass
class Steps:
    """Prints steps with their elapsed time; steps of several threads may overlap."""

    out: TextIO = field(default_factory=lambda: sys.stderr)
    clock: Callable[[], float] = time.monotonic
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, line: str) -> None:
        with self._lock:
            print(line, file=self.out, flush=True)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce `what`, show that it lives, and say how long it took or that it failed."""
        begin = self.clock()
        ended = threading.Event()
        self.say(f"==> {what}")
        alive = threading.Thread(target=self._show_life, args=(what, begin, ended), daemon=True)
        alive.start()
        try:
            yield
        except BaseException:
            self.say(f"  ! {what}: failed after {duration(self.clock() - begin)}")
            raise
        else:
            self.say(f" ok {what} ({duration(self.clock() - begin)})")
        finally:
            ended.set()
            alive.join()

    def _show_life(self, what: str, begin: float, ended: threading.Event) -> None:
        while not ended.wait(SIGN_OF_LIFE_SECONDS):
            self.say(f"... {what} ({duration(self.clock() - begin)})")


STEPS = Steps()
"""The process's own reporter: to standard error, so that standard output stays for results."""
