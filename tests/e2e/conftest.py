"""A real cluster with the operator installed (`make test-e2e` brings both up); every test has its own namespace."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from tests.e2e.cluster import Cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    kubeconfig = (
        os.environ.get("TRAINYARD_KUBECONFIG")
        or subprocess.run(
            [sys.executable, "-m", "dev.cluster", "kubeconfig"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        .stdout.strip()
        .splitlines()[-1]
    )
    config.load_kube_config(kubeconfig)
    return Cluster(client.ApiClient(), Path(kubeconfig))


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh namespace; at the end nothing of any run may be left in it once its runs are deleted."""
    name = cluster.create_namespace(request.node.originalname or request.node.name)
    yield name
    if request.node.stash.get(FAILED, False):
        print(cluster.describe(name))
    cluster.delete_runs(name)
    leftovers = cluster.wait_until_clean(name)
    cluster.delete_namespace(name)
    assert leftovers == [], f"left behind after every TrainingRun was deleted: {leftovers}"


@pytest.fixture
def default_storage(cluster: Cluster) -> Iterator[str]:
    """The namespace with the development cluster's claim `trainyard-results`, which the samples keep results in."""
    name = "default"
    before = set(cluster.leftovers(name))
    yield name
    cluster.delete_runs(name)
    leftovers = cluster.wait_until_clean(name, ignore=before)
    assert leftovers == [], f"left behind after every TrainingRun was deleted: {leftovers}"


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report
