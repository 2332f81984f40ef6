"""Where a run's numbers come from: code, packages, data, machine. Nothing here holds a credential."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from trainyard.spec.sections import Specification

PACKAGES = ("trainyard", "ray", "torch", "gymnasium", "numpy", "pandas", "pyarrow", "sqlalchemy", "skfolio")
GIT_SECONDS = 5.0
REVISION_VARIABLE = "TRAINYARD_GIT_REVISION"
"""The commit that an image was built from, with CHANGED behind it where its files differ from that."""
CHANGED = "+changed"
GIB = 2**30


def versions() -> dict[str, str]:
    """Versions of Python and of the installed packages among :data:`PACKAGES`."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_revision(folder: Path) -> dict[str, Any] | None:
    """The commit that `folder` has checked out, else that of the image, and whether files differ from it."""
    revision = _git(folder, "rev-parse", "HEAD")
    if not revision:
        of_image = os.environ.get(REVISION_VARIABLE, "")
        return {"revision": of_image.removesuffix(CHANGED), "changed": of_image.endswith(CHANGED)} if of_image else None
    return {"revision": revision, "changed": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str:
    """Output of a git command; empty without git, without a repository, and when it takes too long."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def hardware() -> dict[str, Any]:
    """The driver's machine, and what the Ray cluster has where this process is connected to one."""
    found: dict[str, Any] = {
        "host": socket.gethostname(),
        "system": platform.platform(terse=True),
        "processor": _processor(),
        "logicalCpus": os.cpu_count(),
        "memoryGiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB, 1),
    }
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        resources = ray.cluster_resources()
        found["rayNodes"] = sum(1 for node in ray.nodes() if node["Alive"])
        found["rayCpus"] = resources.get("CPU", 0)
        found["rayGpus"] = resources.get("GPU", 0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpus"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return found


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def data_sets(specification: Specification) -> list[dict[str, Any]]:
    """Source, extent and SHA-256 of the price tables that the built-in market environments read, each once.

    `reading` says how a table was understood; `jumps` lists what may be unadjusted splits in the assets and dates used.
    """
    from trainyard.environments.registry import VECTORISED

    environment = specification.environment
    if environment is None or environment.name not in VECTORISED:
        return []
    from trainyard.environments.market.prices import load_prices

    others = [section.environment_config for section in (specification.evaluation, specification.test) if section]
    found: dict[str, dict[str, Any]] = {}
    for config in [environment.config, *({**environment.config, **other} for other in others)]:
        table = load_prices(config.get("data", "sp500"))
        entry = found.setdefault(
            table.sha256,
            {
                "source": table.source,
                "sha256": table.sha256,
                "rows": len(table.dates),
                "assets": len(table.assets),
                "first": str(table.first.astype("datetime64[D]")),
                "last": str(table.last.astype("datetime64[D]")),
                "reading": table.described,
                "jumps": [],
            },
        )
        chosen = config.get("assets") or ([config["asset"]] if config.get("asset") else table.assets)
        jumps = table.select(chosen).jumps(*table.rows_between(config.get("start"), config.get("end")))
        entry["jumps"] += [jump for jump in jumps if jump not in entry["jumps"]]
    return list(found.values())


def jumps_in_words(data: Mapping[str, Any], shown: int = 3) -> str:
    """What a person is told of the `jumps` of one of `data_sets`."""
    jumps = data["jumps"]
    more = f" and {len(jumps) - shown} more" if len(jumps) > shown else ""
    return (
        f"{data['source']}: {'; '.join(jumps[:shown])}{more}: real, or a split that the prices are not adjusted for, "
        "which would be learned as a return: check it, and use adjusted closes"
    )
