"""A real kube-apiserver with etcd and the controller manager, one for all tests; every test has its own namespace.

Nothing is skipped: where the programs are missing, the fixture fails and says what to install.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from dev.cluster.apiserver import ApiServer
from tests.apiserver import operators
from tests.apiserver.fake_ray import FakeRay
from tests.apiserver.runs import Runs

ROOT = Path(__file__).parents[2]


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


@pytest.fixture(scope="session")
def shared(api: client.ApiClient) -> str:
    """A namespace of all tests that leave nothing: to make and to clear one for each costs more than they do."""
    client.CoreV1Api(api).create_namespace({"metadata": {"name": "shared"}})
    return "shared"


@pytest.fixture
def runs(api: client.ApiClient, namespace: str) -> Runs:
    return Runs(api, namespace)


@pytest.fixture
def kubectl(server: ApiServer, namespace: str) -> Callable[..., str]:
    """kubectl in the test's namespace; returns its standard output."""
    return lambda *arguments, **options: server.kubectl(f"--namespace={namespace}", *arguments, **options)


@pytest.fixture(scope="session")
def ray() -> Iterator[FakeRay]:
    ray = FakeRay()
    yield ray
    ray.close()


@pytest.fixture(scope="session")
def rights(server: ApiServer, api: client.ApiClient) -> Path:
    """The kubeconfig of a user who has the operator's rights of manifests/rbac and no others."""
    return operators.user_with_rights(server, api)


@pytest.fixture(scope="module")
def prepared(server: ApiServer, rights: Path) -> Path:
    """The operator's kubeconfig, on an API server with KubeRay's CRDs."""
    operators.install_kuberay(server)
    return rights


@pytest.fixture(scope="module")
def fleet(prepared: Path, ray: FakeRay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[operators.Fleet]:
    fleet = operators.Fleet(prepared, ray, tmp_path_factory.mktemp("operator"))
    yield fleet
    fleet.stop()


@pytest.fixture
def operator(fleet: operators.Fleet) -> operators.Replica:
    """A running operator; the same one for all tests that leave it alive."""
    alive = [r for r in fleet.replicas if r.process.poll() is None]
    replica = alive[0] if alive else fleet.start()
    operators.until(lambda: operators.leads(replica), "the operator leads", 30)
    return replica


@pytest.fixture
def world(api: client.ApiClient, namespace: str, runs: Runs, ray: FakeRay) -> operators.World:
    return operators.World(api, namespace, runs, ray)
