"""A real kube-apiserver with etcd and the controller manager, one for all tests; every test has its own namespace.

Nothing is skipped: where the programs are missing, the fixture fails and says what to install.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from dev.cluster.apiserver import ApiServer

ROOT = Path(__file__).parents[2]
GROUP, VERSION, PLURAL = "trainyard.dev", "v1alpha1", "trainingruns"
Object = dict[str, Any]


@pytest.fixture(scope="session")
def server() -> Iterator[ApiServer]:
    """The API server with Trainyard's CRDs."""
    with ApiServer(controllers=True) as server:
        server.apply(ROOT / "manifests" / "crd")
        yield server


@pytest.fixture(scope="session")
def api(server: ApiServer) -> Iterator[client.ApiClient]:
    """The administrator's client."""
    with config.new_client_from_config(str(server.kubeconfig)) as api:
        yield api


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """A fresh namespace, deleted at the end."""
    name = f"test-{next(_numbers)}"
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


_numbers = itertools.count(1)


class Runs:
    """TrainingRuns of one namespace, as plain objects."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self._custom = client.CustomObjectsApi(api)
        self._where = (GROUP, VERSION, namespace, PLURAL)

    def create(self, spec: Object, name: str = "run", *, dry_run: bool = False) -> Object:
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}
        return self.create_object(body, dry_run=dry_run)

    def create_object(self, body: Object, *, dry_run: bool = False) -> Object:
        """Create it; a field that the schema does not have is an error, as with kubectl."""
        options = {"dry_run": "All"} if dry_run else {}
        return self._custom.create_namespaced_custom_object(*self._where, body, field_validation="Strict", **options)

    def get(self, name: str = "run") -> Object:
        return self._custom.get_namespaced_custom_object(*self._where, name)

    def replace(self, body: Object) -> Object:
        name = body["metadata"]["name"]
        return self._custom.replace_namespaced_custom_object(*self._where, name, body, field_validation="Strict")

    def patch(self, patch: Object, name: str = "run") -> Object:
        return self._custom.patch_namespaced_custom_object(*self._where, name, patch)

    def patch_status(self, status: Object, name: str = "run", *, resource_version: str | None = None) -> Object:
        """Merge-patch the status, as the operator does; with a resourceVersion, only when the object still has it."""
        metadata = {"resourceVersion": resource_version} if resource_version else {}
        body = {"metadata": metadata, "status": status}
        return self._custom.patch_namespaced_custom_object_status(*self._where, name, body)

    def delete(self, name: str = "run") -> None:
        self._custom.delete_namespaced_custom_object(*self._where, name)


@pytest.fixture
def runs(api: client.ApiClient, namespace: str) -> Runs:
    return Runs(api, namespace)


@pytest.fixture
def kubectl(server: ApiServer, namespace: str) -> Callable[..., str]:
    """kubectl in the test's namespace; returns its standard output."""
    return lambda *arguments, **options: server.kubectl(f"--namespace={namespace}", *arguments, **options)
