"""Where things live: the repository (never written to) and the cache folder (everything else)."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "dev" / "tools"


def cache() -> Path:
    """The folder of everything that is built or recorded; shared by all clones on this machine."""
    folder = Path(os.environ.get("TRAINYARD_CACHE") or Path.home() / ".cache" / "trainyard").expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state() -> Path:
    """The folder of the running cluster; `down` removes it."""
    return cache() / "cluster"
