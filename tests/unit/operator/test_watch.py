"""The kopf part and the watchdog: what kopf may know of, and what happens when a watch cannot be trusted."""

import asyncio
import threading
from typing import Any

import kopf
import pytest

from tests.unit.operator.test_cache import obj
from trainyard_operator import errors
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.model import Key
from trainyard_operator.settings import Timing
from trainyard_operator.watch import NullDiffBaseStorage, NullProgressStorage, Watches, build_registry, build_settings
from trainyard_operator.watchdog import Watchdog


def test_kopf_has_event_handlers_only_so_that_null_storages_are_safe() -> None:
    registry = build_registry(list(Kind), lambda *_: None)
    assert len(registry._watching.get_all_handlers()) == 3
    for stateful in (registry._changing, registry._spawning, registry._indexing, registry._webhooks):
        assert stateful.get_all_handlers() == []


def test_kopf_writes_nothing_and_scans_nothing() -> None:
    settings = build_settings(15)
    assert isinstance(settings.persistence.diffbase_storage, NullDiffBaseStorage)
    assert isinstance(settings.persistence.progress_storage, NullProgressStorage)
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.peering.standalone


def test_kopf_watches_only_what_belongs_to_runs() -> None:
    selectors = build_settings(15).watching.label_selectors
    pods = kopf.Resource("", "v1", "pods")
    assert list(selectors.collect(pods)) == ["trainyard.dev/run,ray.io/cluster"]
    assert list(selectors.collect(kopf.Resource("trainyard.dev", "v1alpha1", "trainingruns"))) == []


async def test_a_handler_only_passes_on() -> None:
    seen: list[Any] = []
    registry = build_registry([Kind.RUN], lambda *args: seen.append(args))
    (handler,) = registry._watching.get_all_handlers()
    await handler.fn(event={"type": "ADDED", "object": {"x": 1}}, logger=None)
    assert seen == [(Kind.RUN, "ADDED", {"x": 1})]


class TestTheThreadOfKopf:
    async def test_tells_of_an_end_that_nobody_asked_for(self, monkeypatch) -> None:
        async def broken(**_: Any) -> None:
            raise RuntimeError("a watch has failed")

        monkeypatch.setattr(kopf, "operator", broken)
        told = threading.Event()
        watches = Watches((), lambda *_: None, 5, told.set)
        watches.start([Kind.RUN])
        assert await asyncio.to_thread(told.wait, 10)
        await watches.stop()
        assert not watches.alive

    async def test_tells_nothing_when_it_was_asked_to_stop(self, monkeypatch) -> None:
        async def obedient(*, stop_flag: threading.Event, **_: Any) -> None:
            await asyncio.to_thread(stop_flag.wait, 10)

        monkeypatch.setattr(kopf, "operator", obedient)
        told = threading.Event()
        watches = Watches((), lambda *_: None, 5, told.set)
        watches.start([Kind.RUN])
        await watches.stop()
        assert not watches.alive
        assert not told.is_set()


class FakeWatches:
    def __init__(self) -> None:
        self.alive = False
        self.running = asyncio.Event()
        self.started: list[frozenset[Kind]] = []

    def start(self, kinds: frozenset[Kind]) -> None:
        self.alive = True
        self.running.set()
        self.started.append(kinds)

    async def stop(self) -> None:
        self.alive = False


class FakeKube:
    def __init__(self) -> None:
        self.served = {"trainingruns", "rayclusters"}
        self.objects: dict[str, list[Any]] = {}
        self.down = False
        self.lists = 0
        self.failing_lists = 0
        self.news: set[str] = set()
        self.forgotten = False
        self.asked: list[tuple[str, str]] = []

    async def serves(self, resource: Any) -> bool:
        self._check()
        return resource.plural in self.served

    async def list(self, resource: Any, namespace: str | None, selector: str | None) -> tuple[list[Any], str]:
        self._check()
        if self.failing_lists:
            self.failing_lists -= 1
            raise errors.UnavailableError(429, "too many requests")
        self.lists += 1
        return self.objects.get(resource.plural, []), "50"

    async def changed(self, resource: Any, namespace: str | None, selector: str | None, since: str) -> bool:
        self._check()
        self.asked.append((resource.plural, since))
        if self.forgotten:
            raise errors.UnavailableError(410, "too old resource version")
        return resource.plural in self.news

    def _check(self) -> None:
        if self.down:
            raise errors.UnavailableError(0, "down")


class World:
    def __init__(self) -> None:
        self.kube, self.cache, self.watches = FakeKube(), Cache(), FakeWatches()
        self.now = 0.0
        self.queued: list[Key] = []
        self.repaired = 0

        def count(n: int) -> None:
            self.repaired += n

        self.count = count
        self.dog = self.watchdog()

    def watchdog(self, *namespaces: str) -> Watchdog:
        return Watchdog(
            self.kube,
            self.cache,
            self.watches,
            namespaces,
            Timing(relist=180, watch_check=20),
            self.queued.append,
            self.count,
            monotonic=lambda: self.now,
        )


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
def no_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainyard_operator.watchdog.GRACE", 0)


async def test_what_watches_missed_is_repaired_and_looked_at(world) -> None:
    await world.dog.probe()
    world.cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 1, name="gone", owner="a"))
    world.kube.objects["trainingruns"] = [obj(Kind.RUN, 5, "u5", name="new")]
    world.queued.clear()
    await world.dog.relist()
    assert set(world.queued) == {Key("team", "a"), Key("team", "new")}
    assert world.repaired == 2


async def test_without_kuberay_the_rest_is_watched_and_it_starts_again_when_kuberay_comes(world) -> None:
    world.kube.served = {"trainingruns"}
    await world.dog.probe()
    assert not world.dog.kuberay
    assert world.dog.warm
    assert world.watches.started == [frozenset({Kind.RUN, Kind.POD})]
    world.kube.objects["trainingruns"] = [obj(Kind.RUN, 5)]
    world.kube.served.add("rayclusters")
    await world.dog.probe()
    assert world.dog.kuberay
    assert world.watches.started[1:] == [frozenset(Kind)]
    assert Key("team", "run") in world.queued, "every run is looked at"


async def test_a_probe_that_finds_nothing_new_disturbs_nothing(world) -> None:
    await world.dog.probe()
    await world.dog.probe()
    assert len(world.watches.started) == 1


async def test_watches_that_have_ended_are_started_again_within_two_seconds(world) -> None:
    await world.dog.probe()
    dog = asyncio.create_task(world.dog.run())
    await asyncio.sleep(0)
    world.watches.alive = False
    world.watches.running.clear()
    world.dog.watches_ended()
    async with asyncio.timeout(2):
        await world.watches.running.wait()
    dog.cancel()
    assert world.dog.wrong() is None, "a restart would mend no more"


@pytest.mark.parametrize("plural", ["trainingruns", "rayclusters", "pods"])
async def test_a_stream_that_has_missed_something_is_replaced_with_one_list(world, plural, no_grace) -> None:
    await world.dog.probe()
    lists = world.kube.lists
    world.kube.news = {plural}
    world.now = 20
    await world.dog.check()
    assert len(world.watches.started) == 2
    assert world.kube.lists == lists + 3


async def test_a_quiet_stream_that_has_missed_nothing_costs_no_list_and_counts_as_fresh(world) -> None:
    await world.dog.probe()
    lists = world.kube.lists
    world.now = 20
    assert world.dog.ages() == {"TrainingRun": 20, "RayCluster": 20, "Pod": 20}
    await world.dog.check()
    assert (world.kube.lists, len(world.watches.started)) == (lists, 1)
    assert sorted(world.kube.asked) == [("pods", "50"), ("rayclusters", "50"), ("trainingruns", "50")]
    assert world.dog.ages() == {"TrainingRun": 0, "RayCluster": 0, "Pod": 0}


async def test_a_list_says_nothing_about_a_stream(world) -> None:
    await world.dog.probe()
    world.now = 100
    await world.dog.relist()
    assert world.dog.ages()["Pod"] == 100


async def test_a_stream_that_speaks_is_not_asked_and_the_check_goes_on_from_what_it_said(world) -> None:
    await world.dog.probe()
    world.now = 15
    world.dog.heard(Kind.RUN, obj(Kind.RUN, 77))
    world.now = 20
    await world.dog.check()
    assert sorted(world.kube.asked) == [("pods", "50"), ("rayclusters", "50")]
    world.kube.asked.clear()
    world.now = 40
    await world.dog.check()
    assert ("trainingruns", "77") in world.kube.asked


async def test_a_stream_that_is_a_moment_later_than_the_check_is_alive(world, monkeypatch) -> None:
    await world.dog.probe()
    world.kube.news = {"trainingruns"}
    world.now = 20

    async def meanwhile(_: float) -> None:
        world.dog.heard(Kind.RUN, obj(Kind.RUN, 51))

    monkeypatch.setattr(asyncio, "sleep", meanwhile)
    await world.dog.check()
    assert len(world.watches.started) == 1


@pytest.mark.parametrize(("missed", "starts"), [(True, 2), (False, 1)])
async def test_a_revision_that_the_api_server_has_forgotten_is_made_up_by_a_list(world, missed, starts) -> None:
    await world.dog.probe()
    world.kube.forgotten = True
    world.kube.objects["trainingruns"] = [obj(Kind.RUN, 49)] if missed else []
    world.now = 20
    await world.dog.check()
    assert len(world.watches.started) == starts


async def test_liveness_fails_when_the_watches_die_again_and_again_and_not_when_nobody_answers(world, no_grace) -> None:
    await world.dog.probe()
    world.kube.news = {"pods"}
    for n in range(1, 6):
        assert world.dog.wrong() is None
        world.now = n * 60
        await world.dog.check()
    assert "died 5 times" in world.dog.wrong()
    world.now += 600
    assert world.dog.wrong() is None
    world.kube.down = True
    for _ in range(20):
        world.now += 200
        with pytest.raises(errors.UnavailableError):
            await world.dog.relist()
    assert world.dog.wrong() is None


async def test_each_namespace_has_streams_of_its_own(world) -> None:
    world.dog = world.watchdog("team", "other")
    await world.dog.probe()
    world.now = 20
    world.dog.heard(Kind.RUN, obj(Kind.RUN, 60))
    assert world.dog.ages()["TrainingRun"] == 20, "the other namespace's stream may be dead"
    await world.dog.check()
    assert world.kube.asked.count(("trainingruns", "50")) == 1


async def test_a_failed_first_list_is_repeated(world) -> None:
    world.kube.failing_lists = 1
    with pytest.raises(errors.UnavailableError):
        await world.dog.probe()
    assert not world.dog.warm
    await world.dog.probe()
    assert world.dog.warm
    assert len(world.watches.started) == 1


async def test_a_stray_404_of_a_list_takes_nothing_for_gone(world) -> None:
    await world.dog.probe()
    world.kube.list = not_found
    dog = asyncio.create_task(world.dog.run())
    await asyncio.sleep(0)
    world.now = 180
    world.dog.watches_ended()
    await asyncio.sleep(1.5)
    dog.cancel()
    assert world.dog.kuberay
    assert world.dog.warm


async def not_found(*_: Any) -> Any:
    raise errors.NotFoundError(404, "stray")


async def test_it_is_not_warm_before_the_first_list(world) -> None:
    assert not world.dog.warm
    world.kube.down = True
    with pytest.raises(errors.UnavailableError):
        await world.dog.probe()
    assert not world.dog.warm


async def test_without_the_trainingrun_resource_it_is_not_warm(world) -> None:
    world.kube.served = {"rayclusters"}
    await world.dog.probe()
    assert not world.dog.warm
