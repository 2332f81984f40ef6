"""The command lines of etcd, the API server and the controller manager, for the node and for API-server tests."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import kubeconfig, waiting
from dev.cluster.certs import Authority, Pair, service_account_key
from dev.cluster.ports import LOOPBACK

SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
ISSUER = "https://kubernetes.default.svc.cluster.local"
API_SERVER_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", LOOPBACK)


@dataclass(frozen=True)
class ControlPlane:
    """Addresses and files of one control plane. `address` is what clients connect to."""

    folder: Path
    address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int

    @property
    def server(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def prepare(self) -> Authority:
        """Make every certificate and kubeconfig of the control plane."""
        authority = Authority(self.certificates)
        service_account_key(self.certificates)
        names = (*API_SERVER_NAMES, SERVICE_ADDRESS, self.address)
        authority.issue("kube-apiserver", "kube-apiserver", hosts=tuple(dict.fromkeys(names)))
        authority.issue("kubelet-client", "kube-apiserver-kubelet-client", groups=["system:masters"])
        self.client(authority, "kubeconfig", "trainyard-admin", groups=["system:masters"])
        self.client(authority, "controller-manager.kubeconfig", "system:kube-controller-manager")
        return authority

    def client(self, authority: Authority, file_name: str, user: str, *, groups: Sequence[str] = ()) -> Path:
        """The kubeconfig of one more user."""
        pair = authority.issue(f"client-{file_name}", user, groups=groups)
        return kubeconfig.write(self.folder / file_name, self.server, authority, pair)

    def etcd(self) -> list[str]:
        """etcd without TLS, on the loopback device only; what it holds need not survive a power cut."""
        client, peer = f"http://{LOOPBACK}:{self.etcd_port}", f"http://{LOOPBACK}:{self.etcd_peer_port}"
        return [
            "--name=trainyard",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            "--auto-compaction-mode=periodic",
            "--auto-compaction-retention=10m",
            "--quota-backend-bytes=4294967296",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=trainyard={peer}",
        ]

    def api_server(self) -> list[str]:
        files = self.certificates
        return [
            f"--etcd-servers=http://{LOOPBACK}:{self.etcd_port}",
            f"--bind-address={'0.0.0.0' if self.address != LOOPBACK else LOOPBACK}",
            f"--advertise-address={self.address}",
            f"--secure-port={self.api_port}",
            f"--cert-dir={files}",
            f"--client-ca-file={files / 'ca.crt'}",
            f"--tls-cert-file={files / 'kube-apiserver.crt'}",
            f"--tls-private-key-file={files / 'kube-apiserver.key'}",
            f"--kubelet-certificate-authority={files / 'ca.crt'}",
            f"--kubelet-client-certificate={files / 'kubelet-client.crt'}",
            f"--kubelet-client-key={files / 'kubelet-client.key'}",
            # Else logs and exec look up the node's host name.
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer={ISSUER}",
            f"--service-account-key-file={files / 'service-accounts.key'}",
            f"--service-account-signing-key-file={files / 'service-accounts.key'}",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            "--endpoint-reconciler-type=" + ("lease" if self.address != LOOPBACK else "none"),
        ]

    def controller_manager(self, port: int) -> list[str]:
        files = self.certificates
        config = self.folder / "controller-manager.kubeconfig"
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--cert-dir={files}",
            f"--root-ca-file={files / 'ca.crt'}",
            f"--service-account-private-key-file={files / 'service-accounts.key'}",
            "--use-service-account-credentials",
            "--leader-elect=false",
        ]

    def is_ready(self) -> bool:
        """Whether the API server answers its readiness check to the administrator."""
        admin = Pair(self.certificates / "client-kubeconfig.crt", self.certificates / "client-kubeconfig.key")
        with contextlib.suppress(FileNotFoundError):
            return waiting.answers(
                f"{self.server}/readyz",
                authority=self.certificates / "ca.crt",
                client=(admin.certificate, admin.key),
            )
        return False
