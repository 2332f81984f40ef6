"""Where a cluster comes from, in this order: one that was asked for, kind where Docker answers, this machine."""

import os
import shutil
from pathlib import Path
from typing import Protocol

from dev.cluster import paths
from dev.cluster.commands import succeeds
from dev.cluster.errors import ClusterError
from dev.cluster.images import Images
from dev.cluster.providers.existing import Existing
from dev.cluster.providers.kind import Kind
from dev.cluster.providers.node import Node


class Provider(Protocol):
    """One way to have a cluster. Every method may be called again."""

    name: str

    def up(self) -> None:
        """Have the cluster running, with KubeRay and the claim for results."""

    def down(self) -> None:
        """Remove what `up` made."""

    def kubeconfig(self) -> Path | None:
        """The administrator's kubeconfig; None while there is no cluster."""

    def publish(self) -> Images:
        """Build both images of the working tree where they are not there yet and make the cluster able to run them."""

    def describe(self) -> list[str]:
        """Lines for `status`."""


PROVIDERS: dict[str, type[Provider]] = {"existing": Existing, "kind": Kind, "node": Node}


def record() -> Path:
    """The file that names the provider of the cluster that is up."""
    return paths.cache() / "provider"


def recorded() -> str | None:
    """The provider of the cluster that is up; None when no cluster of ours is."""
    return record().read_text().strip() if record().exists() else None


def refuse_second(name: str) -> None:
    """One cluster of ours at a time: the record of a second one would hide the first from `down`."""
    other = recorded()
    if other not in (None, name):
        raise ClusterError(
            f"the cluster of the provider {other} is up: remove it first "
            f"(python -m dev.cluster --provider {other} down), or set TRAINYARD_CACHE to another folder for this one"
        )


def detect() -> str:
    """What to use when nobody asked for a provider and none is up."""
    if shutil.which("docker") and succeeds(["docker", "info"]):
        return "kind"
    if os.geteuid() == 0:
        return "node"
    raise ClusterError(
        "no cluster can be made here: start Docker (then kind is used), or run as root on Linux (then this machine "
        "becomes a node), or use your own cluster with TRAINYARD_KUBECONFIG=FILE"
    )


def choose(requested: str | None) -> Provider:
    """The provider that was asked for, the one that is up, or the first that works here."""
    if requested is None and os.environ.get("TRAINYARD_KUBECONFIG"):
        requested = "existing"
    name = requested or recorded() or detect()
    if name not in PROVIDERS:
        raise ClusterError(f"no provider is called {name!r}: use one of {', '.join(PROVIDERS)}")
    return PROVIDERS[name]()
