"""One builder at a time, also between clones and processes that share the cache folder."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.cluster.steps import STEPS


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the file lock `path`; says so when another process has to be waited for. Freed when the process ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with STEPS.step(f"waiting for another process that holds {path.name}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
