"""containerd and the pod network: configuration files of their own, so that a system-wide containerd is untouched."""

import json
from pathlib import Path
from typing import Any

from dev.cluster.node import configuration
from dev.cluster.node.layout import BRIDGE, NETWORK, POD_NETWORK, RUN, SOCKET, Layout
from dev.cluster.prerequisites import CNI_PLUGINS


def containerd_config(layout: Layout, sandbox_image: str) -> str:
    """containerd 1.6's configuration (TOML)."""
    return f"""\
version = 2
root = "{layout.images}"
state = "{RUN / "containerd"}"
disabled_plugins = ["io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
                    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.aufs"]

[grpc]
address = "{SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
# Without CAP_SYS_RESOURCE a process cannot lower its score below its parent's.
restrict_oom_score_adj = true
# Network namespaces vanish with the state folder.
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{layout.folder / "cni"}"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"""


def network_config(layout: Layout) -> dict[str, Any]:
    """A bridge on this machine with addresses from a file; no host ports, whose rules outlive them."""
    return {
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(layout.folder / "addresses"),
                    "ranges": [[{"subnet": POD_NETWORK}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
        ],
    }


def write_config(layout: Layout, sandbox_image: str) -> Path:
    """Write both; returns containerd's file."""
    folder = layout.folder / "cni"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "10-trainyard.conflist").write_text(json.dumps(network_config(layout), indent=1))
    return configuration.write(layout.folder, "containerd.toml", containerd_config(layout, sandbox_image))
