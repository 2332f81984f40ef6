"""Runs on a RayCluster that they chose: what is read, with which token, and what is written, on fakes of the edge."""

import base64
from typing import Any

import pytest

from tests.unit.operator.builders import KEY, UID
from tests.unit.operator.test_reconcile import Form, World
from trainyard_operator import errors, names
from trainyard_operator.cache import Kind
from trainyard_operator.existing import TOKEN_SECONDS, selector_text
from trainyard_operator.model import JobState
from trainyard_operator.readings.objects import TokenSource, read_head, token_source
from trainyard_operator.vocabulary import FINALIZER

JOB = names.job_id(UID, 1, 1)
HEAD = {"podName": "shared-head", "podIP": "10.0.0.9", "serviceName": "shared-head-svc"}
READY = [{"type": "HeadPodReady", "status": "True"}]


def ray_cluster(name: str = "shared", **spec: Any) -> Form:
    metadata = {"namespace": KEY.namespace, "name": name, "labels": {"team": "rl"}}
    return {"metadata": metadata, "spec": spec, "status": {"head": HEAD, "conditions": READY}}


def secret(token: str, name: str = "shared") -> Form:
    return {"metadata": {"name": name}, "data": {"auth_token": base64.b64encode(token.encode()).decode()}}


class Existing(World):
    def __init__(self, *clusters: Form, **more: Any) -> None:
        super().__init__(cluster={"selector": {"matchLabels": {"team": "rl"}}}, **more)
        for one in clusters:
            self.kube.put("rayclusters", one)

    def condition(self, kind: str) -> Form:
        return next(c for c in self.status["conditions"] if c["type"] == kind)

    async def steps(self, count: int) -> None:
        for _ in range(count):
            await self.step(1)

    async def delete(self) -> None:
        run = self.kube.objects["trainingruns", KEY.name]
        metadata = {**run["metadata"], "deletionTimestamp": "2026-05-01T12:00:00Z"}
        self.cache.apply(Kind.RUN, self.kube.put("trainingruns", {**run, "metadata": metadata}))


class TestItsLife:
    async def test_the_choice_is_recorded_then_the_finalizer_set_then_the_job_submitted(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(4)
        writes = [w.split(",")[0] for w in world.kube.writes]
        assert writes.index(f"finalizers {FINALIZER}") == 1
        assert writes[0].startswith("status")
        assert world.dashboards.submitted == [JOB]
        assert not [w for w in writes if w.startswith(("create", "delete"))]
        assert (world.status["clusterName"], world.status["phase"]) == ("shared", "Running")

    async def test_it_is_reached_at_the_address_that_kuberay_tells(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(3)
        (head,) = world.dashboards.heads
        assert (head.cluster, head.address, head.service, head.token) == ("shared", "10.0.0.9", "shared-head-svc", None)

    async def test_an_ended_job_frees_the_object_and_the_cluster_stays(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(4)
        world.dashboards.state = JobState.SUCCEEDED
        await world.steps(3)
        assert world.status["phase"] == "Succeeded"
        assert world.kube.objects["trainingruns", KEY.name]["metadata"]["finalizers"] == []
        assert world.condition("CleanedUp")["status"] == "True"
        assert ("rayclusters", "shared") in world.kube.objects

    async def test_deleting_it_stops_its_job_first(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(4)
        await world.delete()
        await world.steps(3)
        assert world.dashboards.stopped == [(JOB, None)]
        assert world.kube.objects["trainingruns", KEY.name]["metadata"]["finalizers"] == []
        assert ("rayclusters", "shared") in world.kube.objects

    async def test_a_restart_between_the_submission_and_its_record_still_stops_the_job(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(2)
        assert "jobId" not in world.status
        await world.delete()
        world.reconciler._memory.clear()
        await world.steps(3)
        assert world.dashboards.stopped == [(JOB, None)]

    async def test_a_cluster_that_disappears_is_a_failed_attempt_and_the_next_one_waits_for_another(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(4)
        world.kube.objects.pop(("rayclusters", "shared"))
        await world.steps(14)
        assert world.status["attempts"][0]["reason"] == "ClusterLost"
        assert world.kube.objects["trainingruns", KEY.name]["metadata"]["finalizers"] == []
        assert world.condition("ClusterReady")["reason"] == "NoMatchingCluster"
        world.kube.put("rayclusters", ray_cluster("second"))
        world.dashboards.submitted.clear()
        await world.steps(8)
        assert (world.status["clusterName"], world.dashboards.submitted) == ("second", [names.job_id(UID, 2, 2)])

    async def test_clusters_that_are_going_are_not_chosen(self) -> None:
        going = ray_cluster("going")
        going["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
        world = Existing(going, ray_cluster())
        await world.step()
        assert world.status["clusterName"] == "shared"

    async def test_a_finalizer_that_is_refused_is_said_once_and_tried_again(self) -> None:
        world = Existing(ray_cluster())
        world.kube.fail("patch trainingruns", *[errors.ForbiddenError(403, "no")] * 5)
        await world.steps(3)
        running = world.condition("Running")
        assert (running["status"], running["reason"]) == ("False", "FinalizerRefused")
        assert world.condition("ClusterReady")["status"] == "True"
        world.kube.writes.clear()
        await world.steps(3)
        assert (world.kube.writes, world.kube.events.count("FinalizerRefused")) == ([], 1)
        await world.steps(9)
        assert world.dashboards.submitted == [JOB]

    async def test_other_peoples_finalizers_stay(self) -> None:
        world = Existing(ray_cluster())
        run = world.kube.objects["trainingruns", KEY.name]
        metadata = {**run["metadata"], "finalizers": ["example.com/mine"]}
        world.cache.apply(Kind.RUN, world.kube.put("trainingruns", {**run, "metadata": metadata}))
        await world.steps(4)
        world.dashboards.state = JobState.SUCCEEDED
        await world.steps(3)
        assert world.kube.objects["trainingruns", KEY.name]["metadata"]["finalizers"] == ["example.com/mine"]

    async def test_nothing_is_read_between_two_turns(self) -> None:
        world = Existing(ray_cluster())
        await world.steps(4)
        before = world.dashboards.readings
        world.kube.get = None  # whoever calls it fails
        for _ in range(10):
            await world.step(0.01)
        assert world.dashboards.readings == before


class TestItsToken:
    async def test_comes_from_the_secret_and_is_read_again_after_a_minute(self) -> None:
        world = Existing(ray_cluster(authOptions={"mode": "token"}))
        world.kube.put("secrets", secret("first"))
        await world.steps(4)
        assert {head.token for head in world.dashboards.heads} == {"first"}
        world.kube.put("secrets", secret("second"))
        await world.step(TOKEN_SECONDS)
        await world.delete()
        await world.steps(2)
        assert world.dashboards.stopped == [(JOB, "second")]

    async def test_that_may_not_be_read_is_said_with_the_remedy_and_costs_nothing(self) -> None:
        world = Existing(ray_cluster(authOptions={"mode": "token"}))
        get = world.kube.get

        async def forbidden(resource: Any, namespace: str, name: str) -> Form:
            if resource.plural == "secrets":
                raise errors.ForbiddenError(403, "no")
            return await get(resource, namespace, name)

        world.kube.get = forbidden
        await world.steps(4)
        ready = world.condition("ClusterReady")
        assert (ready["status"], ready["reason"]) == ("False", "TokenNotReadable")
        assert "existingClusters.tokenSecrets ({namespace: team, secrets: [shared]})" in ready["message"]
        assert (world.dashboards.submitted, world.status.get("failures", 0)) == ([], 0)
        world.kube.put("secrets", secret("now"))
        world.kube.get = get
        await world.steps(6)
        assert world.dashboards.submitted == [JOB]

    @pytest.mark.parametrize("form", [None, {"metadata": {"name": "shared"}}], ids=["no Secret", "an empty one"])
    async def test_that_is_not_there_is_said(self, form: Form | None) -> None:
        world = Existing(ray_cluster(authOptions={"mode": "token"}))
        if form:
            world.kube.put("secrets", form)
        await world.steps(3)
        assert world.condition("ClusterReady")["reason"] == "TokenMissing"


class TestReading:
    @pytest.mark.parametrize(
        ("spec", "source"),
        [
            ({}, None),
            ({"authOptions": {"mode": "disabled"}}, None),
            ({"authOptions": {"mode": "token"}}, TokenSource("shared", "auth_token")),
            ({"authOptions": {"mode": "token", "secretName": "other"}}, TokenSource("other", "auth_token")),
        ],
    )
    def test_where_the_token_is(self, spec: Form, source: TokenSource | None) -> None:
        assert token_source(ray_cluster(**spec)) == source

    def test_a_token_in_the_heads_environment(self) -> None:
        reference = {"secretKeyRef": {"name": "mine", "key": "k"}}
        env = [{"name": "A", "value": "b"}, {"name": "RAY_AUTH_TOKEN", "valueFrom": reference}]
        template = {"spec": {"containers": [{"name": "ray", "env": env}]}}
        assert token_source(ray_cluster(headGroupSpec={"template": template})) == TokenSource("mine", "k")

    @pytest.mark.parametrize(
        ("status", "ready"),
        [
            ({"head": HEAD, "conditions": READY}, True),
            ({"head": HEAD, "conditions": [{"type": "HeadPodReady", "status": "False"}], "state": "ready"}, False),
            ({"head": HEAD, "state": "ready"}, True),
            ({"head": HEAD}, False),
        ],
    )
    def test_whether_the_head_is_ready(self, status: Form, ready: bool) -> None:
        head = read_head({"metadata": {"name": "shared"}, "status": status})
        assert (head.ready, head.phase) == (ready, "Running" if ready else "Pending")

    def test_no_head_yet(self) -> None:
        assert read_head({"metadata": {"name": "shared"}}) is None

    def test_a_selector_as_text(self) -> None:
        assert selector_text({"b": "2", "a.io/x": ""}) == "a.io/x=,b=2"
