"""The dashboard client against a server of this test that speaks the Jobs API."""

import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.unit.operator.hostile_head import HostileHead, serve
from trainyard_operator import errors
from trainyard_operator.clients.answers import Response
from trainyard_operator.clients.dashboard import ALREADY, Dashboards, Head
from trainyard_operator.clients.kube import KubeClient
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
        return Response(404, b"Job j does not exist")


class Ray:
    """Answers from a table of (method, path); records requests."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], web.Response | Any] = {}
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        self.authorization = request.headers.get("Authorization")
        status, answer = self.answers.get((request.method, request.path), (404, "Job x does not exist"))
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
    async with TestServer(app) as server:
        found = Dashboards(kube, DashboardAccess.SERVICE, str(server.make_url("")).rstrip("/"), seconds=2)
        yield found
        await found.close()


@asynccontextmanager
async def closing(dashboards: Dashboards) -> AsyncIterator[Dashboards]:
    yield dashboards
    await dashboards.close()


JOB = ("GET", "/api/jobs/ty-u-1-1")
POST = ("POST", "/api/jobs/")


class TestStopping:
    async def test_a_job_is_asked_to_stop(self, dashboards, ray) -> None:
        ray.answers["POST", "/api/jobs/ty-u-1-1/stop"] = (200, {"stopped": True})
        await dashboards.stop(HEAD, "ty-u-1-1")
        assert [request[:2] for request in ray.requests] == [("POST", "/api/jobs/ty-u-1-1/stop")]

    async def test_a_dashboard_that_does_not_answer_is_told_of_by_the_next_reading(self, kube) -> None:
        async with closing(Dashboards(kube, DashboardAccess.SERVICE, "http://127.0.0.1:9", seconds=1)) as gone:
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
        assert "does not say which Secret has it" in reading.job.message


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
        [
            (404, "no such page"),
            (500, "boom"),
            (401, "token"),
            (200, "<html>"),
            (200, {"status": "DANCING"}),
            (200, {}),
            (200, "[]"),
        ],
    )
    async def test_anything_else_is_an_unreachable_dashboard(self, dashboards, ray, answer) -> None:
        ray.answers[JOB] = answer
        assert (await dashboards.job(HEAD, "ty-u-1-1")).job.state == JobState.UNREACHABLE

    @pytest.mark.parametrize(
        "wrong",
        [
            {"driver_exit_code": "abc"},
            {"driver_exit_code": True},
            {"driver_exit_code": 1.5},
            {"driver_exit_code": 2**40},
            {"driver_exit_code": [1]},
            {"message": {"a": 1}},
            {"message": 7},
            {"status": ["RUNNING"]},
            {"status": {}},
            {"status": "ABSENT"},
            {"status": "UNREACHABLE"},
            {"driver_node_id": 5},
            {"driver_node_id": "../../etc"},
            {"driver_node_id": "n" * 200},
        ],
        ids=str,
    )
    async def test_a_wrong_type_is_an_answer_that_cannot_be_read(self, dashboards, ray, wrong) -> None:
        ray.answers[JOB] = (200, {"status": "RUNNING", "driver_node_id": "n", **wrong})
        reading = await dashboards.job(HEAD, "ty-u-1-1")
        assert (reading.job.state, reading.node_id) == (JobState.UNREACHABLE, None)
        assert "not an answer of the Jobs API" in reading.job.message
        assert next(iter(wrong)) in reading.job.message

    async def test_a_deep_answer_is_one_too(self, dashboards, ray) -> None:
        ray.answers[JOB] = (200, "[" * 100_000)
        assert (await dashboards.job(HEAD, "ty-u-1-1")).job.state == JobState.UNREACHABLE

    async def test_a_message_is_cut_and_can_always_be_written(self, dashboards, ray) -> None:
        ray.answers[JOB] = (200, {"status": "FAILED", "message": "\ud800" + "x" * 100_000})
        message = (await dashboards.job(HEAD, "ty-u-1-1")).job.message
        assert message == "?" + "x" * 2047
        message.encode()

    async def test_no_answer_is_a_reading_too(self, kube) -> None:
        async with closing(Dashboards(kube, DashboardAccess.SERVICE, "http://127.0.0.1:9", seconds=1)) as nobody:
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

    @pytest.mark.parametrize("answer", [(401, "no"), (404, "page"), (500, "agent"), (503, "busy"), (302, "there")])
    async def test_an_error_is_not_taken_for_a_missing_file(self, dashboards, ray, answer) -> None:
        ray.answers["GET", "/api/v0/logs/file"] = answer
        with pytest.raises(errors.UnavailableError):
            await dashboards.tail(HEAD, "n1", "x", 2)

    async def test_a_progress_bar_is_shown_as_a_terminal_would(self, dashboards, ray) -> None:
        bar = b"".join(b"\r%d %%" % (n % 100) for n in range(300_000))
        ray.answers["GET", "/api/v0/logs/file"] = (200, b"start\r\n" + bar + b"\rdone\nValueError: no\n")
        log = await dashboards.job_log(HEAD, "n1", "j", 60)
        assert log.endswith("done\nValueError: no\n")
        assert len(log) < 200

    async def test_a_log_of_one_endless_line_costs_its_last_bytes(self, dashboards, ray) -> None:
        ray.answers["GET", "/api/v0/logs/file"] = (200, b"x" * 3_000_000 + b"the end")
        log = await dashboards.job_log(HEAD, "n1", "j", 60)
        assert log.endswith("xthe end")
        assert len(log) == 2**14


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

    @pytest.mark.parametrize(
        "answer",
        [(200, "<html>"), (200, {}), (200, {"submission_id": 7}), (200, {"submission_id": "x"}), (302, ALREADY)],
        ids=str,
    )
    async def test_takes_nothing_for_success_that_rays_jobs_api_would_not_say(self, dashboards, ray, answer) -> None:
        ray.answers[POST] = answer
        assert isinstance(await dashboards.submit(HEAD, EFFECT), NotYet)

    @pytest.mark.parametrize("metadata", [[], "x", 7, {"trainyard.dev/uid": {}}], ids=str)
    async def test_a_known_job_without_readable_metadata_is_neither_its_own_nor_refused(
        self, dashboards, ray, metadata
    ) -> None:
        ray.answers[JOB] = (200, {"status": "RUNNING", "metadata": metadata})
        assert isinstance(await dashboards.submit(HEAD, EFFECT), NotYet)
        assert ray.posts() == []

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
        async with closing(Dashboards(kube, DashboardAccess.API_PROXY)) as proxied:
            await proxied.job(HEAD, "j")
        assert kube.proxied == [
            ("GET", "team", "c-head-svc:8265", "/api/jobs/j", {"X-Ray-Authorization": "Bearer secret-token"})
        ]


def test_a_token_is_never_shown() -> None:
    assert "secret-token" not in repr(HEAD)


class TestAHostileHead:
    """Whatever a head does, it is an answer that cannot be read, within the time and the memory that it is given."""

    @pytest.fixture
    async def head(self) -> AsyncIterator[tuple[HostileHead, str]]:
        hostile = HostileHead()
        async with serve(hostile) as url:
            yield hostile, url

    @pytest.fixture
    async def ask(self, head, kube) -> AsyncIterator[Dashboards]:
        """A dashboard's client by behaviour: the cluster's name is the behaviour."""
        async with closing(Dashboards(kube, DashboardAccess.SERVICE, head[1] + "/{cluster}", seconds=0.5)) as found:
            yield found

    @pytest.mark.parametrize("behaviour", [name for name in HostileHead().behaviours if name != "cookies"])
    async def test_ends_no_request_with_anything_but_no_answer(self, head, ask, behaviour) -> None:
        where = replace(HEAD, cluster=behaviour)
        started = time.monotonic()
        reading = await ask.job(where, "j")
        assert (reading.job.state, reading.node_id, reading.job.exit_code) == (JobState.UNREACHABLE, None, None)
        assert len(reading.job.message) <= 2048
        assert isinstance(await ask.submit(where, EFFECT), NotYet)
        await ask.stop(where, "j")
        assert len(await ask.job_log(where, "n", "j", 60)) <= 2**14
        with suppress(errors.UnavailableError):
            assert len(await ask.tail(where, "n", "f", 2) or b"") <= 2**20
        assert head[0].secret_reads == [], "a redirect was followed"
        assert head[0].sent < 64 * 2**20, "an endless answer was read on and on"
        assert time.monotonic() - started < 6 * 0.5 + 3

    @pytest.mark.parametrize("behaviour", ["endless-line", "endless-lines", "gzip-bomb", "long-line"])
    async def test_costs_no_memory(self, head, ask, behaviour) -> None:
        where = replace(HEAD, cluster=behaviour)
        await ask.job(where, "j")
        tracemalloc.start()
        reading, log = await ask.job(where, "j"), await ask.job_log(where, "n", "j", 60)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(reading.job.message) + len(log) < 2**15
        assert peak < 32 * 2**20  # the server of this test and its 10 MB line are in the same process

    async def test_leaves_no_cookie(self, ask) -> None:
        where = replace(HEAD, cluster="cookies")
        await ask.job(where, "j")
        assert (await ask.job(where, "j")).job.message == ""

    async def test_is_not_followed_through_the_api_server_either(self, head) -> None:
        client = KubeClient(kopf.ConnectionInfo(server=f"{head[1]}/redirect-307"), seconds=2)
        async with closing(Dashboards(client, DashboardAccess.API_PROXY, seconds=1)) as proxied:
            reading = await proxied.job(HEAD, "j")
        await client.close()
        assert "redirect (307), which is not followed" in reading.job.message
        assert head[0].secret_reads == []
