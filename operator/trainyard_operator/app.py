"""How the parts are connected, and the order of their start: watches and caches at once, work only with the Lease."""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web as aioweb
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from trainyard_operator import errors, web
from trainyard_operator.act import Actor
from trainyard_operator.cache import Cache, Kind, run_key
from trainyard_operator.clients.dashboard import Dashboards
from trainyard_operator.clients.kube import KubeClient
from trainyard_operator.lease import Lease
from trainyard_operator.metrics import Instruments, RunCollector
from trainyard_operator.model import Key
from trainyard_operator.observe import Observer
from trainyard_operator.reconcile import Asked, Reconciler
from trainyard_operator.settings import Settings
from trainyard_operator.shares import Shares
from trainyard_operator.watch import Watches
from trainyard_operator.watchdog import Watchdog
from trainyard_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)
MAX_BACKOFF = 30.0
LIST_PAUSE = 1.0
READINGS = 128
"""Most passes that may wait for a dashboard at the same time: fewer than the pool has connections."""
READINGS_EACH = 16
"""Most of these passes for the heads of one namespace that answer, and as many for its heads that do not answer: a
silent head keeps a place for seconds."""


class Application:
    """One replica. `run` returns after a signal or `stop`, and raises when it cannot continue."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.cache = Cache()
        self.queue: WorkQueue[Key] = WorkQueue()
        self.registry = CollectorRegistry()
        self.instruments = Instruments(self.registry)
        self.identity = f"{settings.identity}_{secrets.token_hex(4)}"
        self._stop = asyncio.Event()
        self._failures: dict[Key, int] = {}
        self._shares: Shares[Asked] = Shares(READINGS, READINGS_EACH)
        self._lease: Lease | None = None
        self._watchdog: Watchdog | None = None
        self._reconciler: Reconciler | None = None

    def stop(self) -> None:
        self._stop.set()

    async def run(self) -> None:
        timing = self.settings.timing
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        kube = await KubeClient.connect(seconds=timing.request_timeout, observer=self.instruments.observe_request)
        self._lease = Lease(kube, self.settings.lease, self.settings.namespace, self.identity)
        kube.fence = self._lease.check
        watches = Watches(
            self.settings.namespaces,
            self._deliver_from(loop),
            timing.request_timeout,
            self._ended_from(loop),
        )
        self._watchdog = Watchdog(
            kube,
            self.cache,
            watches,
            self.settings.namespaces,
            timing,
            self.queue.add,
            self.instruments.repairs.inc,
        )
        dashboards = Dashboards(
            kube, self.settings.dashboard_access, self.settings.dashboard_url, timing.dashboard_timeout
        )
        server = await self._serve()
        try:
            self._reconciler = self._wire(kube, dashboards, self._watchdog)
            await self._until_stopped(self._lead(self._watchdog, self._lease))
        finally:
            await self._lease.release()
            await watches.stop()
            await server.cleanup()
            await dashboards.close()
            await kube.close()

    def _wire(self, kube: KubeClient, dashboards: Dashboards, watchdog: Watchdog) -> Reconciler:
        observer = Observer(
            self.cache, kube, dashboards, self.settings, time.monotonic, kuberay=lambda: watchdog.kuberay
        )
        actor = Actor(kube, dashboards, self.cache)
        reconciler = Reconciler(kube, self.cache, observer, actor, self.settings)
        self.registry.register(
            RunCollector(
                self.cache,
                reconciler.memory,
                lambda: self._lease is not None and self._lease.held,
                lambda: len(self.queue),
                watchdog.ages,
            )
        )
        return reconciler

    async def _lead(self, watchdog: Watchdog, lease: Lease) -> None:
        """Warm the cache, wait for the Lease, look at everything again, work. Raises when any part ends."""
        await self._warm(watchdog)
        logger.info("the cache is warm: %d runs", self.cache.count(Kind.RUN))
        parts = [asyncio.create_task(watchdog.run(), name="watchdog")]
        try:
            await lease.acquire()
            logger.info("this replica leads: %s", self.identity)
            self.instruments.leader.set(1)
            parts.append(asyncio.create_task(lease.keep(), name="lease"))
            parts.append(asyncio.create_task(self._take_over(watchdog), name="work"))
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            self.instruments.leader.set(0)
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)

    async def _warm(self, watchdog: Watchdog) -> None:
        while True:
            try:
                await watchdog.probe()
            except errors.ApiError as error:
                logger.warning("waiting for the API server: %s", error)
            if watchdog.warm:
                return
            await asyncio.sleep(1.0 if not watchdog.served else self.settings.timing.kuberay_probe)

    async def _take_over(self, watchdog: Watchdog) -> None:
        """List everything again, then work. While the API server cannot be listed, it is asked again."""
        while True:
            try:
                await watchdog.relist()
                break
            except errors.ApiError as error:
                logger.warning("the API server cannot be listed yet: %s", error)
                await asyncio.sleep(LIST_PAUSE)
        for key in self.cache.known():
            self.queue.add(key)
        async with asyncio.TaskGroup() as group:
            for number in range(self.settings.workers):
                group.create_task(self._work(group), name=f"worker-{number}")

    async def _work(self, group: asyncio.TaskGroup) -> None:
        """One worker. It does not wait for dashboards: a pass that may ask a dashboard runs beside it, within the
        share of its namespace."""
        assert self._reconciler is not None
        while True:
            key = await self.queue.get()
            asked = self._reconciler.may_ask(key)
            if asked is None:
                await self._pass(key)
            else:
                group.create_task(self._pass_in_turn(key, asked), name=f"reading {key}")

    async def _pass_in_turn(self, key: Key, asked: Asked) -> None:
        async with self._shares.turn(asked):
            await self._pass(key)

    async def _pass(self, key: Key) -> None:
        """An error with one run is logged and tried again later. It never stops another run."""
        try:
            wait = await self._reconcile(key)
        finally:
            self.queue.done(key)
        if wait is None:
            self.queue.forget(key)
        elif wait <= 0:
            self.queue.add(key)
        else:
            self.queue.add_after(key, wait)

    async def _reconcile(self, key: Key) -> float | None:
        assert self._reconciler is not None
        started = time.monotonic()
        outcome = "success"
        try:
            wait = await self._reconciler.reconcile(key)
            self._failures.pop(key, None)
            return wait
        except (errors.ApiError, errors.FencedError) as error:
            outcome = "retry"
            logger.warning("to be repeated: %s", error, extra={"run": str(key)})
        except Exception:
            # The last line of defence: a defect, or an unforeseen status, affects only its own run.
            outcome = "error"
            logger.exception("a pass failed", extra={"run": str(key)})
        finally:
            self.instruments.reconciles.labels(outcome).observe(time.monotonic() - started)
        self._failures[key] = self._failures.get(key, 0) + 1
        return min(0.5 * 2.0 ** (self._failures[key] - 1), MAX_BACKOFF)

    def _deliver_from(self, loop: asyncio.AbstractEventLoop) -> Any:
        """kopf's thread calls this with every event."""

        def deliver(kind: Kind, event: str | None, form: Mapping[str, Any]) -> None:
            loop.call_soon_threadsafe(self._take_in, kind, event, form)

        return deliver

    def _ended_from(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """kopf's thread calls this when it ends by itself."""

        def ended() -> None:
            assert self._watchdog is not None
            loop.call_soon_threadsafe(self._watchdog.watches_ended)

        return ended

    def _take_in(self, kind: Kind, event: str | None, form: Mapping[str, Any]) -> None:
        self.instruments.events.labels(kind).inc()
        if self._watchdog:
            self._watchdog.heard(kind, form)
        if run_key(kind, form) is None:
            return
        key = self.cache.remove(kind, form) if event == "DELETED" else self.cache.apply(kind, form)
        if key is not None:
            self.queue.add(key)

    async def _serve(self) -> aioweb.AppRunner:
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        app = web.application(self.registry, self._not_alive, self._not_ready)
        return await web.serve(app, self.settings.http_host, self.settings.http_port)

    def _not_alive(self) -> str | None:
        return self._watchdog.wrong() if self._watchdog else None

    def _not_ready(self) -> str | None:
        return None if self._watchdog and self._watchdog.warm else "the cache is not warm yet"

    async def _until_stopped(self, work: Any) -> None:
        """Run until the work ends (and raise its error, if any) or somebody asks to stop."""
        task = asyncio.create_task(work, name="lead")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if task.done():
            task.result()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
