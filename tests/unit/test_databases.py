"""The tests' own PostgreSQL server leaves nothing running behind, however the tests end."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.databases import postgresql_programs, postgresql_server

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, time
from tests.databases import postgresql_server
with postgresql_server() as url:
    print(url, flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.skipif(postgresql_programs() is None, reason="PostgreSQL is not installed")


@pytest.fixture
def folder() -> Iterator[str]:
    """A place for the data of a server that nobody can clean up after; its user may enter it."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield path


def answers(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname or "", address.port or 0)) == 0


def gone(url: str, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while answers(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not answers(url)


def test_the_server_ends_with_its_block():
    with postgresql_server() as url:
        assert answers(url)
    assert not answers(url)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_the_server_ends_with_a_test_process_that_is_killed(number: signal.Signals, folder: str):
    environment = os.environ | {"TMPDIR": folder}
    tests = subprocess.Popen(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert tests.stdout is not None
    url = tests.stdout.readline().strip()
    assert answers(url)
    tests.send_signal(number)
    tests.wait()
    assert gone(url)
