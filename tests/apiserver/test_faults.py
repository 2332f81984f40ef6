"""What a bad network does to the operator: dead watches, silent heads, and a part of the fault sweep.

The whole sweep: `python -m tests.apiserver.fault_sweep`; its tables are in docs/reliability.md.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kubernetes import client

from dev.cluster.apiserver import ApiServer
from tests.apiserver.fake_ray import Dashboard, FakeRay
from tests.apiserver.fault_sweep import Case, Sweep, Yard, chosen, of_a_process
from tests.apiserver.faults import FAULTS, KILLS, Call, FaultProxy
from tests.apiserver.operators import SPEC, Fleet, Replica, World, leads, until
from tests.apiserver.runs import Runs

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def yard(server: ApiServer, prepared: Path, ray: FakeRay, tmp_path: Path) -> Yard:
    return Yard(server, prepared, tmp_path, ray)


class TestTheSweep:
    """Calls with effects that must not be doubled, and the harm that would double them."""

    def test_faults_at_calls_that_have_effects(self, yard: Yard) -> None:
        kinds = {fault.name: fault for fault in FAULTS}
        wanted = {
            "create rayclusters": ("reset, done", "503"),
            "submit job": ("500, done", "reset, done"),
            "patch trainingruns/status": ("reset, done", "404", "409"),
            "create configmaps": ("reset, done", "500"),
            "delete rayclusters": ("500, done", "429"),
        }

        def cases(calls: list[Call]) -> list[Case]:
            return [Case(call, kinds[name]) for call in calls if call.nth == 1 for name in wanted.get(call.what, ())]

        results = Sweep(yard).shared(cases)
        assert {result.cell for result in results} <= {"ok", "-"}, [r for r in results if r.cell != "ok"]
        assert sum(result.fired for result in results) >= 10, "the calls were not found again"

    def test_killed_after_the_submission_and_before_its_record(self, yard: Yard) -> None:
        (_, kill) = KILLS

        def cases(calls: list[Call]) -> list[Case]:
            return [Case(call, kill) for call in calls if call.what == "submit job"]

        (result,) = Sweep(yard).lanes(cases)
        assert (result.cell, result.fired) == ("ok", True), result

    def test_a_take_over_outlives_an_api_server_that_refuses_lists_and_the_lease(self, yard: Yard) -> None:
        held = next(fault for fault in FAULTS if fault.name == "503, held")

        def cases(calls: list[Call]) -> list[Case]:
            first = [c for c in calls if of_a_process(c) and c.nth == 1]
            return [Case(c, held) for c in first if c.what in ("list trainingruns", "create leases", "kopf: list pods")]

        results = Sweep(yard).lanes(cases)
        assert [(result.cell, result.fired) for result in results] == [("ok", True)] * 3, results

    def test_polls_are_tried_once_a_stage_and_other_calls_every_time(self) -> None:
        seen = [
            Call("s", "get job", 1),
            Call("s", "get job", 2),
            Call("s", "create events", 2),
            Call("t", "get job", 1),
        ]
        assert chosen(seen) == [seen[0], seen[2], seen[3]]


class TestADeadWatch:
    @pytest.fixture
    def proxy(self, prepared: Path, ray: FakeRay) -> Iterator[FaultProxy]:
        proxy = FaultProxy(prepared, ray.url)
        yield proxy
        proxy.close()

    @pytest.fixture
    def watched(self, proxy: FaultProxy, tmp_path: Path) -> Iterator[Replica]:
        fleet = Fleet(proxy.kubeconfig(tmp_path / "kubeconfig"), proxy, tmp_path)
        replica = fleet.start("--watch-check-seconds", "5")
        until(lambda: leads(replica), "the operator leads", 60)
        yield replica
        fleet.stop()

    @pytest.mark.parametrize("plural", ["trainingruns", "rayclusters", "pods"])
    def test_is_recovered_without_a_restart_soon_after_the_next_check(
        self, plural: str, proxy: FaultProxy, watched: Replica, world: World
    ) -> None:
        """The connection stays open and carries nothing any more, as behind a load balancer that has forgotten it."""
        if plural == "trainingruns":
            until(lambda: proxy.deaden(plural) == 1, "its stream is silent", 20)
            world.runs.create(SPEC)
            started = time.monotonic()
            until(world.clusters, "the run is seen", 60)
        elif plural == "pods":
            world.runs.create(SPEC)
            cluster = world.cluster()
            until(lambda: proxy.deaden(plural) == 1, "its stream is silent", 20)
            world.kuberay.start_head(cluster)
            started = time.monotonic()
            world.phase("Running", seconds=60)
        else:
            cluster, _ = world.running()
            until(lambda: proxy.deaden(plural) == 1, "its stream is silent", 20)
            world.kuberay.suspend(cluster, True)
            started = time.monotonic()
            world.phase("Queued", seconds=60)
        assert time.monotonic() - started < 5 + 25, "with the default of 20 s between checks: 45 s"
        assert watched.process.poll() is None
        assert watched.health("/healthz") == 200, "it was mended without a restart"
        assert "has missed something" in watched.log.read_text()


class TestANoisyNeighbour:
    NOISY = 100

    @pytest.fixture
    def patient(self, fleet: Fleet) -> Replica:
        """An operator that keeps its Lease while this machine has more to do than it can."""
        fleet.stop()
        replica = fleet.start("--lease-seconds", "30")
        until(lambda: leads(replica), "the operator leads", 60)
        return replica

    def make_noise(self, world: World) -> None:
        """100 runs whose heads take connections and never answer."""
        before = len(world.clusters())
        for number in range(self.NOISY):
            world.runs.create(SPEC, f"noisy-{number}")
        until(lambda: len(world.clusters()) == before + self.NOISY, "their clusters", 60)
        for cluster in world.clusters():
            if cluster["metadata"]["labels"]["trainyard.dev/run"] != "run":
                world.dashboard(cluster).answers = False
                world.kuberay.start_head(cluster)
        time.sleep(5)

    def test_a_run_starts_and_ends_beside_100_heads_of_another_namespace_that_never_answer(
        self, patient: Replica, world: World, api: client.ApiClient, ray: FakeRay
    ) -> None:
        with neighbour(api, ray) as noisy:
            self.make_noise(noisy)
            started = time.monotonic()
            _, dashboard = world.running()
            assert time.monotonic() - started < 10
            self.ends_soon(world, dashboard)

    def test_a_run_goes_on_beside_100_heads_of_its_own_namespace_that_never_answer(
        self, patient: Replica, world: World
    ) -> None:
        _, dashboard = world.running()
        self.make_noise(world)
        self.ends_soon(world, dashboard)

    def ends_soon(self, world: World, dashboard: Dashboard) -> None:
        ended = time.monotonic()
        dashboard.report(10, final=True, summary={"x": 1})
        dashboard.end("SUCCEEDED", 0)
        world.phase("Succeeded", seconds=30)
        assert time.monotonic() - ended < 5


@contextmanager
def neighbour(api: client.ApiClient, ray: FakeRay) -> Iterator[World]:
    """A second namespace."""
    core = client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": "noisy"}})
    yield World(api, "noisy", Runs(api, "noisy"), ray)
    core.delete_namespace("noisy")
