"""Kubeconfig files for clients that authenticate with a certificate."""

import base64
import json
from pathlib import Path
from typing import Any

from dev.cluster.certs import Authority, Pair


def render(server: str, authority: bytes, certificate: bytes, key: bytes) -> dict[str, Any]:
    """A kubeconfig with everything inline, so that the file can be moved."""

    def inline(data: bytes) -> str:
        return base64.b64encode(data).decode()

    name = "trainyard"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": inline(authority)}}],
        "users": [
            {"name": name, "user": {"client-certificate-data": inline(certificate), "client-key-data": inline(key)}}
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def write(path: Path, server: str, authority: Authority, client: Pair) -> Path:
    """Write a kubeconfig; JSON is YAML."""
    config = render(
        server, authority.pair.certificate.read_bytes(), client.certificate.read_bytes(), client.key.read_bytes()
    )
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
    return path
