"""A head that means harm, as a server of the tests: what it can do to whoever asks it, one behaviour a path prefix.

`/<behaviour>/api/...` is the dashboard of a head that answers every request in that way.
"""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache

from aiohttp import web
from aiohttp.test_utils import TestServer

MEGABYTE = 2**20
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class HostileHead:
    """`secret_reads` counts what reached the service that redirects point at."""

    def __init__(self) -> None:
        self.secret_reads: list[tuple[str, str]] = []
        self.sent = 0
        self.behaviours: dict[str, Answer] = {
            "redirect-301": redirect(301),
            "redirect-302": redirect(302),
            "redirect-307": redirect(307),
            "redirect-308": redirect(308),
            "endless-line": self._endless_line,
            "endless-lines": self._endless_lines,
            "black-hole": black_hole,
            "slow-drip": slow_drip,
            "long-line": long_line,
            "gzip-bomb": gzip_bomb,
            "html": html,
            "cookies": cookies,
        }

    @property
    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/metadata-service", self._secret)
        for name, answer in self.behaviours.items():
            app.router.add_route("*", f"/{name}/{{rest:.*}}", answer)
        return app

    async def _secret(self, request: web.Request) -> web.Response:
        self.secret_reads.append((request.method, await request.text()))
        return web.json_response({"status": "RUNNING", "message": "the machine's credentials"})

    async def _endless_line(self, request: web.Request) -> web.StreamResponse:
        return await self._endless(request, b"x" * 2**16)

    async def _endless_lines(self, request: web.Request) -> web.StreamResponse:
        return await self._endless(request, b"x\n" * 2**15)

    async def _endless(self, request: web.Request, chunk: bytes) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(chunk)
            self.sent += len(chunk)


def redirect(status: int) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": "/metadata-service"}, text="already exists")

    return answer


async def black_hole(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits for this")


async def slow_drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.1)


async def long_line(_: web.Request) -> web.Response:
    return web.Response(body=b"x" * 10 * MEGABYTE + b"the end\n")


@cache
def bomb() -> bytes:
    """100 MB in less than one."""
    return gzip.compress(b'{"status": "RUNNING"}' + b" " * 100 * MEGABYTE, compresslevel=1)


async def gzip_bomb(_: web.Request) -> web.Response:
    """Compressed, whether it was asked for or not."""
    return web.Response(body=bomb(), headers={"Content-Encoding": "gzip"})


async def html(_: web.Request) -> web.Response:
    return web.Response(text="<html>sign in</html>", content_type="text/html")


async def cookies(request: web.Request) -> web.Response:
    response = web.json_response({"status": "RUNNING", "message": request.headers.get("Cookie", "")})
    response.set_cookie("session", "yours")
    return response


@asynccontextmanager
async def serve(head: HostileHead) -> AsyncIterator[str]:
    """The URL of the server."""
    bomb()
    async with TestServer(head.application) as server:
        yield str(server.make_url("")).rstrip("/")
