"""The code that a worker process runs for a search over a generator function.

Imports nothing but the function where it need not: what validates specifications and draws tables, which the driver
needs, would take every new process longer to import than a short trial takes.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from trainyard.metrics import finite, flatten
from trainyard.search.trainables import as_metrics, load

if TYPE_CHECKING:
    from trainyard.spec.sections import Stop

STARTED = "started"
RESULT = "result"


def import_ahead(function: str) -> tuple[str, Any]:
    """Import what `play` will, before there is a trial; what is returned goes the way of a result."""
    load(function)
    return STARTED, socket.gethostname()


def play(function: str, config: dict[str, Any], stop: Stop | None) -> Iterator[tuple[str, Any]]:
    """Where it runs, then every result; ends early when a result meets `stop`."""
    yield STARTED, socket.gethostname()
    started = time.monotonic()
    generator = load(function)(config)
    for iteration, output in enumerate(generator, start=1):
        result = as_metrics(output)
        yield RESULT, result
        if stop is not None and _reached(stop, iteration, time.monotonic() - started, result):
            generator.close()
            return


def _reached(stop: Stop, iteration: int, seconds: float, result: dict[str, Any]) -> bool:
    from trainyard.runs.stopping import Counters, stop_reason

    return stop_reason(stop, Counters(iteration=iteration, seconds=seconds), finite(flatten(result))) is not None
