"""The kopf part and the watchdog: what kopf may know of, and what happens when a watch cannot be trusted."""

from typing import Any

import kopf
import pytest

from tests.unit.operator.test_cache import obj
from trainyard_operator import errors
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.model import Key
from trainyard_operator.settings import Timing
from trainyard_operator.watch import NullDiffBaseStorage, NullProgressStorage, build_registry, build_settings
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


class FakeWatches:
    def __init__(self) -> None:
        self.alive = False
        self.started: list[frozenset[Kind]] = []

    def start(self, kinds: frozenset[Kind]) -> None:
        self.alive = True
        self.started.append(kinds)

    async def stop(self) -> None:
        self.alive = False


class FakeKube:
    def __init__(self) -> None:
        self.served = {"trainingruns", "rayclusters"}
        self.objects: dict[str, list[Any]] = {}
        self.down = False

    async def serves(self, resource: Any) -> bool:
        self._check()
        return resource.plural in self.served

    async def list(self, resource: Any, namespace: str | None, selector: str | None) -> tuple[list[Any], str]:
        self._check()
        return self.objects.get(resource.plural, []), "50"

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

        self.dog = Watchdog(
            self.kube,
            self.cache,
            self.watches,
            (),
            Timing(relist=180),
            self.queued.append,
            count,
            monotonic=lambda: self.now,
        )


@pytest.fixture
def world() -> World:
    return World()


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


async def test_watches_that_have_ended_are_started_again_and_fail_liveness_until_then(world) -> None:
    await world.dog.probe()
    assert world.dog.wrong() is None
    world.watches.alive = False
    assert "ended" in world.dog.wrong()
    await world.dog.probe()
    assert world.dog.wrong() is None


async def test_liveness_fails_when_nothing_was_confirmed_for_three_lists(world) -> None:
    await world.dog.probe()
    world.now = 540
    assert world.dog.wrong() is None
    world.now = 541
    assert "no word" in world.dog.wrong()
    world.dog.confirm(Kind.RUN)
    assert "TrainingRun" not in world.dog.wrong()


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
