"""One pass on fakes of the edge: what is written, when, and what a conflict, a fence or a defect does."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.operator.builders import KEY, NAME, NOW, PPO, SETTINGS, UID
from tests.unit.operator.readings.test_progress_line import FULL
from trainyard_operator import errors, names
from trainyard_operator.act import Actor
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.clients.dashboard import Head, JobReading
from trainyard_operator.model import Job, JobState, Key, Outcome, SubmitJob, Submitted
from trainyard_operator.observe import Memory, Observer
from trainyard_operator.reconcile import Reconciler

Form = dict[str, Any]
NODE = "node-1"


@dataclass
class FakeKube:
    """Objects by plural and name, with resource versions. `fenced` refuses writes, `conflicts` status writes."""

    objects: dict[tuple[str, str], Form] = field(default_factory=dict)
    version: int = 100
    fenced: bool = False
    conflicts: int = 0
    writes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def fence(self) -> None:
        if self.fenced:
            raise errors.FencedError("fenced")

    def put(self, plural: str, form: Form) -> Form:
        self.version += 1
        form["metadata"]["resourceVersion"] = str(self.version)
        form["metadata"].setdefault("uid", f"uid-{self.version}")
        self.objects[plural, form["metadata"]["name"]] = form
        return form

    async def get(self, resource: Any, namespace: str, name: str) -> Form:
        if (resource.plural, name) not in self.objects:
            raise errors.NotFoundError(404, "gone")
        return self.objects[resource.plural, name]

    async def list(self, resource: Any, namespace: str, selector: str) -> tuple[list[Form], str]:
        return [o for (plural, _), o in self.objects.items() if plural == resource.plural], str(self.version)

    async def create(self, resource: Any, namespace: str, body: Form) -> Form:
        self.fence()
        if resource.plural == "events":
            self.events.append(body["reason"])
            return body
        if (resource.plural, body["metadata"]["name"]) in self.objects:
            raise errors.ExistsError(409, "exists")
        self.writes.append(f"create {resource.plural}")
        return self.put(resource.plural, dict(body))

    async def patch(self, resource: Any, namespace: str, name: str, body: Form) -> Form:
        self.fence()
        run = self.objects[resource.plural, name]
        if body["metadata"]["resourceVersion"] != run["metadata"]["resourceVersion"]:
            raise errors.ConflictError(409, "changed")
        self.writes.append("finalizers " + ",".join(body["metadata"]["finalizers"]))
        return self.put(resource.plural, {**run, "metadata": {**run["metadata"], **body["metadata"]}})

    async def patch_status(self, resource: Any, namespace: str, name: str, body: Form) -> Form:
        self.fence()
        run = self.objects[resource.plural, name]
        if self.conflicts or body["metadata"]["resourceVersion"] != run["metadata"]["resourceVersion"]:
            self.conflicts = max(0, self.conflicts - 1)
            raise errors.ConflictError(409, "changed")
        self.writes.append("status " + ",".join(sorted(body["status"])))
        status = merged(run.get("status", {}), body["status"])
        return self.put(resource.plural, {**run, "metadata": dict(run["metadata"]), "status": status})

    async def delete(self, resource: Any, namespace: str, name: str, uid: str) -> Form:
        self.fence()
        self.writes.append(f"delete {name}")
        del self.objects[resource.plural, name]
        return {"kind": "Status"}


def merged(old: Form, patch: Form) -> Form:
    """RFC 7386."""
    result = {k: v for k, v in old.items() if k not in patch or patch[k] is not None}
    for key, value in patch.items():
        if isinstance(value, dict):
            result[key] = merged(old.get(key) or {}, value)
        elif value is not None:
            result[key] = value
    return result


@dataclass
class FakeDashboards:
    state: JobState = JobState.RUNNING
    tail_bytes: bytes | None = None
    readings: int = 0
    submitted: list[str] = field(default_factory=list)
    stopped: list[tuple[str, str | None]] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)

    async def job(self, head: Head, job_id: str) -> JobReading:
        self.readings += 1
        return JobReading(Job(self.state), NODE)

    async def stop(self, head: Head, job_id: str) -> None:
        self.stopped.append((job_id, head.token))
        self.state = JobState.STOPPED

    async def submit(self, head: Head, effect: SubmitJob) -> Outcome:
        self.heads.append(head)
        self.submitted.append(effect.job_id)
        return Submitted(effect.job_id)

    async def tail(self, head: Head, node: str, file: str, lines: int) -> bytes | None:
        assert lines == 2
        return self.tail_bytes

    async def job_log(self, head: Head, node: str, job_id: str, lines: int) -> str:
        return "log"


class World:
    def __init__(self, **more: Any) -> None:
        spec = {**PPO, **more}
        self.kube = FakeKube()
        self.cache = Cache()
        self.dashboards = FakeDashboards()
        self.now = 0.0
        observer = Observer(self.cache, self.kube, self.dashboards, SETTINGS, lambda: self.now)
        actor = Actor(self.kube, self.dashboards, self.cache)
        self.reconciler = Reconciler(
            self.kube,
            self.cache,
            observer,
            actor,
            SETTINGS,
            wall=lambda: datetime.fromtimestamp(NOW.timestamp() + self.now, UTC),
            monotonic=lambda: self.now,
        )
        metadata = {"namespace": KEY.namespace, "name": KEY.name, "uid": UID, "generation": 1}
        self.cache.apply(Kind.RUN, self.kube.put("trainingruns", {"metadata": metadata, "spec": spec, "status": {}}))

    async def step(self, seconds: float = 0) -> float | None:
        self.now += seconds
        return await self.reconciler.reconcile(KEY)

    async def run_it(self) -> None:
        """Up to a running driver."""
        await self.step()
        labels = {"trainyard.dev/run": KEY.name, "ray.io/cluster": NAME, "ray.io/node-type": "head"}
        status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        metadata = {"namespace": KEY.namespace, "name": f"{NAME}-head", "labels": labels}
        self.cache.apply(Kind.POD, self.kube.put("pods", {"metadata": metadata, "status": status}))
        await self.step()
        await self.step(1)
        assert self.status["phase"] == "Running"
        self.kube.writes.clear()

    def report(self, seq: int) -> None:
        line = {**FULL, "seq": seq, "jobId": names.job_id(UID, 1, 1), "final": False, "progress": {"iteration": seq}}
        line.pop("failure")
        self.dashboards.tail_bytes = json.dumps(line).encode() + b"\n"

    @property
    def status(self) -> Form:
        return self.kube.objects["trainingruns", KEY.name]["status"]


@pytest.fixture
def world() -> World:
    return World()


async def test_the_first_pass_makes_secret_then_cluster_then_writes_it_down(world) -> None:
    await world.step()
    assert [w.split(" ")[0] + " " + w.split(" ")[1].split(",")[0] for w in world.kube.writes][:2] == [
        "create secrets",
        "create rayclusters",
    ]
    assert world.kube.writes[2].startswith("status ")
    assert world.status["clusterName"] == NAME


async def test_its_own_writes_are_read_before_any_watch_tells(world) -> None:
    """Fencing: the next pass, at once and without any event, neither creates nor writes again."""
    await world.step()
    before = list(world.kube.writes)
    await world.step()
    assert [w for w in world.kube.writes[len(before) :] if w.startswith("create")] == []


async def test_a_second_pass_over_a_quiet_run_writes_nothing(world) -> None:
    await world.run_it()
    await world.step()
    await world.step()
    assert world.kube.writes == []


async def test_dashboards_are_read_when_the_timer_is_due_and_never_before(world) -> None:
    await world.run_it()
    before = world.dashboards.readings
    for _ in range(20):
        await world.step(0.01)
    assert world.dashboards.readings == before
    await world.step(1)
    assert world.dashboards.readings == before + 1


async def test_with_many_running_jobs_each_is_asked_less_often(world) -> None:
    await world.run_it()
    for n in range(299):
        world.reconciler._memory[Key("team", f"other-{n}")] = Memory(f"u{n}", next_poll=1e9)
    await world.step(1)
    assert world.reconciler.memory(KEY).next_poll - world.now == pytest.approx(3 * 0.3), "a young job"
    await world.step(60)
    assert world.reconciler.memory(KEY).next_poll - world.now == pytest.approx(3)


async def test_reports_alone_wait_ten_seconds_and_news_do_not(world) -> None:
    await world.run_it()
    world.report(1)
    await world.step(1)
    assert world.status["progress"]["iteration"] == 1, "the first one at once"
    world.kube.writes.clear()
    for seq in range(2, 6):
        world.report(seq)
        wait = await world.step(1)
        assert wait <= 10
    assert world.kube.writes == []
    assert world.reconciler.memory(KEY).progress.seq == 5, "the freshest reading is in memory"
    world.report(6)
    await world.step(6)
    assert world.status["progress"]["iteration"] == 6
    world.report(7)
    world.dashboards.state = JobState.SUCCEEDED
    await world.step(1)
    assert (world.status["phase"], world.status["progress"]["iteration"]) == ("Succeeded", 7)


async def test_a_conflict_is_read_again_and_repeated_at_once(world) -> None:
    world.kube.conflicts = 1
    assert await world.step() == 0
    assert "clusterName" not in world.status
    await world.step()
    assert world.status["clusterName"] == NAME
    assert world.kube.writes.count("create rayclusters") == 1


async def test_a_fenced_replica_changes_nothing(world) -> None:
    world.kube.fenced = True
    with pytest.raises(errors.FencedError):
        await world.step()
    assert world.kube.writes == []


async def test_a_job_is_submitted_once_and_by_the_timer(world) -> None:
    await world.run_it()
    assert world.dashboards.submitted == [names.job_id(UID, 1, 1)]


async def test_a_head_that_the_watch_has_lost_is_asked_for_before_it_counts_as_gone(world) -> None:
    await world.run_it()
    pod = world.kube.objects["pods", f"{NAME}-head"]
    world.cache._objects[Kind.POD].clear()
    world.cache._of_run[Kind.POD].clear()
    await world.step()
    assert world.status["phase"] == "Running"
    world.kube.objects.pop(("pods", pod["metadata"]["name"]))
    world.cache.remove(Kind.POD, pod)
    await world.step()
    assert world.status["attempts"][0]["reason"] == "HeadLost"


async def test_a_deleted_runs_clusters_go_at_once(world) -> None:
    await world.run_it()
    world.cache.remove(Kind.RUN, world.kube.objects.pop(("trainingruns", KEY.name)))
    assert await world.step() is None
    assert world.kube.writes == [f"delete {NAME}"]
    assert world.reconciler.memory(KEY) is None


async def test_a_run_that_is_being_deleted_is_left_alone(world) -> None:
    run = world.kube.objects["trainingruns", KEY.name]
    run["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    world.cache.apply(Kind.RUN, world.kube.put("trainingruns", run))
    assert await world.step() is None
    assert world.kube.writes == []


async def test_another_owners_cluster_of_the_same_name_is_not_taken(world) -> None:
    metadata = {"namespace": KEY.namespace, "name": NAME, "ownerReferences": []}
    world.kube.put("rayclusters", {"metadata": metadata})
    await world.step()
    ready = next(c for c in world.status["conditions"] if c["type"] == "ClusterReady")
    assert ready["reason"] == "ClusterNameTaken"
    assert "clusterName" not in world.status


async def test_what_the_api_server_forbids_is_said_and_tried_again_without_a_charge(world) -> None:
    async def forbidden(*_: Any) -> Form:
        raise errors.ForbiddenError(403, "exceeded quota: pods")

    world.kube.create, create = forbidden, world.kube.create
    wait = await world.step()
    ready = next(c for c in world.status["conditions"] if c["type"] == "ClusterReady")
    assert (ready["reason"], "exceeded quota" in ready["message"]) == ("ClusterRefused", True)
    assert wait is not None
    world.kube.create = create
    await world.step(5)
    assert (world.status["clusterName"], world.status.get("failures", 0)) == (NAME, 0)


async def test_what_the_api_server_calls_invalid_ends_the_run(world) -> None:
    async def invalid(*_: Any) -> Form:
        raise errors.InvalidError(422, "spec.template: unknown field")

    world.kube.create = invalid
    await world.step()
    assert (world.status["phase"], world.status["failure"]["kind"]) == ("Failed", "User")
    assert "unknown field" in world.status["failure"]["message"]


async def test_news_are_told_after_they_are_on_record(world) -> None:
    world.kube.conflicts = 1
    await world.step()
    assert world.kube.events == []
    await world.step()
    assert world.kube.events == ["Provisioning"]
