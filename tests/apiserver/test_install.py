"""Both ways to install, on a real API server, and what the operator's ServiceAccount may do then."""

import base64
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kubernetes import client, config

from dev.cluster import binaries
from dev.cluster.apiserver import ApiServer
from tests.apiserver.conftest import ROOT
from trainyard_operator import operator_key

NAMESPACE = "trainyard-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:trainyard"
CHART = ROOT / "charts" / "trainyard"


@pytest.fixture(scope="module")
def by_kustomize(server: ApiServer) -> ApiServer:
    """The server of all tests, with the kustomize base applied; nothing runs there, so it may stay."""
    server.kubectl("apply", "--server-side", "--kustomize", ROOT / "manifests")
    return server


@pytest.fixture(scope="module")
def bare() -> Iterator[ApiServer]:
    """A server without any of Trainyard's objects."""
    with ApiServer() as server:
        yield server


@pytest.fixture(scope="module")
def helm(bare: ApiServer) -> Callable[..., str]:
    program = binaries.ensure("helm")

    def run(*arguments: str) -> str:
        command = [program, f"--kubeconfig={bare.kubeconfig}", f"--namespace={NAMESPACE}", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def by_helm(bare: ApiServer, helm: Callable[..., str]) -> ApiServer:
    """The bare server with the chart."""
    helm("install", "trainyard", str(CHART), "--create-namespace")
    return bare


@pytest.fixture(params=["by_kustomize", "by_helm"])
def installed(request: pytest.FixtureRequest) -> client.ApiClient:
    """Installed one way or the other; the administrator's client."""
    server: ApiServer = request.getfixturevalue(request.param)
    return config.new_client_from_config(str(server.kubeconfig))


ALLOWED = [
    ("trainyard.dev", "trainingruns", "", ["get", "list", "watch", "patch", "delete"]),
    ("trainyard.dev", "trainingruns", "status", ["patch"]),
    ("ray.io", "rayclusters", "", ["get", "list", "watch", "create", "delete"]),
    ("", "pods", "", ["get", "list", "watch"]),
    ("", "pods", "log", ["get"]),
    ("", "secrets", "", ["create"]),
    ("", "configmaps", "", ["create", "patch"]),
    ("", "events", "", ["list", "create", "patch"]),
]
VERBS = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"]


def may(api: client.ApiClient, namespace: str, group: str, resource: str, subresource: str, verb: str) -> bool:
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
    }
    review = {"spec": {"user": ACCOUNT, "resourceAttributes": attributes}}
    return bool(client.AuthorizationV1Api(api).create_subject_access_review(review).status.allowed)


def test_the_operator_may_do_what_it_needs_and_nothing_else(installed: client.ApiClient) -> None:
    for group, resource, subresource, verbs in ALLOWED:
        allowed = [verb for verb in VERBS if may(installed, "team-a", group, resource, subresource, verb)]
        assert allowed == [verb for verb in VERBS if verb in verbs], (resource, subresource)


def test_it_holds_leases_in_its_own_namespace_alone(installed: client.ApiClient) -> None:
    def verbs(namespace: str) -> list[str]:
        return [verb for verb in VERBS if may(installed, namespace, "coordination.k8s.io", "leases", "", verb)]

    assert verbs(NAMESPACE) == ["get", "create", "update"]
    assert verbs("team-a") == []


def test_the_same_manifests_can_be_applied_again(by_kustomize: ApiServer) -> None:
    answer = by_kustomize.kubectl("apply", "--server-side", "--kustomize", ROOT / "manifests")
    assert "deployment.apps/trainyard serverside-applied" in answer


def test_the_chart_is_upgraded_uninstalled_and_installed_again(by_helm: ApiServer, helm: Callable[..., str]) -> None:
    helm("upgrade", "trainyard", str(CHART), "--set", "replicas=2")
    query = ["get", "deployment", "trainyard", f"--namespace={NAMESPACE}", "--output=jsonpath={.spec.replicas}"]
    assert by_helm.kubectl(*query) == "2"
    helm("uninstall", "trainyard")
    assert by_helm.kubectl("get", "deployments", f"--namespace={NAMESPACE}", "--output=name") == ""
    assert "trainingruns.trainyard.dev" in by_helm.kubectl("get", "crd", "--output=name"), "the runs must stay"
    helm("install", "trainyard", str(CHART))


class TestOperatorKey:
    """With the rights of the ServiceAccount, which can create Secrets but read none."""

    @pytest.fixture
    def core(self, by_kustomize: ApiServer) -> client.CoreV1Api:
        return client.CoreV1Api(config.new_client_from_config(str(by_kustomize.kubeconfig)))

    @pytest.fixture(autouse=True)
    def pod(
        self, core: client.CoreV1Api, by_kustomize: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What Kubernetes gives to a pod of the operator."""
        server = urlsplit(core.api_client.configuration.host)
        monkeypatch.setenv("TRAINYARD_OPERATOR_NAMESPACE", NAMESPACE)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", server.hostname or "")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        monkeypatch.setattr(operator_key, "SERVICE_ACCOUNT", tmp_path)
        token = by_kustomize.kubectl("create", "token", "trainyard", f"--namespace={NAMESPACE}")
        (tmp_path / "token").write_text(token)
        (tmp_path / "ca.crt").write_bytes(Path(core.api_client.configuration.ssl_ca_cert).read_bytes())

    def test_it_is_created_once_and_kept(self, core: client.CoreV1Api, capsys: pytest.CaptureFixture[str]) -> None:
        keys = []
        for answer in ("created", "kept"):
            assert operator_key.main() == 0
            assert capsys.readouterr().out.startswith(answer)
            keys.append(core.read_namespaced_secret(operator_key.SECRET, NAMESPACE).data)
        assert keys[0] == keys[1]
        assert len(base64.b64decode(keys[0]["key"])) == 64

    def test_a_refusal_is_told_in_the_api_servers_words(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TRAINYARD_OPERATOR_NAMESPACE", "nowhere")
        assert operator_key.main() == 1
        assert 'namespaces "nowhere" not found' in capsys.readouterr().err

    def test_it_says_which_variable_is_missing(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.delenv("TRAINYARD_OPERATOR_NAMESPACE")
        assert operator_key.main() == 1
        assert capsys.readouterr().err.startswith("TRAINYARD_OPERATOR_NAMESPACE missing")
