"""Checks whether watches have missed something, and looks for KubeRay.

A stream can die silently: its connection stays open but carries nothing any more. So every stream that has been quiet
for a while is checked: has anything happened since the last revision that it delivered? The check costs one request,
usually with an empty answer. If a stream has missed something, it is replaced, with one list.

After a 410 kopf lists again without reporting deletions. So everything is listed now and then, and compared with the
cache. If the API server does not answer, the watchdog waits: a restart of this process would not help.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass

from trainyard_operator import errors
from trainyard_operator.cache import Cache, Form, Kind, version_of
from trainyard_operator.clients.kube import KubeClient
from trainyard_operator.model import Key
from trainyard_operator.settings import Timing
from trainyard_operator.watch import RESOURCES, SELECTORS, Watches

logger = logging.getLogger(__name__)
GRACE = 2.0
"""Seconds that a working stream may deliver an event after the check has found it."""
RESTART_PAUSE = 1.0
"""Seconds before ended watches start again, so that watches which cannot start do not loop without a pause."""
DEATHS, DEATHS_WITHIN = 5, 600.0
"""Liveness fails when watches had to be replaced this often within that many seconds."""
GONE = 410

Place = tuple[Kind, str | None]
"""What one stream watches: a kind, in one namespace or (None) in all namespaces."""


@dataclass
class Stream:
    """The newest revision from a stream or a list, and when the stream was last known to have missed nothing."""

    version: int
    confirmed: float


class Watchdog:
    def __init__(
        self,
        kube: KubeClient,
        cache: Cache,
        watches: Watches,
        namespaces: Collection[str],
        timing: Timing,
        enqueue: Callable[[Key], None],
        repaired: Callable[[int], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._watches = watches
        self._namespaces: list[str | None] = list(namespaces) or [None]
        self._timing = timing
        self._enqueue = enqueue
        self._repaired = repaired
        self._monotonic = monotonic
        self._streams: dict[Place, Stream] = {}
        self._deaths: deque[float] = deque(maxlen=DEATHS)
        self._woken = asyncio.Event()
        self._doubtful = False
        self._unlisted = True
        self.served: frozenset[Kind] = frozenset()

    @property
    def warm(self) -> bool:
        """Whether everything that is served has been listed once."""
        return Kind.RUN in self.served and self.served <= {kind for kind, _ in self._streams}

    @property
    def kuberay(self) -> bool:
        return Kind.CLUSTER in self.served

    def heard(self, kind: Kind, form: Form) -> None:
        """A watch of that kind has delivered an object."""
        place = (kind, None if self._namespaces == [None] else form["metadata"]["namespace"])
        if stream := self._streams.get(place):
            stream.version = max(stream.version, version_of(form))
            stream.confirmed = self._monotonic()

    def ages(self) -> dict[str, float]:
        """Seconds since the stream of a kind was last known to be complete; the longest time if there are several."""
        now, ages = self._monotonic(), dict[str, float]()
        for (kind, _), stream in self._streams.items():
            ages[str(kind)] = max(ages.get(str(kind), 0), now - stream.confirmed)
        return ages

    def wrong(self) -> str | None:
        """For liveness: a problem that a restart of this process may solve, None if there is none."""
        if len(self._deaths) == DEATHS and self._monotonic() - self._deaths[0] < DEATHS_WITHIN:
            return f"the watches have died {DEATHS} times within {DEATHS_WITHIN:.0f} s"
        return None

    def watches_ended(self) -> None:
        """Called when kopf has ended by itself."""
        self._deaths.append(self._monotonic())
        self._woken.set()

    async def probe(self) -> None:
        """Find out which resources are served, and watch them. Raises errors.ApiError."""
        found = {Kind.POD}
        for kind in (Kind.RUN, Kind.CLUSTER):
            if await self._kube.serves(RESOURCES[kind]):
                found.add(kind)
        self._doubtful = False
        if found != self.served or not self._watches.alive:
            await self._watch(found)
        if self._unlisted:
            await self.relist()
            for key in self._cache.known():
                self._enqueue(key)

    async def relist(self) -> None:
        """Make the cache equal to what the API server has. Raises errors.ApiError."""
        for kind in sorted(self.served):
            for namespace in self._namespaces:
                await self._relist(kind, namespace)
        self._unlisted = False

    async def check(self) -> None:
        """Replace the watches if a quiet one has missed something. Raises errors.ApiError."""
        now = self._monotonic()
        for (kind, namespace), stream in list(self._streams.items()):
            if now - stream.confirmed < self._timing.watch_check / 2:
                continue
            if await self._has_missed(kind, namespace, stream):
                logger.warning("the watch of %s has missed something; starting new watches", RESOURCES[kind].plural)
                self._deaths.append(self._monotonic())
                await self._watch(self.served)
                await self.relist()
                return
            stream.confirmed = max(stream.confirmed, now)

    async def run(self) -> None:
        """Probe, check and list for ever; if the API server does not answer, wait until it does."""
        listed = self._monotonic()
        while True:
            await self._pause()
            try:
                if self._doubtful or self.served != frozenset(Kind) or not self._watches.alive:
                    await self.probe()
                await self.check()
                if self._unlisted or self._monotonic() - listed >= self._timing.relist:
                    await self.relist()
                    listed = self._monotonic()
            except errors.NotFoundError as error:
                logger.warning("a resource may have gone: %s", error)
                self._doubtful = True
            except errors.ApiError as error:
                logger.warning("the API server could not be asked: %s", error)

    async def _pause(self) -> None:
        interval = min(self._timing.relist, self._timing.watch_check)
        if self.served != frozenset(Kind):
            interval = min(interval, self._timing.kuberay_probe)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), RESTART_PAUSE if self._doubtful else interval)
            await asyncio.sleep(RESTART_PAUSE)
        self._woken.clear()

    async def _watch(self, kinds: Collection[Kind]) -> None:
        """Watch these kinds, with new streams; a list has to follow."""
        for kind in (Kind.RUN, Kind.CLUSTER):
            if kind not in kinds:
                logger.warning("%s is not served by the API server; looking again soon", RESOURCES[kind].plural)
        await self._watches.stop()
        self.served = frozenset(kinds)
        self._streams = {place: stream for place, stream in self._streams.items() if place[0] in kinds}
        self._watches.start(self.served)
        self._unlisted = True

    async def _relist(self, kind: Kind, namespace: str | None) -> set[Key]:
        """Returns the runs for which the cache had missed something."""
        forms, version = await self._kube.list(RESOURCES[kind], namespace, SELECTORS[kind])
        changed = self._cache.repair(kind, forms, version, namespace)
        stream = self._streams.setdefault((kind, namespace), Stream(0, self._monotonic()))
        stream.version = max(stream.version, int(version))
        self._repaired(len(changed))
        for key in changed:
            self._enqueue(key)
        return changed

    async def _has_missed(self, kind: Kind, namespace: str | None, stream: Stream) -> bool:
        version = stream.version
        try:
            if not await self._kube.changed(RESOURCES[kind], namespace, SELECTORS[kind], str(version)):
                return False
        except errors.UnavailableError as error:
            if error.status != GONE:
                raise
            return bool(await self._relist(kind, namespace))
        await asyncio.sleep(GRACE)
        return stream.version == version
