import asyncio

import pytest

from trainyard_operator.workqueue import WorkQueue


async def taken(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), 1)


async def test_a_key_waits_once_however_often_it_is_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(3):
        queue.add("a")
    assert len(queue) == 1
    assert await taken(queue) == "a"
    assert len(queue) == 0


async def test_keys_come_in_the_order_of_their_first_appearance() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abcab":
        queue.add(key)
    assert [await taken(queue) for _ in range(3)] == ["a", "b", "c"]


async def test_what_happens_during_work_makes_the_key_due_again_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.add("a")
    assert len(queue) == 0, "never with two workers"
    queue.done("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_waiting_worker_is_woken() -> None:
    queue: WorkQueue[str] = WorkQueue()
    waiting = asyncio.create_task(taken(queue))
    await asyncio.sleep(0)
    queue.add("a")
    assert await waiting == "a"


async def test_the_sooner_timer_wins() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    assert await taken(queue) == "a"
    queue.done("a")
    await asyncio.sleep(0.03)
    assert len(queue) == 0, "one timer, not three"


async def test_a_forgotten_timer_does_not_fire() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    queue.forget("a")
    queue.forget("never added")
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_many_keys_and_workers_lose_nothing() -> None:
    queue: WorkQueue[int] = WorkQueue()
    seen: dict[int, int] = {}
    busy: set[int] = set()

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in busy
            busy.add(key)
            await asyncio.sleep(0)
            seen[key] = seen.get(key, 0) + 1
            busy.discard(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(8)]
    for n in range(500):
        queue.add(n % 100)
        if n % 7 == 0:
            await asyncio.sleep(0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(queue) == 0
    assert set(seen) == set(range(100))
    for worker in workers:
        worker.cancel()


@pytest.mark.parametrize("stdlib", ["operator", "queue"])
def test_no_module_of_ours_hides_the_standard_librarys(stdlib) -> None:
    module = __import__(stdlib)
    assert "trainyard" not in module.__file__
    assert "site-packages" not in module.__file__
    assert __import__("collections").namedtuple("P", "x")(1).x == 1
