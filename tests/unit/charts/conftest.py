"""Rendered manifests: of the chart by helm, of the kustomize base by kubectl. Nothing here talks to a server."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.cluster import binaries

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "trainyard"
KUBERNETES = binaries.KUBERNETES_VERSION
Object = dict[str, Any]


class Manifests(list[Object]):
    """Rendered objects, found by kind and name."""

    def one(self, kind: str, name: str = "") -> Object:
        (found,) = [o for o in self if o["kind"] == kind and name in ("", o["metadata"]["name"])]
        return found

    def every(self, kind: str) -> list[Object]:
        return [o for o in self if o["kind"] == kind]


def parse(text: str) -> Manifests:
    return Manifests(document for document in yaml.safe_load_all(text) if document)


def run(program: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="session")
def helm() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs helm; the result has returncode, stdout and stderr."""
    program = binaries.ensure("helm")
    return lambda *arguments: run(program, *arguments)


@pytest.fixture(scope="session")
def template(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Callable[..., Manifests]:
    """Renders the chart into trainyard-system; arguments as `replicas=2`."""

    def render(*values: str, chart: Path = CHART) -> Manifests:
        options = [word for value in values for word in ("--set", value)]
        where = ["--namespace=trainyard-system", f"--kube-version={KUBERNETES}"]
        result = helm("template", "trainyard", chart, *where, *options)
        assert result.returncode == 0, result.stderr
        return parse(result.stdout)

    return render


@pytest.fixture(scope="session")
def chart(template: Callable[..., Manifests]) -> Manifests:
    """The chart with its default values."""
    return template()


@pytest.fixture(scope="session")
def base() -> Manifests:
    """The kustomize base."""
    result = run(binaries.ensure("kubectl"), "kustomize", ROOT / "manifests")
    assert result.returncode == 0, result.stderr
    return parse(result.stdout)
