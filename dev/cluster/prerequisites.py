"""What the single-node provider and the tests need from the system, and how it gets there.

Only the standard library: it also runs before anything else is installed.
"""

import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from dev.cluster.commands import run
from dev.cluster.errors import ClusterError, MissingPrerequisite
from dev.cluster.steps import STEPS

CNI_PLUGINS = Path("/usr/lib/cni")

PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    str(CNI_PLUGINS / "bridge"): "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ipset": "ipset",
    "socat": "socat",
    "ip": "iproute2",
    "ebtables": "ebtables",
    "ethtool": "ethtool",
    "buildah": "buildah",
    "debootstrap": "debootstrap",
    "mount": "mount",
}
"""Program (or a file) -> the Debian package that brings it."""

TEST_PROGRAMS = {"prometheus": "prometheus", "pg_ctlcluster": "postgresql"}
"""Servers that tests start themselves."""

SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")


def missing(programs: Mapping[str, str]) -> list[str]:
    """The packages whose program is not there, sorted."""
    path = os.pathsep.join((os.environ.get("PATH", ""), *SYSTEM_FOLDERS))
    return sorted({package for program, package in programs.items() if shutil.which(program, path=path) is None})


def ensure(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install what is missing with apt-get as root; otherwise say what to install."""
    extend_path()
    packages = missing(programs)
    if not packages:
        return
    command = f"apt-get install --yes --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingPrerequisite(f"these Debian packages (or their like) are missing; install them first: {command}")
    with STEPS.step(f"installing Debian packages: {', '.join(packages)}"):
        _install(packages)


def extend_path() -> None:
    """Root's programs are found also where PATH is a normal user's."""
    path = os.environ.get("PATH", "").split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join([*path, *(folder for folder in SYSTEM_FOLDERS if folder not in path)])


def _install(packages: Iterable[str]) -> None:
    # Their own services must not start: the cluster runs these programs itself.
    environment = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    run(["apt-get", "update"], env=environment)
    run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], env=environment)


def main() -> int:
    """Install everything that `make test-e2e` needs on a fresh Debian machine."""
    try:
        ensure({**PROGRAMS, **TEST_PROGRAMS})
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("every Debian package is installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
