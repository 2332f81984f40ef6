"""Watches with kopf: its `on.event` handlers feed the cache and the queue, and do nothing else.

kopf runs in a thread with its own event loop, because its shutdown cancels every other task of its loop, and this
process continues after it: kopf is started again when KubeRay appears. kopf's storages are null, so that it writes no
annotations. This is safe only because no handler here keeps state in kopf (a test checks this).
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

import kopf

from trainyard_operator import names
from trainyard_operator.cache import Kind
from trainyard_operator.clients.credentials import connection
from trainyard_operator.clients.kube import CLUSTERS, PODS, RUNS, Resource

logger = logging.getLogger(__name__)

RESOURCES: Mapping[Kind, Resource] = {Kind.RUN: RUNS, Kind.CLUSTER: CLUSTERS, Kind.POD: PODS}
SELECTORS: Mapping[Kind, str | None] = {
    Kind.RUN: None,
    Kind.CLUSTER: names.LABEL_RUN,
    Kind.POD: f"{names.LABEL_RUN},ray.io/cluster",
}
"""Server-side label selectors: only objects of runs are watched and cached."""

Deliver = Callable[[Kind, str | None, Mapping[str, Any]], None]
"""Called with the kind, the event's type (None for the initial list) and the object, in kopf's thread."""


class NullDiffBaseStorage(kopf.DiffBaseStorage):
    """Stores nothing; this also saves copying every object."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence({})

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None


class NullProgressStorage(kopf.ProgressStorage):
    """Remembers nothing."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        return None

    def purge(self, **_: Any) -> None:
        return None

    def touch(self, **_: Any) -> None:
        return None

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class Watches:
    """Runs kopf. Call `start` and `stop` from the main thread; kopf's thread calls `ended` when it ends by itself."""

    def __init__(
        self, namespaces: Collection[str], deliver: Deliver, request_timeout: float, ended: Callable[[], None]
    ) -> None:
        self._namespaces = namespaces
        self._deliver = deliver
        self._timeout = request_timeout
        self._ended = ended
        self._stop: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self.kinds: frozenset[Kind] = frozenset()

    @property
    def alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, kinds: Collection[Kind]) -> None:
        self.kinds = frozenset(kinds)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._stop,), name="kopf", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        if self._stop is None or self._thread is None:
            return
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 15)

    def _run(self, stop: threading.Event) -> None:
        """Ends after `stop`, or with the first failure of kopf, which is reported to the watchdog."""
        try:
            asyncio.run(
                kopf.operator(
                    registry=build_registry(self.kinds, self._deliver),
                    settings=build_settings(self._timeout),
                    clusterwide=not self._namespaces,
                    namespaces=list(self._namespaces),
                    standalone=True,
                    stop_flag=stop,
                )
            )
        except Exception:
            logger.exception("watching has ended")
        if not stop.is_set():
            self._ended()


def build_registry(kinds: Collection[Kind], deliver: Deliver) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()
    kopf.on.login(registry=registry)(login)
    for kind in kinds:
        resource = RESOURCES[kind]
        kopf.on.event(
            resource.group, resource.version, resource.plural, registry=registry, id=f"watch-{resource.plural}"
        )(_handler(kind, deliver))
    return registry


def build_settings(request_timeout: float) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.persistence.diffbase_storage = NullDiffBaseStorage()
    settings.persistence.progress_storage = NullProgressStorage()
    settings.networking.request_timeout = request_timeout
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.chunk_size = 500
    settings.process.ultimate_exiting_timeout = None
    for kind, selector in SELECTORS.items():
        if selector:
            resource = RESOURCES[kind]
            settings.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    return settings


def login(**_: Any) -> kopf.ConnectionInfo:
    """The same credentials as the client's, read again when kopf asks for them after a 401."""
    return connection()


def _handler(kind: Kind, deliver: Deliver) -> Callable[..., Any]:
    async def handle(event: Mapping[str, Any], **_: Any) -> None:
        deliver(kind, event["type"], event["object"])

    return handle
