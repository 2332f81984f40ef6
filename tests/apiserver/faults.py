"""A proxy between an operator and everything it talks to, which does to one chosen call what networks and servers do.

The API server is at `/`, all dashboards are below `/ray`. The calls of a run (those in its namespace) belong to the
`Script` of that run, all others to the script of the whole proxy. A script counts its calls by stage and kind, so that
a call of one recorded life can be found again in the next.
"""

import asyncio
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import yaml
from aiohttp import web
from kubernetes import client, config

SLOW_SECONDS = 3.0
HELD_SECONDS = 6.0
HOP_BY_HOP = {"connection", "host", "authorization", "content-length", "transfer-encoding", "keep-alive"}
REASONS = {404: "NotFound", 409: "Conflict", 422: "Invalid", 429: "TooManyRequests", 500: "InternalError"}


class Call(NamedTuple):
    """One call of a life: its stage, what it is, and its number among the equal calls of that stage."""

    stage: str
    what: str
    nth: int

    def __str__(self) -> str:
        return f"{self.stage}: {self.what}" + (f" ({self.nth})" if self.nth > 1 else "")


@dataclass(frozen=True)
class Fault:
    """`status` None: no answer. `done`: the call has its effect first. `seconds`: for how long calls of that kind."""

    name: str
    status: int | None = None
    done: bool = False
    seconds: float = 0
    silent: bool = False
    slow: bool = False
    kill: bool = False


FAULTS = (
    *(Fault(str(status), status) for status in (404, 409, 422, 429, 500, 503)),
    Fault("time-out", silent=True),
    Fault("reset"),
    Fault("slow", slow=True),
    Fault("500, done", 500, done=True),
    Fault("time-out, done", done=True, silent=True),
    Fault("reset, done", done=True),
    Fault("404, held", 404, seconds=HELD_SECONDS),
    Fault("503, held", 503, seconds=HELD_SECONDS),
)
KILLS = (Fault("kill", kill=True), Fault("kill, done", done=True, kill=True))


@dataclass
class Script:
    """What one life has called, and what is to happen to one of its calls. `kill` ends the operator's process."""

    at: Call | None = None
    fault: Fault | None = None
    kill: Callable[[], None] = lambda: None
    stage: str = "starting"
    seen: list[Call] = field(default_factory=list)
    fired: float | None = None
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def take(self, what: str) -> Fault | None:
        """Count a call; what is to happen to it."""
        self._counts[self.stage, what] += 1
        call = Call(self.stage, what, self._counts[self.stage, what])
        self.seen.append(call)
        if self.at is None or self.fault is None or call.what != self.at.what:
            return None
        if call == self.at and self.fired is None:
            self.fired = time.monotonic()
            return self.fault
        held = self.fired is not None and time.monotonic() - self.fired < self.fault.seconds
        return self.fault if held else None


@dataclass(eq=False)
class Stream:
    """A watch that goes through the proxy. `dead`: nothing comes through any more, and nobody is told."""

    plural: str
    dead: bool = False


class FaultProxy:
    """Started with its making; a thread and an event loop of its own."""

    def __init__(self, kubeconfig: Path, ray_url: str) -> None:
        self.scripts: dict[str, Script] = {}
        self.script = Script()
        self._streams: set[Stream] = set()
        self._ray = ray_url
        self._upstream = client.Configuration()
        config.load_kube_config(str(kubeconfig), client_configuration=self._upstream)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port: int = self._call(self._serve())

    @property
    def url(self) -> str:
        """Of dashboards."""
        return f"http://127.0.0.1:{self.port}/ray/{{namespace}}/{{cluster}}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}
        user = {"name": "u", "user": {"token": "the proxy has the rights"}}
        context = {"name": "x", "context": {"cluster": "c", "user": "u"}}
        form = {"clusters": [cluster], "users": [user], "contexts": [context], "current-context": "x"}
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **form}))
        return path

    def deaden(self, plural: str) -> int:
        """Let the open watches of a kind die silently; how many."""
        chosen = [stream for stream in self._streams if stream.plural == plural]
        for stream in chosen:
            stream.dead = True
        return len(chosen)

    def close(self) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _serve(self) -> int:
        context = ssl.create_default_context(cafile=self._upstream.ssl_ca_cert)
        context.load_cert_chain(self._upstream.cert_file, self._upstream.key_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=context), auto_decompress=False
        )
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        return int(site._server.sockets[0].getsockname()[1])

    async def _end(self) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        namespace, what = name_of(request)
        fault = self.scripts.get(namespace, self.script).take(what)
        if request.query.get("watch") == "true" and "timeoutSeconds=1&" not in f"{request.query_string}&":
            return await (self._refuse(request, fault, namespace) if fault else self._stream(request, what))
        if fault is None:
            return await self._pass(request)
        if fault.done:
            await self._pass(request)
        if fault.slow:
            await asyncio.sleep(SLOW_SECONDS)
            return await self._pass(request)
        return await self._refuse(request, fault, namespace)

    async def _refuse(self, request: web.Request, fault: Fault, namespace: str) -> web.StreamResponse:
        if fault.kill:
            self.scripts.get(namespace, self.script).kill()
        if fault.silent:
            await asyncio.sleep(3600)
        if fault.status is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if request.path.startswith("/ray/"):
            return web.Response(status=fault.status, text="injected")
        reason = REASONS.get(fault.status, "ServiceUnavailable")
        form = {"kind": "Status", "status": "Failure", "reason": reason, "code": fault.status, "message": "injected"}
        return web.json_response(form, status=fault.status)

    def _upstream_of(self, request: web.Request) -> str:
        if request.path.startswith("/ray/"):
            _, _, namespace, cluster, rest = request.raw_path.split("/", 4)
            return f"{self._ray.format(namespace=namespace, cluster=cluster)}/{rest}"
        return f"{self._upstream.host}{request.raw_path}"

    def _headers(self, request: web.Request) -> dict[str, str]:
        dashboards = request.path.startswith("/ray/")
        return {
            key: value
            for key, value in request.headers.items()
            if key.lower() not in HOP_BY_HOP or (dashboards and key.lower() == "authorization")
        }

    async def _pass(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            async with self._session.request(
                request.method, self._upstream_of(request), headers=self._headers(request), data=body or None
            ) as answer:
                data = await answer.read()
                kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
                return web.Response(status=answer.status, body=data, headers=kept)
        except aiohttp.ClientError:
            assert request.transport is not None
            request.transport.abort()  # as the upstream did
            return web.Response()

    async def _stream(self, request: web.Request, what: str) -> web.StreamResponse:
        stream = Stream(what.split()[-1])
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.request(
            request.method, self._upstream_of(request), headers=self._headers(request), timeout=timeout
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            self._streams.add(stream)
            try:
                async for chunk in answer.content.iter_any():
                    if not stream.dead:
                        await response.write(chunk)
                if stream.dead:
                    await asyncio.sleep(3600)
            except ConnectionResetError:
                return response  # the operator has gone
            finally:
                self._streams.discard(stream)
            return response


VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


def name_of(request: web.Request) -> tuple[str, str]:
    """The namespace of a call ("" for none), and what it is, without the names of objects."""
    parts = request.path.strip("/").split("/")
    who = "kopf: " if request.headers.get("User-Agent", "").startswith("kopf") else ""
    if parts[0] == "ray":
        return parts[1], _of_ray(request)
    if "namespaces" in parts[:5] and len(parts) > parts.index("namespaces") + 2:
        at = parts.index("namespaces")
        namespace, plural, rest = parts[at + 1], parts[at + 2], parts[at + 3 :]
        sub = f"/{rest[1]}" if len(rest) > 1 else ""
        if request.method == "GET" and not rest:
            return namespace, f"{who}{_listing(request)} {plural}"
        return namespace, f"{who}{VERBS[request.method]} {plural}{sub}"
    if len(parts) in (3, 4) and parts[-1] in ("pods", "rayclusters", "trainingruns"):
        return "", f"{who}{_listing(request)} all {parts[-1]}"
    return "", f"{who}get /{request.path.strip('/')}"


def _listing(request: web.Request) -> str:
    if request.query.get("watch") != "true":
        return "list"
    return "watch" if request.query.get("timeoutSeconds") != "1" else "check"


def _of_ray(request: web.Request) -> str:
    if "logs/file" in request.path:
        return f"read {'log' if request.query['filename'].startswith('job-driver') else 'progress'}"
    if request.path.endswith("/stop"):
        return "stop job"
    return "submit job" if request.method == "POST" else "get job"
