"""Databases for tests: SQLite files, and a PostgreSQL server of one's own on a free port that ends with the tests."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SERVER_USER = "postgres"
START_SECONDS = 60.0


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of a database that all tests of the session share."""
    if postgresql_programs() is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql_server() as url:
        yield url


def postgresql_programs() -> Path | None:
    """The folder of PostgreSQL's programs, also where Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "postgres").exists()), None)


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Start a server in a temporary folder; yield the URL of an empty database.

    The server is a child of this process and gets SIGINT (disconnect everybody, stop) when this process dies, however
    it dies: a test run that was killed leaves no server behind.
    """
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL's initdb and postgres are not installed (Debian: postgresql)")
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        as_user = _as_server_user()
        if as_user:
            shutil.chown(folder, SERVER_USER)
        data, port = f"{folder}/data", _free_port()
        initdb = [str(programs / "initdb"), "-D", data, "-U", "trainyard", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(["setpriv", *as_user, *initdb], check=True, capture_output=True, cwd=folder)
        options = ["-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        postgres = [str(programs / "postgres"), "-D", data, *options, "-c", "shared_buffers=16MB"]
        log = Path(folder, "log")
        with log.open("wb") as output:
            server = subprocess.Popen(
                ["setpriv", *as_user, "--pdeathsig", "INT", *postgres], stdout=output, stderr=output, cwd=folder
            )
        try:
            _wait_until_ready(server, programs, port, log)
            yield f"postgresql://trainyard@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGQUIT)  # at once; nothing of it is kept
            server.wait()


def _as_server_user() -> list[str]:
    """Options of setpriv: the server refuses to run as root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(SERVER_USER)
    return [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--init-groups"]


def _wait_until_ready(server: subprocess.Popen[bytes], programs: Path, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    ask = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    while subprocess.run(ask, check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL does not start:\n{log.read_text()}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
