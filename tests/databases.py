"""Databases for tests: SQLite files, and a PostgreSQL server of one's own on a free port, stopped at the end."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER_USER = "postgres"


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl, also where Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    candidates = [Path(found).resolve().parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in candidates if (folder / "pg_ctl").exists()), None)


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Start a server in a temporary folder; yield the URL of an empty database."""
    programs = postgresql_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL's initdb and pg_ctl are not installed (Debian: postgresql)")
    # The server refuses to run as root.
    as_user = ["runuser", "-u", SERVER_USER, "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        if as_user:
            shutil.chown(folder, SERVER_USER)
        data, port = f"{folder}/data", _free_port()

        def call(*command: str) -> None:
            subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

        call(str(programs / "initdb"), "-D", data, "-U", "trainyard", "--auth=trust", "--no-sync", "--encoding=UTF8")
        options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off -c shared_buffers=16MB"
        call(str(programs / "pg_ctl"), "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql://trainyard@127.0.0.1:{port}/postgres"
        finally:
            call(str(programs / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
