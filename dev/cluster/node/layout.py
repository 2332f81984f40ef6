"""The addresses, ports and folders of the node: chosen once, recorded, and the same for every later command."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dev.cluster import paths, ports
from dev.cluster.commands import run
from dev.cluster.controlplane import ControlPlane
from dev.cluster.errors import ClusterError

NODE_NAME = "trainyard"
BRIDGE = "trainyard0"
NETWORK = "trainyard"
POD_NETWORK = "10.244.0.0/16"
DNS_ADDRESS = "10.96.0.10"
RUN = Path("/run/trainyard")
"""Sockets: their paths have to be short, which a folder below a home folder may not be."""
SOCKET = RUN / "containerd.sock"

PREFERRED_PORTS = {
    "api": 6443,
    "etcd": 2379,
    "etcd_peer": 2380,
    "controller_manager": 10257,
    "scheduler": 10259,
    "kubelet": 10250,
    "proxy_health": 10256,
    "proxy_metrics": 10249,
    "dns": 10053,
    "kuberay_metrics": 18080,
}


@dataclass(frozen=True)
class Layout:
    """One node's choices; `address` is this machine's."""

    address: str
    ports: dict[str, int]

    @property
    def folder(self) -> Path:
        return paths.state()

    @property
    def plane(self) -> ControlPlane:
        return ControlPlane(
            folder=self.folder,
            address=self.address,
            api_port=self.ports["api"],
            etcd_port=self.ports["etcd"],
            etcd_peer_port=self.ports["etcd_peer"],
        )

    @property
    def images(self) -> Path:
        """containerd's image store: it survives `down`, so that gigabytes need not be unpacked again."""
        return paths.cache() / "containerd"

    @classmethod
    def record_path(cls) -> Path:
        return paths.state() / "node.json"

    @classmethod
    def recorded(cls) -> Self | None:
        """The running node's choices; None when no node was brought up."""
        try:
            return cls(**json.loads(cls.record_path().read_text()))
        except FileNotFoundError:
            return None

    @classmethod
    def choose(cls) -> Self:
        """The recorded choices, or new ones that are recorded now."""
        address = machine_address()
        known = cls.recorded()
        if known is None:
            chosen = cls(address, {name: ports.preferred(port) for name, port in PREFERRED_PORTS.items()})
            cls.record_path().parent.mkdir(parents=True, exist_ok=True)
            cls.record_path().write_text(json.dumps(asdict(chosen), indent=1))
            return chosen
        if known.address != address:
            raise ClusterError(
                f"this machine's address changed from {known.address} to {address}; "
                "remove the node and bring it up again: python -m dev.cluster down"
            )
        return known


def machine_address() -> str:
    """The address that this machine's default route uses."""
    routes = json.loads(run(["ip", "-json", "route", "show", "default"]))
    device = routes[0]["dev"] if routes else None
    query = ["ip", "-json", "-4", "address", "show", "scope", "global"] + (["dev", device] if device else [])
    for interface in json.loads(run(query)):
        for entry in interface.get("addr_info", []):
            if interface["ifname"] != BRIDGE:
                return str(entry["local"])
    raise ClusterError("this machine has no IPv4 address besides loopback; the node needs one (`ip -4 address`)")
