"""Who may write: a Lease on a fake API server and a clock that the test moves."""

from datetime import UTC, datetime
from typing import Any

import pytest

from trainyard_operator import errors
from trainyard_operator.lease import Lease
from trainyard_operator.settings import LeaseSettings

SETTINGS = LeaseSettings(duration=15, renew=2, request=5)


class FakeKube:
    """One Lease with resource versions. `broken` makes every request fail; `faults` are answered first, once each, and
    of the next `lost` writes the answers are lost."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.broken = False
        self.faults: list[errors.ApiError] = []
        self.lost = 0

    async def read_lease(self, namespace: str, name: str, seconds: float) -> dict[str, Any]:
        self._check()
        if self.lease is None:
            raise errors.NotFoundError(404, "no lease")
        return self.lease

    async def create_lease(self, namespace: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        self._check()
        if self.lease is not None:
            raise errors.ExistsError(409, "exists")
        return self._store(body)

    async def replace_lease(self, namespace: str, name: str, body: dict[str, Any], seconds: float) -> dict[str, Any]:
        self._check()
        if self.lease is None:
            raise errors.NotFoundError(404, "no lease")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise errors.ConflictError(409, "changed")
        return self._store(body)

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        if self.lost:
            self.lost -= 1
            raise errors.UnavailableError(0, "the answer was lost")
        return self.lease

    def _check(self) -> None:
        if self.broken:
            raise errors.UnavailableError(0, "no answer")
        if self.faults:
            raise self.faults.pop(0)


class World:
    def __init__(self) -> None:
        self.kube = FakeKube()
        self.now = 1000.0

    def replica(self, name: str) -> Lease:
        return Lease(
            self.kube,
            SETTINGS,
            "system",
            name,
            clock=lambda: self.now,
            wall=lambda: datetime.fromtimestamp(self.now, UTC),
        )


@pytest.fixture
def world() -> World:
    return World()


async def tries(lease: Lease) -> bool:
    return await lease._try_to_take()


async def test_the_first_replica_takes_a_lease_that_nobody_has(world) -> None:
    first, second = world.replica("a"), world.replica("b")
    assert await tries(first)
    assert first.held
    assert not await tries(second)
    assert not second.held


async def test_a_replica_that_does_not_hold_it_may_not_write(world) -> None:
    with pytest.raises(errors.FencedError):
        world.replica("a").check()


@pytest.mark.parametrize(("age", "may"), [(7.4, True), (7.5, False), (14, False)])
async def test_writes_stop_half_a_duration_after_the_last_renewal(world, age, may) -> None:
    lease = world.replica("a")
    await tries(lease)
    world.now += age
    assert lease.held == may


async def test_a_renewal_counts_from_before_it_was_sent(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    store = world.kube._store

    def slow(body):
        world.now += 5
        return store(body)

    world.kube._store = slow
    await lease.renew()
    world.now += 2.6
    assert not lease.held, "7.6 s since the request was sent"


async def test_another_replica_takes_over_only_after_a_whole_duration_without_a_change(world) -> None:
    first, second = world.replica("a"), world.replica("b")
    await tries(first)
    assert not await tries(second)
    world.now += 14.9
    assert not await tries(second)
    world.now += 0.2
    assert await tries(second)
    assert not first.held, "the first stopped writing long before"
    assert world.kube.lease["spec"]["leaseTransitions"] == 2


async def test_renewals_keep_the_others_out(world) -> None:
    first, second = world.replica("a"), world.replica("b")
    await tries(first)
    for _ in range(20):
        assert not await tries(second)
        world.now += 2
        await first.renew()
    assert first.held


async def test_a_frozen_leader_that_wakes_is_fenced_and_ends(world) -> None:
    first, second = world.replica("a"), world.replica("b")
    await tries(first)
    await tries(second)
    world.now += 16
    assert await tries(second)
    with pytest.raises(errors.FencedError):
        first.check()
    with pytest.raises(errors.LeaseLostError, match="'b'"):
        await first.renew()
    second.check()


async def test_an_api_server_that_is_away_for_a_moment_costs_nothing(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    world.kube.broken = True
    world.now += 4
    await lease.renew()
    assert lease.held
    world.kube.broken = False
    await lease.renew()
    world.now += 7
    assert lease.held


async def test_a_leader_that_cannot_renew_ends_before_another_one_starts(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    world.kube.broken = True
    world.now += 10
    with pytest.raises(errors.LeaseLostError):
        await lease.renew()


async def test_somebody_elses_touch_of_the_record_is_survived(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    world.kube._store(world.kube.lease)
    world.now += 2
    await lease.renew()
    await lease.renew()
    assert lease.held


async def test_a_released_lease_is_free_at_once(world) -> None:
    first, second = world.replica("a"), world.replica("b")
    await tries(first)
    await first.release()
    assert not first.held
    assert await tries(second)


async def test_no_answer_means_not_taken(world) -> None:
    lease = world.replica("a")
    world.kube.broken = True
    assert not await tries(lease)


FAULTS = [
    errors.NotFoundError(404, "not found"),
    errors.ConflictError(409, "conflict"),
    errors.ForbiddenError(403, "forbidden"),
    errors.InvalidError(422, "invalid"),
    errors.UnavailableError(429, "too many"),
    errors.UnavailableError(500, "boom"),
    errors.UnavailableError(0, "no answer"),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.status))
@pytest.mark.parametrize("place", [1, 2])
async def test_one_fault_at_either_request_of_a_renewal_costs_nothing(world, fault, place) -> None:
    """The second request is the look at a Lease that somebody else has touched."""
    lease = world.replica("a")
    await tries(lease)
    if place == 2:
        world.kube._store(world.kube.lease)
        replace, world.kube.replace_lease = world.kube.replace_lease, conflict_then(world.kube, fault)
    else:
        world.kube.faults = [fault]
    world.now += 2
    await lease.renew()
    if place == 2:
        world.kube.replace_lease = replace
    for _ in range(2):
        world.now += 2
        await lease.renew()
    assert lease.held
    assert world.kube.lease["spec"]["holderIdentity"] == "a"
    assert world.kube.lease["spec"]["leaseTransitions"] == 1


def conflict_then(kube: FakeKube, fault: errors.ApiError) -> Any:
    async def replace(*_: Any) -> dict[str, Any]:
        kube.faults = [fault]
        raise errors.ConflictError(409, "changed")

    return replace


async def test_faults_at_every_look_end_it_before_another_one_starts(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    world.kube.replace_lease = conflict_then(world.kube, errors.UnavailableError(500, "boom"))
    for _ in range(4):
        world.now += 2
        await lease.renew()
    world.now += 2
    with pytest.raises(errors.LeaseLostError, match="boom"):
        await lease.renew()


async def test_a_lease_that_somebody_deleted_is_made_anew(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    world.kube.lease = None
    for _ in range(2):
        world.now += 2
        await lease.renew()
    assert lease.held
    assert world.kube.lease["spec"]["holderIdentity"] == "a"


async def test_a_lease_that_was_taken_without_an_answer_is_not_waited_for(world) -> None:
    lease = world.replica("a")
    world.kube.lost = 1
    assert not await tries(lease)
    assert await tries(lease)
    assert lease.held


async def test_a_renewal_that_took_long_and_succeeded_is_a_renewal(world) -> None:
    lease = world.replica("a")
    await tries(lease)
    store = world.kube._store

    def slow(body):
        world.now += 11
        return store(body)

    world.kube._store = slow
    await lease.renew()
    world.kube._store = store
    await lease.renew()
    assert lease.held
