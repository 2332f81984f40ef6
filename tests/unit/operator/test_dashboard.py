"""The dashboard client against a server of this test that speaks the Jobs API."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trainyard_operator import errors
from trainyard_operator.clients.dashboard import Dashboards, Head
from trainyard_operator.clients.kube import Response
from trainyard_operator.model import JobState, NotYet, Refused, SubmitJob, Submitted
from trainyard_operator.settings import DashboardAccess

HEAD = Head("team", "c", "c-head-svc", "127.0.0.1", "secret-token")
EFFECT = SubmitJob("ty-u-1-1", "exec trainyard drive", {"trainyard.dev/uid": "u"})


class FakeKube:
    def __init__(self) -> None:
        self.fenced = False
        self.proxied: list[tuple[Any, ...]] = []

    def fence(self) -> None:
        if self.fenced:
            raise errors.FencedError("fenced")

    async def proxy(self, method: str, namespace: str, service: str, path: str, **more: Any) -> Response:
        self.proxied.append((method, namespace, service, path, more["headers"]))
        return Response(404, b"no such job")


class Ray:
    """Answers from a table of (method, path); records requests."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], web.Response | Any] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.authorization = request.headers.get("Authorization")
        status, answer = self.answers.get((request.method, request.path), (404, "unknown"))
        if isinstance(answer, dict):
            return web.json_response(answer, status=status)
        return web.Response(status=status, body=answer if isinstance(answer, bytes) else answer.encode())

    def posts(self) -> list[Any]:
        return [body for method, _, _, body in self.requests if method == "POST"]


@pytest.fixture
def ray() -> Ray:
    return Ray()


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
async def dashboards(ray: Ray, kube: FakeKube) -> AsyncIterator[Dashboards]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", ray.handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        yield Dashboards(session, kube, DashboardAccess.SERVICE, str(server.make_url("")).rstrip("/"), seconds=2)


JOB = ("GET", "/api/jobs/ty-u-1-1")
POST = ("POST", "/api/jobs/")


class TestStopping:
    async def test_a_job_is_asked_to_stop(self, dashboards, ray) -> None:
        ray.answers["POST", "/api/jobs/ty-u-1-1/stop"] = (200, {"stopped": True})
        await dashboards.stop(HEAD, "ty-u-1-1")
        assert [request[:2] for request in ray.requests] == [("POST", "/api/jobs/ty-u-1-1/stop")]

    async def test_a_dashboard_that_does_not_answer_is_told_of_by_the_next_reading(self, kube) -> None:
        async with aiohttp.ClientSession() as session:
            gone = Dashboards(session, kube, DashboardAccess.SERVICE, "http://127.0.0.1:9", seconds=1)
            await gone.stop(HEAD, "ty-u-1-1")
            assert (await gone.job(HEAD, "ty-u-1-1")).job.state == JobState.UNREACHABLE

    async def test_nothing_is_stopped_without_the_lease(self, dashboards, ray, kube) -> None:
        kube.fenced = True
        with pytest.raises(errors.FencedError):
            await dashboards.stop(HEAD, "ty-u-1-1")
        assert ray.requests == []

    async def test_a_head_that_asks_for_a_token_that_nobody_named_is_told_apart(self, dashboards, ray) -> None:
        ray.answers[JOB] = (401, "no token")
        reading = await dashboards.job(replace(HEAD, token=None), "ty-u-1-1")
        assert "does not say where it is" in reading.job.message


class TestReading:
    @pytest.mark.parametrize("state", ["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"])
    async def test_a_job_with_its_node_and_exit_code(self, dashboards, ray, state) -> None:
        ray.answers[JOB] = (200, {"status": state, "driver_exit_code": 3, "driver_node_id": "n", "message": "m"})
        reading = await dashboards.job(HEAD, "ty-u-1-1")
        assert (reading.job.state, reading.job.exit_code, reading.job.message) == (JobState(state), 3, "m")
        assert reading.node_id == "n"
        assert ray.authorization == "Bearer secret-token"

    async def test_a_job_that_is_not_known(self, dashboards) -> None:
        assert (await dashboards.job(HEAD, "ty-u-1-1")).job.state == JobState.ABSENT

    @pytest.mark.parametrize(
        "answer",
        [(500, "boom"), (401, "token"), (200, "<html>"), (200, {"status": "DANCING"}), (200, {}), (200, "[]")],
    )
    async def test_anything_else_is_an_unreachable_dashboard(self, dashboards, ray, answer) -> None:
        ray.answers[JOB] = answer
        assert (await dashboards.job(HEAD, "ty-u-1-1")).job.state == JobState.UNREACHABLE

    async def test_no_answer_is_a_reading_too(self, kube) -> None:
        async with aiohttp.ClientSession() as session:
            nobody = Dashboards(session, kube, DashboardAccess.SERVICE, "http://127.0.0.1:9", seconds=1)
            reading = await nobody.job(HEAD, "ty-u-1-1")
            assert reading.job.state == JobState.UNREACHABLE
            with pytest.raises(errors.UnavailableError):
                await nobody.tail(HEAD, "n", "f", 2)
            assert await nobody.job_log(HEAD, "n", "j", 2) == ""

    async def test_a_wrong_token_is_named(self, dashboards, ray) -> None:
        ray.answers[JOB] = (403, "no")
        assert "token" in (await dashboards.job(HEAD, "ty-u-1-1")).job.message


class TestFiles:
    async def test_the_tail_is_asked_for_by_lines(self, dashboards, ray) -> None:
        ray.answers["GET", "/api/v0/logs/file"] = (200, b"a\nb\n")
        assert await dashboards.tail(HEAD, "n1", "trainyard-x.jsonl", 2) == b"a\nb\n"
        _, _, query, _ = ray.requests[-1]
        assert (query["node_id"], query["filename"], query["lines"]) == ("n1", "trainyard-x.jsonl", "2")

    async def test_a_file_that_is_not_there_yet_is_none(self, dashboards, ray) -> None:
        ray.answers["GET", "/api/v0/logs/file"] = (500, "FileNotFoundError")
        assert await dashboards.tail(HEAD, "n1", "x", 2) is None

    async def test_an_answer_without_end_is_cut(self, dashboards, ray) -> None:
        ray.answers["GET", "/api/v0/logs/file"] = (200, b"x" * 5_000_000)
        assert len(await dashboards.tail(HEAD, "n1", "x", 2)) == 4 * 2**20


class TestSubmitting:
    async def test_asks_first_and_posts_only_what_is_not_known(self, dashboards, ray) -> None:
        ray.answers[POST] = (200, {"submission_id": "ty-u-1-1"})
        assert await dashboards.submit(HEAD, EFFECT) == Submitted("ty-u-1-1")
        assert [method for method, *_ in ray.requests] == ["GET", "POST"]
        (body,) = ray.posts()
        assert body == {
            "submission_id": "ty-u-1-1",
            "entrypoint": "exec trainyard drive",
            "metadata": {"trainyard.dev/uid": "u"},
        }

    async def test_takes_a_known_job_of_this_run_for_its_own(self, dashboards, ray) -> None:
        ray.answers[JOB] = (200, {"status": "RUNNING", "metadata": {"trainyard.dev/uid": "u"}})
        assert await dashboards.submit(HEAD, EFFECT) == Submitted("ty-u-1-1")
        assert ray.posts() == []

    async def test_refuses_a_known_job_of_somebody_else(self, dashboards, ray) -> None:
        ray.answers[JOB] = (200, {"status": "RUNNING", "metadata": {"trainyard.dev/uid": "other"}})
        outcome = await dashboards.submit(HEAD, EFFECT)
        assert isinstance(outcome, Refused)
        assert outcome.hopeless
        assert ray.posts() == []

    @pytest.mark.parametrize(
        "answer",
        [(500, "No available agent to submit job"), (503, "x"), (401, "token")],
        ids=["no agent yet", "not up", "token not known yet"],
    )
    async def test_waits_for_a_head_that_is_not_ready(self, dashboards, ray, answer) -> None:
        ray.answers[POST] = answer
        assert isinstance(await dashboards.submit(HEAD, EFFECT), NotYet)

    async def test_takes_a_duplicate_for_success(self, dashboards, ray) -> None:
        ray.answers[POST] = (500, "Job with submission_id ty-u-1-1 already exists.")
        assert await dashboards.submit(HEAD, EFFECT) == Submitted("ty-u-1-1")

    async def test_a_refused_job_is_hopeless(self, dashboards, ray) -> None:
        ray.answers[POST] = (400, "unknown key")
        outcome = await dashboards.submit(HEAD, EFFECT)
        assert isinstance(outcome, Refused)
        assert outcome.hopeless
        assert "unknown key" in outcome.message

    async def test_is_fenced(self, dashboards, ray, kube) -> None:
        kube.fenced = True
        with pytest.raises(errors.FencedError):
            await dashboards.submit(HEAD, EFFECT)
        assert ray.requests == []


class TestThroughTheApiServer:
    async def test_the_token_goes_in_rays_own_header(self, kube) -> None:
        async with aiohttp.ClientSession() as session:
            proxied = Dashboards(session, kube, DashboardAccess.API_PROXY)
            await proxied.job(HEAD, "j")
        assert kube.proxied == [
            ("GET", "team", "c-head-svc:8265", "/api/jobs/j", {"X-Ray-Authorization": "Bearer secret-token"})
        ]


def test_a_token_is_never_shown() -> None:
    assert "secret-token" not in repr(HEAD)
