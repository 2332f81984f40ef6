"""Kubernetes through kubectl."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dev.cluster import binaries
from dev.cluster.commands import run
from dev.cluster.errors import CommandFailed

Object = dict[str, Any]


@dataclass(frozen=True)
class Kubectl:
    """kubectl with one kubeconfig."""

    kubeconfig: Path

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        return run([binaries.ensure("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments], stdin=stdin)

    def apply(self, objects: Sequence[Object]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=json.dumps(items))

    def exists(self, *what: str) -> bool:
        """Whether `kubectl get` finds it; errors other than NotFound are raised."""
        return bool(self("get", *what, "--ignore-not-found", "--output=name").strip())

    def has_definition(self, name: str) -> bool:
        """Whether a CRD of that name exists."""
        return self.exists("customresourcedefinition", name)

    def answers(self) -> bool:
        try:
            self("get", "--raw=/readyz", "--request-timeout=3s")
        except CommandFailed:
            return False
        return True
