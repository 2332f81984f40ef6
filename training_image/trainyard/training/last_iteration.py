"""How far an attempt got: a small file in the run's storage, from which the next attempt knows what is done again."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable

from trainyard.callbacks import Callback, Iteration
from trainyard.runs.run import Outcome, Run
from trainyard.runs.storage import RunStorage

logger = logging.getLogger(__name__)

FILE = "reached.json"
# An object store is asked this often at most; a driver that is killed there may have done a few iterations more.
SECONDS_BETWEEN_UPLOADS = 5.0


def reached(storage: RunStorage) -> int:
    """The last iteration that the attempt before is known to have done; 0 when there was none."""
    text = storage.read_text(FILE)
    return int(json.loads(text)["iteration"]) if text is not None else 0


class Reached(Callback):
    """Keeps the number of the last iteration.

    A storage that cannot be written for a moment costs this number and not the run.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uploaded = -float("inf")
        self._started = False

    def on_run_start(self, run: Run) -> None:
        self._started = True
        self._keep(run, now=True)

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self._keep(run, now=False)

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        # An attempt that failed before it restored anything knows nothing; the number is still that of the one before.
        if self._started:
            self._keep(run, now=True)

    def _keep(self, run: Run, *, now: bool) -> None:
        storage = run.storage
        try:
            _write_whole(storage, json.dumps({"iteration": run.counters.iteration}))
            if now or self._clock() - self._uploaded >= SECONDS_BETWEEN_UPLOADS:
                storage.publish(FILE)
                self._uploaded = self._clock()
        except OSError:
            logger.warning("the iteration that was reached could not be kept in %s", storage.uri, exc_info=True)


def _write_whole(storage: RunStorage, text: str) -> None:
    """A driver that is killed here leaves the old number or the new one."""
    new = storage.local / f".{FILE}-new"
    new.write_text(text)
    os.replace(new, storage.local / FILE)
