"""Whose turn it is, where many groups want the same."""

import asyncio

import pytest

from trainyard_operator.shares import Shares


class Crowd:
    """Tasks that want a turn and end when they are told to."""

    def __init__(self, total: int, each: int) -> None:
        self.shares: Shares[str] = Shares(total, each)
        self.inside: list[str] = []
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Event] = {}

    async def want(self, *names: str) -> None:
        """`name` is the group's letter and a number."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._one(name))
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)

    async def _one(self, name: str) -> None:
        async with self.shares.turn(name[0]):
            self.inside.append(name)
            self.order.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.inside.remove(name)


async def test_one_group_never_has_more_than_its_share() -> None:
    crowd = Crowd(total=4, each=2)
    await crowd.want("a1", "a2", "a3", "a4", "b1")
    assert crowd.inside == ["a1", "a2", "b1"]
    await crowd.end("a1")
    assert crowd.inside == ["a2", "b1", "a3"]


async def test_all_together_never_have_more_than_the_total_and_groups_take_turns() -> None:
    crowd = Crowd(total=2, each=2)
    await crowd.want("a1", "a2", "a3", "a4", "b1", "b2", "c1")
    for name in ("a1", "a2", "a3", "b1", "c1"):
        assert len(crowd.inside) == 2
        await crowd.end(name)
    assert crowd.order == ["a1", "a2", "a3", "b1", "c1", "a4", "b2"]


async def test_who_gives_up_while_waiting_or_inside_leaves_the_place_to_others() -> None:
    crowd = Crowd(total=1, each=1)
    await crowd.want("a1", "a2", "b1")
    crowd.tasks["a2"].cancel()
    await asyncio.sleep(0)
    crowd.tasks["a1"].cancel()
    with pytest.raises(asyncio.CancelledError):
        await crowd.tasks["a1"]
    await asyncio.sleep(0)
    assert crowd.inside == ["b1"]
    await crowd.end("b1")
    await crowd.want("a3")
    assert crowd.inside == ["a3"]


async def test_a_turn_that_comes_in_the_moment_of_giving_up_is_not_lost() -> None:
    crowd = Crowd(total=1, each=1)
    await crowd.want("a1", "a2")
    crowd._ends["a1"].set()
    await asyncio.sleep(0)  # a1 goes and a2 is admitted, but has not run yet
    crowd.tasks["a2"].cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await crowd.want("b1")
    assert crowd.inside == ["b1"]
