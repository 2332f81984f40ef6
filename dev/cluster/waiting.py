"""Waiting for something that was started."""

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from dev.cluster.errors import NotReady


def until(holds: Callable[[], bool], what: str, *, seconds: float, check: Callable[[], None] = lambda: None) -> None:
    """Return as soon as `holds()`; `check` may raise to stop waiting early (the process has died, say)."""
    deadline = time.monotonic() + seconds
    while not holds():
        check()
        if time.monotonic() > deadline:
            raise NotReady(f"{what} is not ready within {seconds:.0f} s")
        time.sleep(0.1)


def answers(url: str, *, authority: Path | None = None, client: tuple[Path, Path] | None = None) -> bool:
    """Whether a GET is answered with a success, with the given authority and client certificate."""
    context = None
    if authority is not None:
        context = ssl.create_default_context(cafile=str(authority))
        if client is not None:
            context.load_cert_chain(*map(str, client))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False
