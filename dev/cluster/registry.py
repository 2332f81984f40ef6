"""The configuration of the local image registry: Debian's docker-registry on loopback, files in the cache."""

from pathlib import Path
from typing import Any

from dev.cluster.ports import LOOPBACK

PREFERRED_PORT = 5000


def config(storage: Path, port: int) -> dict[str, Any]:
    """What docker-registry reads (JSON is YAML)."""
    return {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(storage)},
            "delete": {"enabled": True},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": f"{LOOPBACK}:{port}"},
    }
