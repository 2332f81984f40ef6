"""The operator as a process on a real API server with KubeRay's CRD; Ray and KubeRay's controller are stood in for."""

import base64
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from dev.cluster.apiserver import ApiServer
from tests.apiserver.operators import SPEC, Fleet, Replica, World, install_kuberay, leads, until
from trainyard_operator.settings import Timing

pytestmark = pytest.mark.timeout(120)


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


@contextmanager
def denied_clusters(api: client.ApiClient, world: World) -> Iterator[None]:
    """Nobody may create a RayCluster in the test's namespace."""
    policies, name = client.AdmissionregistrationV1Api(api), f"deny-{world.namespace}"
    rule = {"apiGroups": ["ray.io"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["rayclusters"]}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no clusters today"}],
        },
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": here},
        },
    }
    policies.create_validating_admission_policy(policy)
    policies.create_validating_admission_policy_binding(binding)
    try:
        until(lambda: is_denied(world), "the policy is in force", 60)
        yield
    finally:
        policies.delete_validating_admission_policy_binding(name)
        policies.delete_validating_admission_policy(name)


def is_denied(world: World) -> bool:
    template = {"spec": {"containers": [{"name": "ray", "image": "example/ray:1"}]}}
    body = {
        "apiVersion": "ray.io/v1",
        "kind": "RayCluster",
        "metadata": {"name": "probe"},
        "spec": {"headGroupSpec": {"rayStartParams": {}, "template": template}},
    }
    place = ("ray.io", "v1", world.namespace, "rayclusters", body)
    try:
        world.custom.create_namespaced_custom_object(*place, dry_run="All")
    except ApiException as error:
        return error.status == 422
    return False


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

    def test_a_policy_that_denies_the_cluster_is_waited_out_and_the_run_can_be_corrected_meanwhile(
        self, api: client.ApiClient, operator: Replica, world: World
    ) -> None:
        """A ValidatingAdmissionPolicy answers with 422, as the API server does for what can never be accepted."""
        with denied_clusters(api, world):
            world.runs.create(SPEC)
            until(lambda: world.condition("ClusterReady").get("reason") == "ClusterRefused", "the policy's words")
            assert "no clusters today" in world.condition("ClusterReady")["message"]
            status = world.status()
            assert (status["phase"], status.get("startTime"), status.get("failures", 0)) == ("Provisioning", None, 0)
            world.runs.patch({"spec": {"seed": 5}})
        world.kuberay.start_head(world.cluster())
        assert world.phase("Running")["seed"] == 5

    def test_a_pod_that_does_not_say_why_it_waits_is_explained_by_its_events(
        self, operator: Replica, world: World
    ) -> None:
        world.runs.create(SPEC)
        cluster = world.cluster()
        world.dashboard(cluster).agent = False
        pod = world.kuberay.start_head(cluster, ready=False)
        world.kuberay.set_pod(world.namespace, pod, {"phase": "Pending"})
        event = {
            "metadata": {"name": "sandbox"},
            "involvedObject": {"kind": "Pod", "name": pod, "namespace": world.namespace},
            "type": "Warning",
            "reason": "FailedCreatePodSandBox",
            "message": "failed to set up network",
            "lastTimestamp": "2026-01-01T00:00:00Z",
        }
        world.core.create_namespaced_event(world.namespace, event)
        until(lambda: world.condition("ClusterReady").get("reason") == "FailedCreatePodSandBox", "the event", 40)
        assert "failed to set up network" in world.condition("ClusterReady")["message"]

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
        timer = Timing().poll_starting  # as often as a young job is asked
        assert dashboard.gets - before <= (time.monotonic() - started) / timer + 2


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
