"""The cluster's name server: CoreDNS as a process of this machine behind the usual Service address."""

from pathlib import Path

from dev.cluster.kubectl import Object
from dev.cluster.node.layout import DNS_ADDRESS, Layout

RESOLV_CONF = Path("/etc/resolv.conf")


def corefile(layout: Layout) -> str:
    """As kubeadm configures it: names of the cluster are never cached, so that a new Service is seen at once."""
    return f"""\
.:{layout.ports["dns"]} {{
    bind {layout.address}
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {layout.plane.admin_kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    forward . {RESOLV_CONF}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
}}
"""


def service(layout: Layout) -> list[Object]:
    """The Service kube-dns without a selector, and the slice that points to this machine."""
    ports = [{"name": f"dns-{protocol.lower()}", "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    endpoints = [{**port, "port": layout.ports["dns"]} for port in ports]
    metadata = {"name": "kube-dns", "namespace": "kube-system"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "ports": endpoints,
            "endpoints": [{"addresses": [layout.address], "conditions": {"ready": True}}],
        },
    ]


def pod_resolv_conf(text: str, address: str) -> str:
    """What pods that do not use the cluster's name server get: the machine's servers, except those on loopback."""
    servers = [line.split()[1] for line in text.splitlines() if line.startswith("nameserver ")]
    reachable = [server for server in servers if not server.startswith(("127.", "::1"))]
    return "".join(f"nameserver {server}\n" for server in reachable or [address])
