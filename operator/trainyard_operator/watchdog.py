"""What watches cannot be trusted with: a regular list of everything, held against the cache, and looking for KubeRay.

After a 410 kopf lists again without telling of deletions, and a watch task can end without anybody noticing. The list
repairs the cache, and liveness fails when lists fail for long or kopf's thread is gone.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from trainyard_operator import errors
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.clients.kube import KubeClient
from trainyard_operator.model import Key
from trainyard_operator.settings import Timing
from trainyard_operator.watch import RESOURCES, SELECTORS, Watches

logger = logging.getLogger(__name__)
STALE_LISTS = 3
"""Liveness fails after this many list intervals without a complete list."""


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
        self._namespaces = namespaces
        self._timing = timing
        self._enqueue = enqueue
        self._repaired = repaired
        self._monotonic = monotonic
        self._confirmed: dict[Kind, float] = {}
        self.served: frozenset[Kind] = frozenset()

    @property
    def warm(self) -> bool:
        """Whether everything that is served has been listed once."""
        return Kind.RUN in self.served and self.served <= self._confirmed.keys()

    @property
    def kuberay(self) -> bool:
        return Kind.CLUSTER in self.served

    def confirm(self, kind: Kind) -> None:
        """A watch of that kind has said something."""
        self._confirmed[kind] = self._monotonic()

    def ages(self) -> dict[str, float]:
        """Seconds since the cache was last confirmed, by kind."""
        return {str(kind): self._monotonic() - when for kind, when in self._confirmed.items()}

    def wrong(self) -> str | None:
        """For liveness: what is broken for good, None when all is well."""
        if self.served and not self._watches.alive:
            return "the watches have ended"
        limit = STALE_LISTS * self._timing.relist
        stale = [kind for kind in self.served if self.ages().get(kind, 0) > limit]
        return f"no word about {', '.join(sorted(stale))} for {limit:.0f} s" if stale else None

    async def probe(self) -> None:
        """Look which resources are served, and watch those. Raises errors.ApiError."""
        found = {Kind.POD}
        for kind in (Kind.RUN, Kind.CLUSTER):
            if await self._kube.serves(RESOURCES[kind]):
                found.add(kind)
        if found == self.served and self._watches.alive:
            return
        for kind in (Kind.RUN, Kind.CLUSTER):
            if kind not in found:
                logger.warning("%s is not served by the API server; looking again soon", RESOURCES[kind].plural)
        await self._watches.stop()
        self.served = frozenset(found)
        self._confirmed = {kind: when for kind, when in self._confirmed.items() if kind in found}
        self._watches.start(self.served)
        await self.relist()
        for key in self._cache.known():
            self._enqueue(key)

    async def relist(self) -> None:
        """Make the cache equal to what the API server has. Raises errors.ApiError."""
        namespaces: list[str | None] = list(self._namespaces) or [None]
        for kind in sorted(self.served):
            changed: set[Key] = set()
            for namespace in namespaces:
                forms, version = await self._kube.list(RESOURCES[kind], namespace, SELECTORS[kind])
                changed |= self._cache.repair(kind, forms, version, namespace)
            self.confirm(kind)
            self._repaired(len(changed))
            for key in changed:
                self._enqueue(key)

    async def run(self) -> None:
        """Probe and list for ever; the API server's absence is waited out."""
        listed = self._monotonic()
        while True:
            complete = self.served == frozenset(Kind)
            await asyncio.sleep(min(self._timing.relist, self._timing.kuberay_probe))
            try:
                if not complete or not self._watches.alive:
                    await self.probe()
                if self._monotonic() - listed >= self._timing.relist:
                    await self.relist()
                    listed = self._monotonic()
            except errors.NotFoundError:
                self.served = frozenset()  # a resource has gone: the next probe finds out which
            except errors.ApiError as error:
                logger.warning("the API server could not be listed: %s", error)
