"""A semaphore with a limited share for each group. For one event loop."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

G = TypeVar("G", bound=Hashable)


class Shares(Generic[G]):
    """At most `total` at a time, and at most `each` of a group. Groups take turns; a group's members go in order."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._active: Counter[G] = Counter()
        self._waiting: OrderedDict[G, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def turn(self, group: G) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block ends."""
        ready = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(group, deque()).append(ready)
        self._admit()
        try:
            await ready
        except asyncio.CancelledError:
            if not ready.cancelled():
                self._end(group)  # the turn came at the same moment
            raise
        try:
            yield
        finally:
            self._end(group)

    def _end(self, group: G) -> None:
        self._active[group] -= 1
        if not self._active[group]:
            del self._active[group]
        self._admit()

    def _admit(self) -> None:
        while self._active.total() < self._total:
            group = next((g for g in self._waiting if self._active[g] < self._each), None)
            if group is None:
                return
            ready = self._waiting[group].popleft()
            self._waiting.move_to_end(group)
            if not self._waiting[group]:
                del self._waiting[group]
            if not ready.cancelled():  # by a waiter that gave up
                self._active[group] += 1
                ready.set_result(None)
