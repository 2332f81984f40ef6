"""Configuration of the kubelet and of kube-proxy."""

from pathlib import Path
from typing import Any

from dev.cluster.node.layout import DNS_ADDRESS, NODE_NAME, POD_NETWORK, SOCKET, Layout
from dev.cluster.ports import LOOPBACK


def kubelet_config(layout: Layout) -> dict[str, Any]:
    """For cgroup v1 or v2 without systemd, and for a machine that other programs use too."""
    files = layout.plane.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(files / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(files / "kubelet.crt"),
        "tlsPrivateKeyFile": str(files / "kubelet.key"),
        "port": layout.ports["kubelet"],
        "healthzPort": 0,
        "cgroupDriver": "cgroupfs",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{SOCKET}",
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.folder / "resolv.conf"),
        "podLogsDir": str(layout.folder / "pod-logs"),
        "volumePluginDir": str(layout.folder / "volume-plugins"),
        "maxPods": 250,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }


def kubelet_flags(layout: Layout, config: Path) -> list[str]:
    return [
        f"--config={config}",
        f"--kubeconfig={layout.folder / 'kubelet.kubeconfig'}",
        f"--root-dir={layout.folder / 'kubelet'}",
        f"--cert-dir={layout.plane.certificates}",
        f"--node-ip={layout.address}",
        f"--hostname-override={NODE_NAME}",
    ]


def proxy_config(layout: Layout) -> dict[str, Any]:
    """kube-proxy with iptables; connection tracking stays as the machine has it."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(layout.folder / "proxy.kubeconfig")},
        "clusterCIDR": POD_NETWORK,
        "hostnameOverride": NODE_NAME,
        "oomScoreAdj": 0,
        "healthzBindAddress": f"{LOOPBACK}:{layout.ports['proxy_health']}",
        "metricsBindAddress": f"{LOOPBACK}:{layout.ports['proxy_metrics']}",
        "iptables": {"localhostNodePorts": False},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    }
