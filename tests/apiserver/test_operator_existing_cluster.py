"""Runs on a RayCluster that exists already: the operator as a process on a real API server, Ray stood in for."""

import time

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.apiserver.fake_ray import Dashboard
from tests.apiserver.operators import SPEC, USER, Fleet, Object, Replica, World, until

LABELS = {"team": "rl"}
ON_SHARED: Object = {**SPEC, "cluster": {"selector": {"matchLabels": LABELS}}}
FINALIZER = "trainyard.dev/stop-job"
pytestmark = pytest.mark.timeout(120)


class Shared:
    """A namespace with clusters that somebody else made."""

    def __init__(self, world: World) -> None:
        self.world = world

    def make(self, name: str = "shared", **spec: object) -> Dashboard:
        self.world.kuberay.make_cluster(self.world.namespace, name, LABELS, **spec)
        return self.world.ray.of(self.world.namespace, name)

    def running(self, spec: Object = ON_SHARED) -> Dashboard:
        dashboard = self.make()
        self.world.runs.create(spec)
        self.world.phase("Running")
        return dashboard

    def names(self) -> list[str]:
        return [cluster["metadata"]["name"] for cluster in self.world.clusters()]

    def gone(self) -> bool:
        try:
            self.world.runs.get()
        except ApiException as error:
            return error.status == 404
        return False


@pytest.fixture
def shared(world: World) -> Shared:
    return Shared(world)


class TestOneMatch:
    def test_from_apply_to_results_on_a_cluster_that_stays(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        dashboard = shared.running()
        status = world.status()
        assert status["clusterName"] == "shared"
        assert world.runs.get()["metadata"]["finalizers"] == [FINALIZER]
        assert world.condition("ClusterReady")["status"] == "True"
        dashboard.report(10, final=True, summary={"return": 195.5})
        dashboard.end("SUCCEEDED", 0)
        status = world.phase("Succeeded")
        until(lambda: world.condition("CleanedUp").get("status") == "True", "the job is known to be over")
        assert "finalizers" not in world.runs.get()["metadata"]
        assert world.core.read_namespaced_config_map(status["results"]["configMap"], world.namespace)
        assert (shared.names(), len(dashboard.posts), dashboard.stops) == (["shared"], 1, [])
        assert world.core.list_namespaced_secret(world.namespace).items == []

    def test_a_run_that_is_deleted_in_the_middle_stops_its_job_and_goes(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        dashboard = shared.running()
        job = world.status()["jobId"]
        world.runs.delete()
        until(shared.gone, "the object goes")
        assert set(dashboard.stops) == {job}
        assert shared.names() == ["shared"]

    def test_a_job_that_does_not_end_holds_the_object(self, operator: Replica, world: World, shared: Shared) -> None:
        dashboard = shared.running()
        dashboard.stubborn = True
        world.runs.delete()
        until(lambda: len(dashboard.stops) >= 2, "it is asked again")
        assert not shared.gone()
        dashboard.end("STOPPED", None)
        until(shared.gone, "the object goes")

    def test_a_run_that_is_deleted_while_the_operator_is_away_stops_its_job_when_it_is_back(
        self, operator: Replica, fleet: Fleet, world: World, shared: Shared
    ) -> None:
        dashboard = shared.running()
        operator.kill()
        world.runs.delete()
        time.sleep(0.5)
        assert not shared.gone()
        fleet.start()
        until(shared.gone, "the object goes", 40)
        assert len(set(dashboard.stops)) == 1

    def test_suspending_stops_only_the_job_and_resuming_submits_another(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        dashboard = shared.running()
        world.runs.patch({"spec": {"suspend": True}})
        world.phase("Suspended")
        until(lambda: "finalizers" not in world.runs.get()["metadata"], "the job is over")
        assert (len(dashboard.stops), shared.names()) == (1, ["shared"])
        assert world.status().get("failures", 0) == 0
        world.runs.patch({"spec": {"suspend": False}})
        world.phase("Running")
        assert [post["submission_id"].rsplit("-", 2)[1:] for post in dashboard.posts] == [["1", "1"], ["2", "2"]]

    def test_a_failed_driver_is_tried_again_on_the_same_cluster(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        dashboard = shared.running()
        dashboard.end("FAILED", 1)
        until(lambda: len(dashboard.posts) == 2, "the second job")
        assert (world.status()["attempt"], world.status()["failures"]) == (2, 1)
        assert (world.status()["clusterName"], shared.names()) == ("shared", ["shared"])

    def test_a_deadline_stops_the_job(self, operator: Replica, world: World, shared: Shared) -> None:
        dashboard = shared.running({**ON_SHARED, "activeDeadlineSeconds": 2})
        status = world.phase("Failed")
        assert status["failure"]["reason"] == "DeadlineExceeded"
        until(lambda: dashboard.stops, "the job is stopped")
        until(lambda: "finalizers" not in world.runs.get()["metadata"], "the job is over")


class TestOtherMatches:
    def test_none_is_waited_for_and_its_cluster_is_used_when_it_comes(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        world.runs.create(ON_SHARED)
        until(lambda: world.condition("ClusterReady").get("reason") == "NoMatchingCluster", "the condition")
        assert "team=rl" in world.condition("ClusterReady")["message"]
        assert world.condition("Reconciling")["reason"] == "NoMatchingCluster"
        assert "startTime" not in world.status()
        shared.make()
        world.phase("Running")

    def test_none_until_the_deadline_fails_the_run_and_a_corrected_one_goes_on(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        shared.make()
        wrong = {"selector": {"matchLabels": {"team": "wrong"}}}
        world.runs.create({**ON_SHARED, "cluster": wrong, "provisioningDeadlineSeconds": 1})
        status = world.phase("Failed")
        assert status["failure"]["reason"] == "ProvisioningDeadlineExceeded"
        assert "no RayCluster of namespace" in status["failure"]["message"]
        world.runs.patch(
            {"spec": {"cluster": {"selector": {"matchLabels": LABELS}}, "provisioningDeadlineSeconds": 60}}
        )
        world.phase("Running")

    def test_two_are_refused_with_their_names(self, operator: Replica, world: World, shared: Shared) -> None:
        shared.make("first")
        shared.make("second")
        world.runs.create(ON_SHARED)
        failure = world.phase("Failed")["failure"]
        assert (failure["kind"], failure["reason"]) == ("User", "AmbiguousSelector")
        assert failure["field"] == "spec.cluster.selector"
        assert "first, second" in failure["message"]

    def test_a_cluster_that_disappears_is_a_failed_attempt_and_another_one_is_waited_for(
        self, operator: Replica, world: World, shared: Shared
    ) -> None:
        shared.running()
        world.kuberay.delete_cluster(world.namespace, "shared")
        until(lambda: world.condition("ClusterReady").get("reason") == "NoMatchingCluster", "the condition", 30)
        assert world.status()["attempts"][0]["reason"] == "ClusterLost"
        assert "finalizers" not in world.runs.get()["metadata"]
        world.runs.delete()
        until(shared.gone, "the object goes")


class TestToken:
    def secret(self, world: World) -> None:
        body = {"metadata": {"name": "shared"}, "stringData": {"auth_token": "of-the-cluster"}}
        world.core.create_namespaced_secret(world.namespace, body)

    def test_a_secret_that_may_not_be_read_is_a_condition_and_one_role_is_the_remedy(
        self, operator: Replica, world: World, shared: Shared, api: client.ApiClient
    ) -> None:
        dashboard = shared.make(authOptions={"mode": "token"})
        self.secret(world)
        world.runs.create(ON_SHARED)
        until(lambda: world.condition("ClusterReady").get("reason") == "TokenNotReadable", "the condition")
        message = world.condition("ClusterReady")["message"]
        assert f"{{namespace: {world.namespace}, secrets: [shared]}}" in message
        assert (dashboard.posts, dashboard.tokens, world.status().get("failures", 0)) == ([], [], 0)
        assert "TokenNotReadable" in world.events()
        rbac = client.RbacAuthorizationV1Api(api)
        rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["shared"], "verbs": ["get"]}
        rbac.create_namespaced_role(world.namespace, {"metadata": {"name": "token"}, "rules": [rule]})
        subject = {"kind": "User", "name": USER, "apiGroup": "rbac.authorization.k8s.io"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "token"}
        binding = {"metadata": {"name": "token"}, "subjects": [subject], "roleRef": reference}
        rbac.create_namespaced_role_binding(world.namespace, binding)
        world.phase("Running")
        assert set(dashboard.tokens) == {"Bearer of-the-cluster"}
