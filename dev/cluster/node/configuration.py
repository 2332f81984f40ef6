"""Configuration files named by their content: a changed one changes the command line, and so restarts its program."""

import hashlib
import json
from pathlib import Path
from typing import Any


def write(folder: Path, name: str, content: str | dict[str, Any]) -> Path:
    """Write the file where it is not there yet (kube-proxy ends when its file is touched). JSON is YAML."""
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    path = folder / "configuration" / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path
