"""The operator as a process on a real API server with KubeRay's CRD; Ray and KubeRay's controller are stood in for."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from dev.cluster import kuberay
from dev.cluster.apiserver import ApiServer
from dev.cluster.errors import CommandFailed
from tests.apiserver.conftest import Runs
from tests.apiserver.fake_ray import Dashboard, FakeKubeRay, FakeRay

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
SYSTEM = "operator-under-test"
USER = "the-operator"
KEY = "a key for tests, long enough"
SPEC: Object = {
    "algorithm": {"name": "PPO"},
    "environment": {"name": "CartPole-v1"},
    "stop": {"iterations": 10},
    "backoffLimit": 1,
}
pytestmark = pytest.mark.timeout(120)


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


@dataclass
class Fleet:
    """Starts operator processes and ends them all."""

    kubeconfig: Path
    ray: FakeRay
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


@pytest.fixture(scope="module")
def ray() -> Iterator[FakeRay]:
    ray = FakeRay()
    yield ray
    ray.close()


@pytest.fixture(scope="module")
def rights(server: ApiServer, api: client.ApiClient) -> Path:
    """The kubeconfig of a user who has the operator's rights of manifests/rbac and no others."""
    client.CoreV1Api(api).create_namespace({"metadata": {"name": SYSTEM}})
    server.apply(ROOT / "manifests" / "rbac" / "operator.yaml")
    leader = yaml.safe_load((ROOT / "manifests" / "rbac" / "leader.yaml").read_text())
    leader["metadata"]["namespace"] = SYSTEM
    rbac = client.RbacAuthorizationV1Api(api)
    rbac.create_namespaced_role(SYSTEM, leader)
    subject = {"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}
    body = {"metadata": {"name": USER}, "subjects": [subject]}
    reference = {"apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "ClusterRole", "name": "trainyard-operator"}
    rbac.create_cluster_role_binding(body | {"roleRef": reference | role})
    local = {"kind": "Role", "name": leader["metadata"]["name"]}
    rbac.create_namespaced_role_binding(SYSTEM, body | {"roleRef": reference | local})
    return server.user(USER)


def install_kuberay(server: ApiServer) -> None:
    definition = kuberay.sources() / "config" / "crd" / "bases" / "ray.io_rayclusters.yaml"
    server.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={definition}")

    def served() -> bool:
        try:
            return '"rayclusters"' in server.kubectl("get", "--raw", "/apis/ray.io/v1")
        except CommandFailed:
            return False

    until(served, "the API server serves RayClusters", 30)


@pytest.fixture(scope="module")
def prepared(server: ApiServer, rights: Path) -> Path:
    """The operator's kubeconfig, on an API server with KubeRay's CRDs."""
    install_kuberay(server)
    return rights


@pytest.fixture(scope="module")
def fleet(prepared: Path, ray: FakeRay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    fleet = Fleet(prepared, ray, tmp_path_factory.mktemp("operator"))
    yield fleet
    fleet.stop()


@pytest.fixture
def operator(fleet: Fleet) -> Replica:
    """A running operator; the same one for all tests that leave it alive."""
    alive = [r for r in fleet.replicas if r.process.poll() is None]
    replica = alive[0] if alive else fleet.start()
    until(lambda: leads(replica), "the operator leads", 30)
    return replica


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


@pytest.fixture
def world(api: client.ApiClient, namespace: str, runs: Runs, ray: FakeRay) -> World:
    return World(api, namespace, runs, ray)


class TestTheLifeOfARun:
    def test_from_apply_to_results_without_a_cluster(self, operator: Replica, world: World) -> None:
        run = world.runs.create(SPEC)
        cluster = world.cluster()
        owner = cluster["metadata"]["ownerReferences"][0]
        assert (owner["uid"], owner["controller"]) == (run["metadata"]["uid"], True)
        secret = world.core.read_namespaced_secret(cluster["metadata"]["name"], world.namespace)
        assert secret.metadata.owner_references[0].uid == run["metadata"]["uid"]
        world.kuberay.start_head(cluster)
        world.phase("Running")
        dashboard = world.dashboard(cluster)
        assert len(dashboard.posts) == 1
        assert set(dashboard.tokens) == {"Bearer " + base64.b64decode(secret.data["auth_token"]).decode()}
        dashboard.report(1)
        until(lambda: world.status().get("progress", {}).get("iteration") == 1, "progress in the status")
        assert f'trainyard_run_iterations{{name="run",namespace="{world.namespace}"}} 1.0' in operator.metrics()
        dashboard.report(2, final=True, progress={"iteration": 10, "percent": 100}, summary={"return": 195.5})
        dashboard.end("SUCCEEDED", 0)
        status = world.phase("Succeeded")
        assert status["progress"]["iteration"] == 10
        assert world.condition("Ready")["status"] == "True"
        until(lambda: not world.clusters(), "the RayCluster is deleted")
        data = world.core.read_namespaced_config_map(status["results"]["configMap"], world.namespace).data
        assert json.loads(data["summary.json"])["return"] == 195.5
        until(lambda: world.condition("CleanedUp").get("status") == "True", "the condition CleanedUp")
        assert {"Provisioning", "Submitted", "Running", "Succeeded"} <= set(world.events())
        world.runs.delete()
        series = f'namespace="{world.namespace}"'
        until(lambda: series not in operator.metrics(), "the series vanish with the object")


class TestAttempts:
    def test_a_failed_driver_is_tried_again_on_a_new_cluster_and_then_explained(
        self, operator: Replica, world: World
    ) -> None:
        _, dashboard = world.running()
        dashboard.log = b"step 1\nValueError: went for a walk\n"
        failure = {"kind": "Run", "reason": "ValueError", "message": "went for a walk"}
        dashboard.report(1, final=True, failure=failure)
        dashboard.end("FAILED", 1)
        second = world.cluster(2)
        until(lambda: len(world.clusters()) == 1, "the first cluster is deleted")
        status = world.status()
        assert (status["attempt"], status["failures"]) == (2, 1)
        (attempt,) = status["attempts"]
        assert (attempt["reason"], attempt["exitCode"]) == ("ValueError", 1)
        assert "went for a walk" in attempt["logTail"]
        world.kuberay.start_head(second)
        world.phase("Running")
        world.dashboard(second).end("FAILED", 3)
        status = world.phase("Failed")
        assert (status["failures"], len(status["attempts"])) == (2, 2)
        assert status["failure"]["exitCode"] == 3
        assert world.condition("Stalled")["status"] == "True"
        until(lambda: not world.clusters(), "no cluster is left")

    def test_the_users_error_is_not_tried_again(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running()
        failure = {"kind": "User", "reason": "InvalidConfiguration", "message": "no", "field": "spec.algorithm.config"}
        dashboard.report(1, final=True, failure=failure)
        dashboard.end("FAILED", 2)
        status = world.phase("Failed")
        assert (status["attempt"], status.get("failures", 0)) == (1, 0)
        assert (status["failure"]["kind"], status["failure"]["field"]) == ("User", "spec.algorithm.config")

    def test_a_lost_head_is_a_new_attempt_with_the_last_log_lines(self, operator: Replica, world: World) -> None:
        cluster, dashboard = world.running()
        dashboard.log, before = b"step 7\n", dashboard.log_reads
        dashboard.report(7)
        until(lambda: world.status().get("progress"), "progress")
        until(lambda: dashboard.log_reads > before, "the log is read")
        time.sleep(0.5)
        world.kuberay.delete_pod(world.namespace, f"{cluster['metadata']['name']}-head")
        world.cluster(2)
        (attempt,) = world.status()["attempts"]
        assert (attempt["reason"], attempt["logTail"]) == ("HeadLost", "step 7\n")

    def test_a_job_that_the_head_has_forgotten_is_never_submitted_again(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running()
        dashboard.jobs.clear()
        world.cluster(2)
        assert len(dashboard.posts) == 1
        assert world.status()["attempts"][0]["reason"] == "HeadLost"


class TestSubmission:
    def test_an_agent_that_is_not_there_yet_is_asked_again(self, operator: Replica, world: World) -> None:
        world.runs.create(SPEC)
        cluster = world.cluster()
        dashboard = world.dashboard(cluster)
        dashboard.agent = False
        world.kuberay.start_head(cluster, ready=False)
        until(lambda: dashboard.gets >= 3, "the dashboard is asked again")
        dashboard.agent = True
        world.phase("Running")
        assert len(dashboard.posts) == 1

    def test_a_job_that_was_accepted_without_being_recorded_is_found(self, operator: Replica, world: World) -> None:
        run = world.runs.create(SPEC)
        cluster = world.cluster()
        job_id = f"ty-{run['metadata']['uid']}-1-1"
        metadata = {
            "trainyard.dev/uid": run["metadata"]["uid"],
            "trainyard.dev/run": f"{world.namespace}/run",
            "trainyard.dev/attempt": "1",
        }
        dashboard = world.dashboard(cluster)
        dashboard.jobs[job_id] = {"submission_id": job_id, "status": "RUNNING", "metadata": metadata}
        world.kuberay.start_head(cluster)
        world.phase("Running")
        assert dashboard.posts == []
        assert world.status()["jobId"] == job_id


class TestSuspension:
    def test_deletes_the_cluster_and_resuming_makes_another_one(self, operator: Replica, world: World) -> None:
        world.running()
        world.runs.patch({"spec": {"suspend": True}})
        world.phase("Suspended")
        until(lambda: not world.clusters(), "the cluster is deleted")
        assert world.condition("Suspended")["status"] == "True"
        world.runs.patch({"spec": {"suspend": False}})
        world.kuberay.start_head(world.cluster(2))
        status = world.phase("Running")
        assert (status.get("failures", 0), status["attempts"][0]["reason"]) == (0, "Suspended")

    def test_by_somebody_else_queues_the_run_on_the_same_cluster(self, operator: Replica, world: World) -> None:
        cluster, dashboard = world.running()
        world.kuberay.suspend(cluster, True)
        world.phase("Queued")
        world.kuberay.delete_pod(world.namespace, f"{cluster['metadata']['name']}-head")
        time.sleep(0.5)
        status = world.status()
        assert (status["phase"], status["submission"]) == ("Queued", 2)
        assert "attemptStartTime" not in status, "no clock runs"
        assert [c["metadata"]["uid"] for c in world.clusters()] == [cluster["metadata"]["uid"]]
        dashboard.jobs.clear()
        world.kuberay.suspend(cluster, False)
        world.kuberay.start_head(cluster)
        status = world.phase("Running")
        assert (status["attempt"], status.get("failures", 0)) == (1, 0)
        assert [post["submission_id"].rsplit("-", 2)[1:] for post in dashboard.posts] == [["1", "1"], ["1", "2"]]


class TestTrouble:
    def test_a_pods_own_reason_is_a_condition_within_seconds(self, operator: Replica, world: World) -> None:
        world.runs.create(SPEC | {"provisioningDeadlineSeconds": 4})
        cluster = world.cluster()
        pod = world.kuberay.start_head(cluster, ready=False)
        waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
        container = {"name": "ray", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": "Pending", "containerStatuses": [container | {"state": {"waiting": waiting}}]}
        world.kuberay.set_pod(world.namespace, pod, status)
        until(lambda: world.condition("ClusterReady").get("reason") == "ImagePullBackOff", "the pod's reason", 3)
        status = world.phase("Failed")
        assert status["failure"]["reason"] == "ProvisioningDeadlineExceeded"
        assert "ImagePullBackOff" in status["failure"]["message"]
        assert "ImagePullBackOff" in world.events()
        until(lambda: not world.clusters(), "no cluster is left")

    def test_garbage_in_one_runs_progress_disturbs_no_other(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running()
        dashboard.progress = b"\x00\xff garbage\n"
        until(lambda: world.condition("ProgressReadable").get("status") == "False", "a condition")
        world.runs.create(SPEC, "other")
        until(lambda: len(world.clusters()) == 2, "the other run's cluster")
        assert world.status()["phase"] == "Running"
        dashboard.progress = b""
        dashboard.report(3)
        until(lambda: world.condition("ProgressReadable").get("status") == "True", "the condition is taken back")

    def test_a_request_that_nothing_could_hold_is_refused_and_can_be_corrected(
        self, operator: Replica, world: World
    ) -> None:
        world.runs.create(SPEC | {"sampling": {"envRunners": 300}, "cluster": {"worker": {"replicas": 1}}})
        status = world.phase("Failed")
        assert status["failure"]["reason"] == "InsufficientResources"
        assert world.clusters() == []
        world.runs.patch({"spec": {"sampling": {"envRunners": 1}}})
        assert world.cluster()["spec"]["workerGroupSpecs"][0]["replicas"] == 1
        assert world.phase("Provisioning").get("failure") is None

    def test_a_silent_dashboard_is_said_and_forgiven(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running()
        dashboard.up = False
        until(lambda: world.condition("Running").get("status") == "Unknown", "it is unknown whether the driver runs")
        dashboard.up = True
        until(lambda: world.condition("Running").get("status") == "True", "it is known again")
        assert world.status()["attempt"] == 1


class TestDeletion:
    def test_in_the_middle_leaves_nothing(self, operator: Replica, world: World) -> None:
        cluster, _ = world.running()
        name = cluster["metadata"]["name"]
        assert "finalizers" not in world.runs.get()["metadata"]
        world.runs.delete()
        until(lambda: not world.clusters(), "the cluster goes")
        secrets = world.core.list_namespaced_secret
        until(lambda: all(s.metadata.name != name for s in secrets(world.namespace).items), "the Secret goes", 30)

    def test_a_cluster_of_another_attempt_goes_in_any_decision(self, operator: Replica, world: World) -> None:
        cluster, _ = world.running()
        stray = {k: cluster[k] for k in ("apiVersion", "kind", "spec")}
        kept = ("namespace", "labels", "annotations", "ownerReferences")
        stray["metadata"] = {k: cluster["metadata"][k] for k in kept} | {"name": "stray"}
        world.custom.create_namespaced_custom_object("ray.io", "v1", world.namespace, "rayclusters", stray)
        until(lambda: len(world.clusters()) == 1, "the stray is deleted")
        assert world.clusters()[0]["metadata"]["uid"] == cluster["metadata"]["uid"]

    def test_a_run_deletes_itself_after_its_time_to_live(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running(SPEC | {"ttlSecondsAfterFinished": 1})
        dashboard.end("SUCCEEDED", 0)

        def gone() -> bool:
            try:
                world.runs.get()
            except ApiException as error:
                return error.status == 404
            return False

        until(gone, "the run is deleted")


class TestQuiet:
    def test_reports_alone_are_written_at_most_every_ten_seconds(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running()
        dashboard.report(1)
        until(lambda: world.status().get("progress"), "the first report, at once", 5)
        version = world.runs.get()["metadata"]["resourceVersion"]
        for seq in range(2, 6):
            dashboard.report(seq)
            time.sleep(0.7)
        assert world.runs.get()["metadata"]["resourceVersion"] == version
        series = f'trainyard_run_iterations{{name="run",namespace="{world.namespace}"}} 5.0'
        until(lambda: series in operator.metrics(), "the freshest reading is in the metrics", 5)

    def test_nothing_is_written_when_nothing_happens(self, operator: Replica, world: World) -> None:
        world.running()
        time.sleep(0.5)
        run = world.runs.get()
        time.sleep(2)
        assert world.runs.get()["metadata"]["resourceVersion"] == run["metadata"]["resourceVersion"]
        assert not [a for a in run["metadata"].get("annotations", {}) if "kopf" in a]

    def test_events_do_not_make_it_ask_dashboards(self, operator: Replica, world: World) -> None:
        _, dashboard = world.running()
        time.sleep(1)
        before, started = dashboard.gets, time.monotonic()
        for n in range(30):
            world.runs.patch({"metadata": {"labels": {"touched": str(n)}}})
        time.sleep(1)
        assert dashboard.gets - before <= (time.monotonic() - started) + 2


class TestRestart:
    def test_a_killed_operator_goes_on_where_it_was(self, operator: Replica, fleet: Fleet, world: World) -> None:
        _, dashboard = world.running()
        before = world.status()
        operator.kill()
        dashboard.report(10, final=True, summary={"x": 1})
        dashboard.end("SUCCEEDED", 0)
        fleet.start()
        status = world.phase("Succeeded", seconds=40)
        assert (status["jobId"], status["attempt"]) == (before["jobId"], 1)
        assert len(dashboard.posts) == 1
        until(lambda: not world.clusters(), "the cluster is deleted")
        assert world.core.read_namespaced_config_map(status["results"]["configMap"], world.namespace)

    def test_effects_without_a_record_are_found_again(self, operator: Replica, fleet: Fleet, world: World) -> None:
        """As if the process had ended between an effect and its record in the status."""
        cluster, dashboard = world.running()
        operator.kill()
        lost = {"clusterName": None, "jobId": None, "submitTime": None, "phase": None, "attemptStartTime": None}
        world.runs.patch_status(lost)
        fleet.start()
        until(lambda: world.status().get("jobId"), "the job is found", 40)
        assert world.status()["clusterName"] == cluster["metadata"]["name"]
        assert len(dashboard.posts) == 1
        assert [c["metadata"]["uid"] for c in world.clusters()] == [cluster["metadata"]["uid"]]

    def test_a_run_that_was_deleted_meanwhile_leaves_nothing(
        self, operator: Replica, fleet: Fleet, world: World
    ) -> None:
        world.running()
        operator.kill()
        world.runs.delete()
        fleet.start()
        until(lambda: not world.clusters(), "the cluster goes", 40)


class TestTwoReplicas:
    def test_a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes(
        self, operator: Replica, fleet: Fleet, world: World
    ) -> None:
        standby = fleet.start()
        until(lambda: standby.health("/readyz") == 200, "the standby is ready without the Lease", 30)
        assert "trainyard_operator_leader 0.0" in standby.metrics()
        _, dashboard = world.running()
        mine = f'trainyard_run_phase{{name="run",namespace="{world.namespace}"'
        assert mine in operator.metrics()
        assert mine not in standby.metrics(), "series of runs come from the leader alone"
        operator.process.send_signal(signal.SIGSTOP)
        until(lambda: leads(standby), "the standby leads", 30)
        dashboard.end("FAILED", 1)
        second = world.cluster(2)
        operator.process.send_signal(signal.SIGCONT)
        assert operator.process.wait(20) == 1, "who lost the Lease ends"
        world.kuberay.start_head(second)
        world.phase("Running")
        assert len(world.clusters()) == 1
        assert len(world.dashboard(second).posts) == 1
        assert (world.status()["attempt"], world.status()["failures"]) == (2, 1)

    def test_a_stopped_leader_hands_over_at_once(self, operator: Replica, fleet: Fleet, world: World) -> None:
        standby = fleet.start()
        until(lambda: standby.health("/readyz") == 200, "the standby is ready", 30)
        operator.process.terminate()
        assert operator.process.wait(20) == 0
        until(lambda: leads(standby), "the standby leads", 3)
        world.runs.create(SPEC)
        world.cluster()


class TestKubeRay:
    def test_missing_is_a_condition_and_the_run_goes_on_when_it_comes(
        self, server: ApiServer, fleet: Fleet, world: World
    ) -> None:
        fleet.stop()
        server.kubectl("delete", "customresourcedefinition", "rayclusters.ray.io", "--ignore-not-found")
        replica = fleet.start("--kuberay-probe-seconds", "1")
        until(lambda: leads(replica), "the operator leads", 30)
        world.runs.create(SPEC)
        until(lambda: world.condition("KubeRayMissing").get("status") == "True", "the condition")
        assert replica.health("/readyz") == 200
        assert replica.health("/healthz") == 200
        install_kuberay(server)
        world.cluster()
        until(lambda: not world.condition("KubeRayMissing"), "the condition goes")
        world.kuberay.start_head(world.cluster())
        world.phase("Running")
        fleet.stop()
