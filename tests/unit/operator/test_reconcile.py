"""One pass on fakes of the edge: what is written, when, and what a conflict, a fence or a defect does."""

import json
from contextlib import suppress
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
from trainyard_operator.reconcile import Asked, Reconciler

Form = dict[str, Any]
NODE = "node-1"


@dataclass
class FakeKube:
    """Objects by plural and name, with resource versions. `fenced` refuses writes, `conflicts` status writes.

    `faults` are raised by the next calls of a verb on a plural, which then change nothing.
    """

    objects: dict[tuple[str, str], Form] = field(default_factory=dict)
    version: int = 100
    fenced: bool = False
    conflicts: int = 0
    writes: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    log: str = ""
    faults: dict[str, list[Exception]] = field(default_factory=dict)

    def fail(self, call: str, *faults: Exception) -> None:
        """`call` is a verb and a plural, as in "patch_status trainingruns"."""
        self.faults[call] = list(faults)

    def _fault(self, verb: str, resource: Any) -> None:
        if waiting := self.faults.get(f"{verb} {resource.plural}"):
            raise waiting.pop(0)

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
        self._fault("get", resource)
        if (resource.plural, name) not in self.objects:
            raise errors.GoneError(404, "gone")
        return self.objects[resource.plural, name]

    async def list(
        self, resource: Any, namespace: str, selector: str | None = None, fields: str | None = None
    ) -> tuple[list[Form], str]:
        self._fault("list", resource)
        return [o for (plural, _), o in self.objects.items() if plural == resource.plural], str(self.version)

    async def create(self, resource: Any, namespace: str, body: Form) -> Form:
        self.fence()
        self._fault("create", resource)
        if resource.plural == "events":
            self.events.append(body["reason"])
            return body
        if (resource.plural, body["metadata"]["name"]) in self.objects:
            raise errors.ExistsError(409, "exists")
        self.writes.append(f"create {resource.plural}")
        return self.put(resource.plural, dict(body))

    async def patch(self, resource: Any, namespace: str, name: str, body: Form) -> Form:
        self.fence()
        self._fault("patch", resource)
        run = self.objects[resource.plural, name]
        if "metadata" not in body:
            return self.put(resource.plural, {**run, **body})
        if body["metadata"]["resourceVersion"] != run["metadata"]["resourceVersion"]:
            raise errors.ConflictError(409, "changed")
        self.writes.append("finalizers " + ",".join(body["metadata"]["finalizers"]))
        return self.put(resource.plural, {**run, "metadata": {**run["metadata"], **body["metadata"]}})

    async def pod_log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        return self.log

    async def patch_status(self, resource: Any, namespace: str, name: str, body: Form) -> Form:
        self.fence()
        self._fault("patch_status", resource)
        if (resource.plural, name) not in self.objects:
            raise errors.GoneError(404, "gone")
        run = self.objects[resource.plural, name]
        if self.conflicts or body["metadata"]["resourceVersion"] != run["metadata"]["resourceVersion"]:
            self.conflicts = max(0, self.conflicts - 1)
            raise errors.ConflictError(409, "changed")
        self.writes.append("status " + ",".join(sorted(body["status"])))
        status = merged(run.get("status", {}), body["status"])
        return self.put(resource.plural, {**run, "metadata": dict(run["metadata"]), "status": status})

    async def delete(self, resource: Any, namespace: str, name: str, uid: str) -> Form:
        self.fence()
        self._fault("delete", resource)
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
    readings_to_fail: int = 0
    tails_to_fail: int = 0
    absent: int = 0
    log: str = "log"
    node: str | None = NODE

    async def job(self, head: Head, job_id: str) -> JobReading:
        self.readings += 1
        if self.readings_to_fail:
            self.readings_to_fail -= 1
            return JobReading(Job(JobState.UNREACHABLE, "TimeoutError"))
        if self.absent:
            self.absent -= 1
            return JobReading(Job(JobState.ABSENT))
        return JobReading(Job(self.state), self.node)

    async def stop(self, head: Head, job_id: str) -> None:
        self.stopped.append((job_id, head.token))
        self.state = JobState.STOPPED

    async def submit(self, head: Head, effect: SubmitJob) -> Outcome:
        self.heads.append(head)
        self.submitted.append(effect.job_id)
        return Submitted(effect.job_id)

    async def tail(self, head: Head, node: str, file: str, lines: int) -> bytes | None:
        assert lines == 2
        if self.tails_to_fail:
            self.tails_to_fail -= 1
            raise errors.UnavailableError(0, "TimeoutError")
        return self.tail_bytes

    async def job_log(self, head: Head, node: str, job_id: str, lines: int) -> str:
        return self.log


class World:
    def __init__(self, **more: Any) -> None:
        spec = {**PPO, **more}
        self.kube = FakeKube()
        self.cache = Cache()
        self.dashboards = FakeDashboards()
        self.now = 0.0
        self.jump = 0.0
        self.restart()
        metadata = {"namespace": KEY.namespace, "name": KEY.name, "uid": UID, "generation": 1}
        self.cache.apply(Kind.RUN, self.kube.put("trainingruns", {"metadata": metadata, "spec": spec, "status": {}}))

    async def step(self, seconds: float = 0) -> float | None:
        self.now += seconds
        return await self.reconciler.reconcile(KEY)

    def restart(self) -> None:
        """A new process: what it remembers is gone, what it watches is there."""
        observer = Observer(self.cache, self.kube, self.dashboards, SETTINGS, lambda: self.now)
        actor = Actor(self.kube, self.dashboards, self.cache)
        self.reconciler = Reconciler(
            self.kube,
            self.cache,
            observer,
            actor,
            SETTINGS,
            wall=lambda: datetime.fromtimestamp(NOW.timestamp() + self.now + self.jump, UTC),
            monotonic=lambda: self.now,
        )

    async def pass_over(self, seconds: float) -> None:
        """A pass as a worker makes it: an error of the API server is a later pass."""
        with suppress(errors.ApiError):
            await self.step(seconds)

    async def submit(self) -> None:
        """Up to a job that Ray has taken."""
        await self.step()
        labels = {"trainyard.dev/run": KEY.name, "ray.io/cluster": NAME, "ray.io/node-type": "head"}
        status = {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]}
        metadata = {"namespace": KEY.namespace, "name": f"{NAME}-head", "labels": labels}
        self.cache.apply(Kind.POD, self.kube.put("pods", {"metadata": metadata, "status": status}))
        await self.step()

    async def run_it(self) -> None:
        """Up to a running driver."""
        await self.submit()
        await self.step(1)
        assert self.status["phase"] == "Running"
        self.kube.writes.clear()

    def change_spec(self, **more: Any) -> None:
        run = self.kube.objects["trainingruns", KEY.name]
        metadata = {**run["metadata"], "generation": run["metadata"]["generation"] + 1}
        form = {**run, "metadata": metadata, "spec": {**run["spec"], **more}}
        self.cache.apply(Kind.RUN, self.kube.put("trainingruns", form))

    def condition(self, kind: str) -> Form:
        return next((c for c in self.status["conditions"] if c["type"] == kind), {})

    def report(self, seq: int, *, final: bool = False, **more: Any) -> None:
        line = {**FULL, "seq": seq, "jobId": names.job_id(UID, 1, 1), "final": final, "progress": {"iteration": seq}}
        line |= more
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


class TestARunThatIsGone:
    """Nothing is deleted for want of an owner before the API server has said that there is none."""

    async def test_loses_its_clusters_at_once(self, world) -> None:
        await world.run_it()
        world.cache.remove(Kind.RUN, world.kube.objects.pop(("trainingruns", KEY.name)))
        assert await world.step() is None
        assert world.kube.writes == [f"delete {NAME}"]
        assert world.reconciler.memory(KEY) is None

    @pytest.mark.parametrize("stray", [errors.GoneError(404, "gone"), errors.NotFoundError(404, "404 page not found")])
    async def test_is_not_gone_for_one_stray_404_of_a_status_write(self, world, stray) -> None:
        await world.run_it()
        world.report(1)
        world.kube.fail("patch_status trainingruns", stray)
        with suppress(errors.NotFoundError):
            await world.step(1)
        await world.step(1)
        assert ("rayclusters", NAME) in world.kube.objects
        assert world.status["progress"]["iteration"] == 1

    async def test_is_not_gone_because_the_cache_has_lost_it(self, world) -> None:
        await world.run_it()
        world.cache.remove(Kind.RUN, world.kube.objects["trainingruns", KEY.name])
        assert await world.step() == 0
        assert world.kube.writes == []
        world.report(1)
        await world.step(1)
        assert world.status["progress"]["iteration"] == 1

    @pytest.mark.parametrize(
        "fault", [errors.NotFoundError(404, "404 page not found"), errors.UnavailableError(503, "")]
    )
    async def test_is_not_gone_while_nobody_can_say(self, world, fault) -> None:
        await world.run_it()
        world.cache.remove(Kind.RUN, world.kube.objects["trainingruns", KEY.name])
        world.kube.fail("get trainingruns", fault)
        with pytest.raises(errors.ApiError):
            await world.step()
        assert ("rayclusters", NAME) in world.kube.objects

    async def test_leaves_the_cluster_that_somebody_orphaned_on_purpose(self, world) -> None:
        """kubectl delete --cascade=orphan: the garbage collector has removed the owner reference."""
        await world.run_it()
        cluster = world.kube.objects["rayclusters", NAME]
        world.kube.put("rayclusters", {**cluster, "metadata": {**cluster["metadata"], "ownerReferences": []}})
        world.cache.remove(Kind.RUN, world.kube.objects.pop(("trainingruns", KEY.name)))
        assert await world.step() is None
        assert ("rayclusters", NAME) in world.kube.objects
        assert world.cache.clusters(KEY) == []


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


class TestACreationThatFails:
    async def test_because_it_is_invalid_ends_the_run_which_can_be_corrected(self, world) -> None:
        world.kube.fail("create rayclusters", errors.InvalidError(422, "spec.template: unknown field"))
        await world.step()
        assert (world.status["phase"], world.status["failure"]["kind"]) == ("Failed", "User")
        assert "unknown field" in world.status["failure"]["message"]
        assert "startTime" not in world.status, "nothing was created: the specification can be corrected"
        world.change_spec(seed=2)
        await world.step()
        assert (world.status["clusterName"], world.status["seed"]) == (NAME, 2)

    @pytest.mark.parametrize(
        ("fault", "reason"),
        [
            (errors.UnavailableError(500, 'failed calling webhook "kueue"'), "ClusterNotCreated"),
            (errors.UnavailableError(0, "TimeoutError"), "ClusterNotCreated"),
            (errors.DeniedError(400, "admission webhook denied the request"), "ClusterRefused"),
            (errors.ForbiddenError(403, "exceeded quota"), "ClusterRefused"),
            (errors.NotFoundError(404, "namespaces not found"), "ClusterRefused"),
            (errors.ConflictError(409, "the quota has changed"), "ClusterRefused"),
        ],
    )
    @pytest.mark.parametrize("what", ["secrets", "rayclusters"])
    async def test_is_said_tried_again_and_ends_with_the_deadline(self, world, what, fault, reason) -> None:
        world.kube.fail(f"create {what}", *[fault] * 1000)
        assert await world.step() <= 5
        ready = world.condition("ClusterReady")
        assert (ready["reason"], fault.message in ready["message"]) == (reason, True)
        assert world.kube.events == [reason, "Provisioning"]
        assert "startTime" not in world.status
        await world.step(599)
        assert world.status["phase"] == "Provisioning"
        await world.step(1)
        assert world.status["failure"]["reason"] == "ProvisioningDeadlineExceeded"
        assert fault.message in world.status["failure"]["message"]

    async def test_and_then_works_has_cost_nothing(self, world) -> None:
        world.kube.fail("create rayclusters", errors.UnavailableError(503, "later"))
        await world.step()
        await world.step(5)
        assert (world.status["clusterName"], world.status.get("failures", 0)) == (NAME, 0)
        assert world.status["startTime"] == "2026-05-01T12:00:05Z"


@pytest.mark.parametrize("fault", [errors.UnavailableError(500, "no"), errors.ForbiddenError(403, "no")])
async def test_a_cluster_that_cannot_be_deleted_does_not_keep_the_status_from_being_written(world, fault) -> None:
    await world.run_it()
    world.report(10, final=True)
    world.dashboards.state = JobState.SUCCEEDED
    await world.step(1)
    world.kube.fail("delete rayclusters", fault)
    assert await world.step() <= 30
    assert world.condition("CleanedUp")["status"] == "False"
    await world.step(30)
    assert ("rayclusters", NAME) not in world.kube.objects


async def test_news_are_told_after_they_are_on_record(world) -> None:
    world.kube.conflicts = 1
    await world.step()
    assert world.kube.events == []
    await world.step()
    assert world.kube.events == ["Provisioning"]


class TestMemory:
    """What this process remembers of a run has a bound, and an ended run costs nothing."""

    async def test_of_a_log_is_its_end(self, world) -> None:
        world.dashboards.log = "start\n" + "\r50 %" * 10**6 + "\nlast words\n"
        await world.run_it()
        remembered = world.reconciler.memory(KEY).log_tail
        assert len(remembered.encode()) <= 8192
        assert remembered.endswith("last words\n")

    async def test_of_a_pods_log_is_its_end(self, world) -> None:
        await world.step()
        labels = {"trainyard.dev/run": KEY.name, "ray.io/cluster": NAME, "ray.io/node-type": "head"}
        ended = {"name": "ray", "state": {"terminated": {"reason": "Error", "exitCode": 1}}}
        metadata = {"namespace": KEY.namespace, "name": f"{NAME}-head", "labels": labels}
        form = {"metadata": metadata, "status": {"phase": "Failed", "containerStatuses": [ended]}}
        world.cache.apply(Kind.POD, world.kube.put("pods", form))
        world.kube.log = "x" * 10**6 + "\nlast words\n"
        await world.step()
        assert len(world.reconciler.memory(KEY).log_tail) <= 8192
        assert world.status["failure"]["logTail"] == "last words\n"

    async def test_of_an_ended_run_is_dropped_once_its_results_are_on_record(self, world) -> None:
        await world.run_it()
        world.report(10, final=True)
        world.dashboards.state = JobState.SUCCEEDED
        world.kube.fail("create configmaps", errors.UnavailableError(503, "later"))
        await world.step(1)
        assert world.reconciler.memory(KEY).progress is not None, "its results are not written yet"
        for _ in range(3):
            await world.step(1)
        assert world.condition("ResultsKept")["status"] == "True"
        memory = world.reconciler.memory(KEY)
        assert (memory.progress, memory.log_tail) == (None, "")


class TestLastResults:
    """An earlier report is never taken for the result while a later one may be read."""

    async def test_are_read_again_when_the_reading_at_the_end_failed(self, world) -> None:
        await world.run_it()
        world.report(3)
        await world.step(1)
        world.report(10, final=True)
        world.dashboards.state = JobState.SUCCEEDED
        world.dashboards.tails_to_fail = 2
        await world.step(1)
        assert (world.status["phase"], ("configmaps", f"{NAME}-results") in world.kube.objects) == ("Succeeded", False)
        for _ in range(5):
            await world.step(1)
        kept = world.kube.objects["configmaps", f"{NAME}-results"]["data"]
        assert '"seq": 10' in kept["progress.json"]
        assert ("rayclusters", NAME) not in world.kube.objects

    async def test_that_nobody_could_read_are_said_to_be_incomplete(self, world) -> None:
        await world.run_it()
        world.report(3)
        await world.step(1)
        world.dashboards.state = JobState.SUCCEEDED
        world.dashboards.tails_to_fail = 1000
        for _ in range(35):
            await world.step(1)
        kept = world.condition("ResultsKept")
        assert (kept["status"], kept["reason"]) == ("True", "Incomplete")
        assert "report number 3" in kept["message"]
        assert ("rayclusters", NAME) not in world.kube.objects


class TestConditionsThatFlip:
    """A driver may say something else in every reading: neither the API server nor anybody's events drown in it."""

    def talk(self, world: World, seq: int, **condition: str) -> None:
        said = {"type": "Odd", "status": "True" if seq % 2 else "False", "reason": "Odd", "message": f"number {seq}"}
        world.report(seq, conditions=[said | condition])

    async def test_are_written_at_most_every_ten_seconds_after_the_first_few(self, world) -> None:
        await world.run_it()
        for seq in range(1, 121):
            self.talk(world, seq)
            await world.step(1)
        writes = [w for w in world.kube.writes if w.startswith("status")]
        assert len(writes) <= 5 + 120 / 10 + 1
        assert world.condition("Odd")["message"] >= "number 110", "the last words are not lost"

    async def test_are_announced_at_most_once_a_minute_whatever_their_reason(self, world) -> None:
        await world.run_it()
        world.kube.events.clear()
        for seq in range(1, 121):
            self.talk(world, seq, reason=f"Odd{seq}")
            await world.step(1)
        assert 1 <= len(world.kube.events) <= 3

    async def test_do_not_hold_up_what_matters(self, world) -> None:
        await world.run_it()
        for seq in range(1, 31):
            self.talk(world, seq)
            await world.step(1)
        self.talk(world, 31)
        world.dashboards.state = JobState.SUCCEEDED
        await world.step(1)
        assert (world.status["phase"], world.condition("Odd")["message"]) == ("Succeeded", "number 31")

    async def test_that_is_set_and_set_back_in_one_pass_has_not_flipped(self, world) -> None:
        world.kube.fail("create rayclusters", *[errors.ForbiddenError(403, "exceeded quota")] * 99)
        await world.step()
        since = world.condition("ClusterReady")["lastTransitionTime"]
        for _ in range(3):
            await world.step(5)
        assert world.condition("ClusterReady")["lastTransitionTime"] == since


async def test_a_jump_of_the_wall_clock_ends_no_run() -> None:
    world = World(activeDeadlineSeconds=600)
    await world.run_it()
    world.jump = 86400.0
    for _ in range(5):
        await world.step(1)
    assert world.status["phase"] == "Running"


async def test_a_job_that_ended_before_ray_had_a_node_for_it_is_not_waited_for(world) -> None:
    await world.submit()
    world.dashboards.node = None
    world.dashboards.state = JobState.STOPPED
    for _ in range(3):
        await world.step(1)
    assert (world.status["phase"], ("rayclusters", NAME) in world.kube.objects) == ("Failed", False)


async def test_a_job_for_which_ray_never_finds_a_node_ends_with_the_provisioning_deadline() -> None:
    world = World(cluster={"worker": {"replicas": 1}})
    await world.submit()
    world.dashboards.node = None
    world.dashboards.state = JobState.PENDING
    for _ in range(4):
        await world.step(300)
    assert world.status["failure"]["reason"] == "ProvisioningDeadlineExceeded"


class TestWhichDashboardsAPassMayWaitFor:
    async def test_none_before_there_is_a_cluster_and_none_before_the_runs_timer_is_due(self, world) -> None:
        assert world.reconciler.may_ask(KEY) is None
        await world.run_it()
        assert world.reconciler.may_ask(KEY) is None
        world.now += 1
        assert world.reconciler.may_ask(KEY) == Asked(KEY.namespace, answers=True)

    async def test_one_that_did_not_answer_does_not_share_with_those_that_do(self, world) -> None:
        await world.run_it()
        world.dashboards.state = JobState.UNREACHABLE
        await world.step(1)
        world.now += 10
        assert world.reconciler.may_ask(KEY) == Asked(KEY.namespace, answers=False)
        world.dashboards.state = JobState.RUNNING
        await world.step()
        world.now += 10
        assert world.reconciler.may_ask(KEY) == Asked(KEY.namespace, answers=True)

    async def test_one_of_which_this_process_knows_nothing_yet_may_not_answer(self, world) -> None:
        await world.run_it()
        world.reconciler._memory.clear()
        assert world.reconciler.may_ask(KEY) == Asked(KEY.namespace, answers=False)
