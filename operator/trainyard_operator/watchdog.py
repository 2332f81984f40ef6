"""What watches cannot be trusted with, and looking for KubeRay.

A stream can die without anybody noticing: a connection that nobody closes and that carries nothing any more. So every
stream that has been quiet for a while is checked: has anything happened since the last revision that it told of? That
costs one request that is answered with nothing, and a stream that has missed something is replaced, with one list.

After a 410 kopf lists again without telling of deletions. So everything is listed now and then, and held against the
cache. An API server that does not answer is waited out: restarting this process would mend nothing.
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
"""Seconds that a living stream may be later with an event than the check that asks for it."""
RESTART_PAUSE = 1.0
"""Seconds before watches that have ended start again, so that what cannot start does not spin."""
DEATHS, DEATHS_WITHIN = 5, 600.0
"""Liveness fails when watches had to be replaced this often within that many seconds."""
GONE = 410

Place = tuple[Kind, str | None]
"""What one stream is about: a kind, in one namespace or (None) in all."""


@dataclass
class Stream:
    """The newest revision that a stream, or a list, has told of, and when the stream was last known to miss nothing."""

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
        """A watch of that kind has told of an object."""
        place = (kind, None if self._namespaces == [None] else form["metadata"]["namespace"])
        if stream := self._streams.get(place):
            stream.version = max(stream.version, version_of(form))
            stream.confirmed = self._monotonic()

    def ages(self) -> dict[str, float]:
        """Seconds since the stream of a kind was last known to have missed nothing; of several the longest."""
        now, ages = self._monotonic(), dict[str, float]()
        for (kind, _), stream in self._streams.items():
            ages[str(kind)] = max(ages.get(str(kind), 0), now - stream.confirmed)
        return ages

    def wrong(self) -> str | None:
        """For liveness: what a restart of this process may mend, None when all is well."""
        if len(self._deaths) == DEATHS and self._monotonic() - self._deaths[0] < DEATHS_WITHIN:
            return f"the watches have died {DEATHS} times within {DEATHS_WITHIN:.0f} s"
        return None

    def watches_ended(self) -> None:
        """Kopf has ended by itself."""
        self._deaths.append(self._monotonic())
        self._woken.set()

    async def probe(self) -> None:
        """Look which resources are served, and watch those. Raises errors.ApiError."""
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
        """Replace the watches when one that is quiet has missed something. Raises errors.ApiError."""
        now = self._monotonic()
        for (kind, namespace), stream in list(self._streams.items()):
            if now - stream.confirmed < self._timing.watch_check / 2:
                continue
            if await self._has_missed(kind, namespace, stream):
                logger.warning("the watch of %s has missed something; watching anew", RESOURCES[kind].plural)
                self._deaths.append(self._monotonic())
                await self._watch(self.served)
                await self.relist()
                return
            stream.confirmed = max(stream.confirmed, now)

    async def run(self) -> None:
        """Probe, check and list for ever; the API server's absence is waited out."""
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
        """The runs for which the cache had missed something."""
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
