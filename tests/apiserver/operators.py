"""The operator as a process of the tests, and one namespace of the API server as it looks from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
from kubernetes import client

from dev.cluster import kuberay
from dev.cluster.apiserver import ApiServer
from dev.cluster.errors import CommandFailed
from tests.apiserver.fake_ray import Dashboard, FakeKubeRay, FakeRay
from tests.apiserver.runs import Runs

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
SYSTEM = "operator-under-test"
USER = "the-operator"
SUBJECT = {"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}
KEY = "a key for tests, long enough"
SPEC: Object = {
    "algorithm": {"name": "PPO"},
    "environment": {"name": "CartPole-v1"},
    "stop": {"iterations": 10},
    "backoffLimit": 1,
}


@dataclass
class Replica:
    """One operator process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def health(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return int(error.code)
        except OSError:
            return 0


class Dashboards(Protocol):
    @property
    def url(self) -> str:
        """Of dashboards, with {namespace} and {cluster}."""


@dataclass
class Fleet:
    """Starts operator processes and ends them all."""

    kubeconfig: Path
    ray: Dashboards
    folder: Path
    replicas: list[Replica] = field(default_factory=list)

    def start(self, *flags: str) -> Replica:
        port = free_port()
        log = self.folder / f"operator-{len(self.replicas)}.log"
        command = [
            *(sys.executable, "-m", "trainyard_operator", "--namespace", SYSTEM, "--key", KEY),
            *("--training-image", "example/training:1", "--dashboard-url", self.ray.url, "--http-host", "127.0.0.1"),
            *("--http-port", str(port), "--retry-base-seconds", "0.5", "--lease-seconds", "4", *flags),
        ]
        environment = {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PYTHONPATH": str(ROOT / "operator")}
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        replica = Replica(process, port, log)
        self.replicas.append(replica)
        return replica

    def stop(self) -> None:
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.process.send_signal(signal.SIGCONT)
                replica.process.terminate()
        for replica in self.replicas:
            try:
                replica.process.wait(20)
            except subprocess.TimeoutExpired:
                replica.kill()
        self.replicas.clear()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(check: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    """What `check` returns as soon as that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


def user_with_rights(server: ApiServer, api: client.ApiClient) -> Path:
    """The kubeconfig of a user who has the operator's rights of manifests/rbac and no others."""
    server.apply(ROOT / "manifests" / "rbac" / "operator.yaml")
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "trainyard-operator"}
    body = {"metadata": {"name": USER}, "subjects": [SUBJECT], "roleRef": reference}
    client.RbacAuthorizationV1Api(api).create_cluster_role_binding(body)
    make_system_namespace(api, SYSTEM)
    return server.user(USER)


def make_system_namespace(api: client.ApiClient, name: str) -> None:
    """A namespace in which that user may lead."""
    client.CoreV1Api(api).create_namespace({"metadata": {"name": name}})
    leader = yaml.safe_load((ROOT / "manifests" / "rbac" / "leader.yaml").read_text())
    leader["metadata"]["namespace"] = name
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role(name, leader)
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": leader["metadata"]["name"]}
    rbac.create_namespaced_role_binding(name, {"metadata": {"name": USER}, "subjects": [SUBJECT], "roleRef": reference})


def install_kuberay(server: ApiServer) -> None:
    definition = kuberay.sources() / "config" / "crd" / "bases" / "ray.io_rayclusters.yaml"
    server.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={definition}")

    def served() -> bool:
        try:
            return '"rayclusters"' in server.kubectl("get", "--raw", "/apis/ray.io/v1")
        except CommandFailed:
            return False

    until(served, "the API server serves RayClusters", 30)


def leads(replica: Replica) -> bool:
    assert replica.process.poll() is None, replica.log.read_text()[-3000:]
    return "trainyard_operator_leader 1.0" in safe_metrics(replica)


def safe_metrics(replica: Replica) -> str:
    try:
        return replica.metrics()
    except OSError:
        return ""


class World:
    """One namespace, seen from the outside."""

    def __init__(self, api: client.ApiClient, namespace: str, runs: Runs, ray: FakeRay) -> None:
        self.namespace = namespace
        self.runs = runs
        self.ray = ray
        self.core = client.CoreV1Api(api)
        self.custom = client.CustomObjectsApi(api)
        self.kuberay = FakeKubeRay(api)
        # Pods need the namespace's service account, which the controller manager creates.
        until(lambda: self.core.list_namespaced_service_account(namespace).items, "a service account")

    def status(self, name: str = "run") -> Object:
        return self.runs.get(name).get("status", {})

    def condition(self, kind: str, name: str = "run") -> Object:
        return next((c for c in self.status(name).get("conditions", []) if c["type"] == kind), {})

    def clusters(self) -> list[Object]:
        return self.custom.list_namespaced_custom_object("ray.io", "v1", self.namespace, "rayclusters")["items"]

    def cluster(self, attempt: int = 1) -> Object:
        """The RayCluster of an attempt, as soon as it is there."""

        def find() -> Object | None:
            label = "trainyard.dev/attempt"
            return next((c for c in self.clusters() if c["metadata"]["labels"][label] == str(attempt)), None)

        return until(find, f"the RayCluster of attempt {attempt}")

    def dashboard(self, cluster: Object) -> Dashboard:
        return self.ray.of(self.namespace, cluster["metadata"]["name"])

    def phase(self, phase: str, name: str = "run", seconds: float = 20) -> Object:
        until(lambda: self.status(name).get("phase") == phase, f"phase {phase}, but {self.describe(name)}", seconds)
        return self.status(name)

    def describe(self, name: str) -> "Lazy":
        return Lazy(lambda: json.dumps(self.status(name)))

    def running(self, spec: Object = SPEC) -> tuple[Object, Dashboard]:
        """A run whose driver runs on its first cluster."""
        self.runs.create(spec)
        cluster = self.cluster()
        self.kuberay.start_head(cluster)
        self.phase("Running")
        return cluster, self.dashboard(cluster)

    def events(self) -> list[str]:
        return [e.reason for e in self.core.list_namespaced_event(self.namespace).items]


class Lazy:
    """A text that is made when it is shown."""

    def __init__(self, make: Callable[[], str]) -> None:
        self._make = make

    def __str__(self) -> str:
        return self._make()
