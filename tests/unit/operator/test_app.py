"""A whole replica against an API server of this test, which fails at one call: it comes to lead, and goes on."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.operator.builders import SETTINGS
from trainyard_operator import app as wiring
from trainyard_operator.app import Application
from trainyard_operator.cache import Kind
from trainyard_operator.settings import LeaseSettings, Timing

TIMING = Timing(request_timeout=0.3, kuberay_probe=0.1, relist=60)
LEASE = LeaseSettings(duration=3, renew=0.1, request=0.3)
RESOURCES = {"trainyard.dev": "trainingruns", "ray.io": "rayclusters"}
FAULTS = (404, 429, 500, "time-out", "html")
CALLS = (
    "GET trainyard.dev",
    "GET ray.io",
    "GET trainingruns",
    "GET rayclusters",
    "GET pods",
    "GET leases",
    "POST leases",
    "PUT leases",
)
AGAIN = ("GET trainingruns", "GET leases", "PUT leases")
"""Calls whose second one is another matter: a list with the Lease, and what follows a fault at the first."""


@dataclass
class Api:
    """Discovery, empty lists, and one Lease. `fault` happens to the `nth` call of the kind `at`."""

    at: str = ""
    nth: int = 1
    fault: int | str = 500
    calls: list[str] = field(default_factory=list)
    lease: dict[str, Any] | None = None
    _versions: Any = field(default_factory=lambda: itertools.count(100))

    async def handle(self, request: web.Request) -> web.Response:
        parts = request.path.strip("/").split("/")
        what = next((p for p in reversed(parts) if p in (*RESOURCES.values(), "pods", "leases")), parts[1])
        call = f"{request.method} {what}"
        self.calls.append(call)
        if call == self.at and self.calls.count(call) == self.nth:
            return await self._fail()
        return await self._answer(request, what)

    async def _fail(self) -> web.Response:
        if self.fault == "time-out":
            await asyncio.sleep(60)
        if self.fault == "html":
            return web.Response(text="<html>sign in</html>", content_type="text/html")
        return web.json_response({"message": "injected"}, status=int(self.fault))

    async def _answer(self, request: web.Request, what: str) -> web.Response:
        if what in RESOURCES:
            return web.json_response({"resources": [{"name": RESOURCES[what]}]})
        if what != "leases":
            return web.json_response({"items": [], "metadata": {"resourceVersion": str(next(self._versions))}})
        if request.method == "GET":
            return web.json_response(self.lease or {"message": "none"}, status=200 if self.lease else 404)
        body = await request.json()
        old = self.lease["metadata"]["resourceVersion"] if self.lease else None
        if body["metadata"].get("resourceVersion") != old:
            return web.json_response({"message": "changed"}, status=409)
        self.lease = {**body, "metadata": {**body["metadata"], "resourceVersion": str(next(self._versions))}}
        return web.json_response(self.lease)


class QuietWatches:
    """Watches that have nothing to tell."""

    def __init__(self, *_: Any) -> None:
        self.alive = False

    def start(self, kinds: frozenset[Kind]) -> None:
        self.alive = True

    async def stop(self) -> None:
        self.alive = False


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    api = Api()
    server = web.Application()
    server.router.add_route("*", "/{path:.*}", api.handle)
    monkeypatch.setattr(wiring, "Watches", QuietWatches)
    async with TestServer(server, skip_url_asserts=True) as running:
        form = {
            "clusters": [{"name": "c", "cluster": {"server": str(running.make_url("")).rstrip("/")}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(yaml.safe_dump(form))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield api


async def lives(api: Api) -> None:
    """Start a replica, see it work and renew its Lease, stop it. Raises what it ends with."""
    settings = replace(SETTINGS, timing=TIMING, lease=LEASE, http_host="127.0.0.1", http_port=0, workers=2)
    replica = Application(settings)
    running = asyncio.create_task(replica.run())
    try:
        async with asyncio.timeout(20):
            while not (leads(replica) and api.calls.count("PUT leases") > 2):
                assert not running.done(), running.result()
                await asyncio.sleep(0.02)
        assert api.lease is not None
        assert api.lease["spec"]["leaseTransitions"] <= 2
    finally:
        replica.stop()
        await running


def leads(replica: Application) -> bool:
    return any(task.get_name().startswith("worker-") for task in asyncio.all_tasks()) and replica._lease.held


async def test_a_replica_comes_to_lead_and_works(api) -> None:
    await lives(api)
    assert [api.calls.count(call) for call in CALLS[:2]] == [1, 1]
    assert [api.calls.count(call) for call in CALLS[2:5]] == [2, 2, 2], "once to warm the cache, once with the Lease"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("at", "nth"), [*((call, 1) for call in CALLS), *((call, 2) for call in AGAIN)])
async def test_no_single_fault_at_any_call_ends_it(api, at, nth, fault) -> None:
    api.at, api.nth, api.fault = at, nth, fault
    await lives(api)


@pytest.mark.parametrize("fault", FAULTS)
async def test_no_fault_ends_it_while_another_replica_hands_over(api, fault) -> None:
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 1, "leaseTransitions": 1}
    metadata = {"name": LEASE.name, "namespace": SETTINGS.namespace, "resourceVersion": "7"}
    api.lease = {"metadata": metadata, "spec": spec}
    api.at, api.nth, api.fault = "PUT leases", 1, fault
    await lives(api)
    assert api.lease["spec"]["leaseTransitions"] == 2
