"""The client of the Kubernetes API against a server of this test."""

import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import kopf
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from trainyard_operator import errors
from trainyard_operator.clients import credentials
from trainyard_operator.clients.kube import CLUSTERS, PODS, RUNS, KubeClient


class Api:
    """Answers every request from `answers`, in turn; the last one stays. Records what was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = [(200, {})]
        self.requests: list[web.Request] = []
        self.bodies: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append(request)
        self.bodies.append(await request.text())
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return (
            web.json_response(body, status=status)
            if not isinstance(body, str)
            else web.Response(status=status, text=body)
        )

    @property
    def last(self) -> web.Request:
        return self.requests[-1]


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
async def kube(api: Api) -> AsyncIterator[KubeClient]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    async with TestServer(app) as server:
        info = kopf.ConnectionInfo(server=str(server.make_url("/")), token="t0ken")
        client = KubeClient(info, seconds=2)
        yield client
        await client.close()


async def test_a_list_is_read_in_chunks_with_its_selector(api, kube) -> None:
    api.answers = [
        (200, {"items": [1, 2], "metadata": {"continue": "more", "resourceVersion": "7"}}),
        (200, {"items": [3], "metadata": {"resourceVersion": "7"}}),
    ]
    assert await kube.list(PODS, None, "a=b") == ([1, 2, 3], "7")
    assert [r.path for r in api.requests] == ["/api/v1/pods", "/api/v1/pods"]
    assert api.requests[0].query["labelSelector"] == "a=b"
    assert api.requests[1].query["continue"] == "more"


async def test_a_list_may_be_of_some_fields(api, kube) -> None:
    api.answers = [(200, {"items": [], "metadata": {"resourceVersion": "7"}})]
    await kube.list(PODS, "team", fields="status.phase=Pending")
    assert api.last.query["fieldSelector"] == "status.phase=Pending"


async def test_requests_carry_the_token(api, kube) -> None:
    await kube.get(RUNS, "team", "run")
    assert api.last.path == "/apis/trainyard.dev/v1alpha1/namespaces/team/trainingruns/run"
    assert api.last.headers["Authorization"] == "Bearer t0ken"


async def test_a_status_is_written_as_a_merge_patch(api, kube) -> None:
    await kube.patch_status(RUNS, "team", "run", {"status": {"a": None}})
    assert (api.last.method, api.last.path.rsplit("/", 1)[1]) == ("PATCH", "status")
    assert api.last.headers["Content-Type"] == "application/merge-patch+json"
    assert api.bodies == ['{"status": {"a": null}}']


async def test_a_deletion_is_of_that_object_and_no_successor(api, kube) -> None:
    await kube.delete(CLUSTERS, "team", "c", "uid-1")
    assert api.last.method == "DELETE"
    assert '"preconditions": {"uid": "uid-1"}' in api.bodies[0]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, {"message": "m", "details": {"name": "run"}}, errors.GoneError),
        (404, "404 page not found", errors.NotFoundError),
        (404, {"message": "m", "details": {}}, errors.NotFoundError),
        (409, {"reason": "AlreadyExists", "message": "m"}, errors.ExistsError),
        (409, {"reason": "Conflict", "message": "m"}, errors.ConflictError),
        (403, {"message": "m"}, errors.ForbiddenError),
        (401, "plain text", errors.ForbiddenError),
        (
            422,
            {"message": "m", "details": {"causes": [{"field": "spec.x", "reason": "FieldValueInvalid"}]}},
            errors.InvalidError,
        ),
        (422, {"message": "m"}, errors.DeniedError),
        (429, {"message": "m"}, errors.UnavailableError),
        (500, "plain text", errors.UnavailableError),
        (503, [], errors.UnavailableError),
    ],
)
async def test_answers_become_errors_of_their_kind(api, kube, status, body, error) -> None:
    api.answers = [(status, body)]
    with pytest.raises(error) as caught:
        await kube.get(RUNS, "team", "run")
    assert caught.value.status == status
    assert caught.value.message


async def test_no_answer_is_an_error_of_its_own() -> None:
    client = KubeClient(kopf.ConnectionInfo(server="http://127.0.0.1:9"), seconds=1)
    with pytest.raises(errors.UnavailableError) as caught:
        await client.get(RUNS, "team", "run")
    assert caught.value.status == 0
    await client.close()


@pytest.mark.parametrize("body", ["<html>", "[]", "7", ""])
async def test_a_success_that_is_no_object_of_the_api_is_no_answer(api, kube, body) -> None:
    """As from a proxy in between that asks to sign in."""
    api.answers = [(200, body)]
    with pytest.raises(errors.UnavailableError, match="not"):
        await kube.get(RUNS, "team", "run")


async def test_a_pods_log_without_end_costs_its_last_bytes(api, kube) -> None:
    api.answers = [(200, "x" * 1_000_000 + "the end")]
    log = await kube.pod_log("team", "head", "ray", 60)
    assert log.endswith("xthe end")
    assert len(log) == 2**14


async def test_a_token_that_is_being_replaced_is_tried_again_later(api, kube, monkeypatch) -> None:
    def gone() -> kopf.ConnectionInfo:
        raise errors.CredentialsError("half written")

    monkeypatch.setattr("trainyard_operator.clients.kube.connection", gone)
    monkeypatch.setattr("trainyard_operator.clients.kube.TOKEN_SECONDS", -1)
    with pytest.raises(errors.UnavailableError, match="half written"):
        await kube.get(RUNS, "team", "run")


async def test_every_write_asks_the_fence_and_no_read_does(api, kube) -> None:
    def closed() -> None:
        raise errors.FencedError("closed")

    kube.fence = closed
    await kube.get(RUNS, "team", "run")
    for write in (
        kube.create(RUNS, "team", {}),
        kube.patch(RUNS, "team", "run", {}),
        kube.patch_status(RUNS, "team", "run", {}),
        kube.delete(RUNS, "team", "run", "u"),
    ):
        with pytest.raises(errors.FencedError):
            await write
    assert len(api.requests) == 1


@pytest.mark.parametrize(("answer", "changed"), [("", False), ('{"type":"ADDED","object":{}}\n' * 2, True)])
async def test_what_has_happened_since_is_asked_for_by_metadata_for_a_second(api, kube, answer, changed) -> None:
    api.answers = [(200, answer)]
    assert await kube.changed(PODS, None, "a=b", "17") == changed
    assert api.last.path == "/api/v1/pods"
    assert dict(api.last.query) == {
        "watch": "true",
        "resourceVersion": "17",
        "timeoutSeconds": "1",
        "labelSelector": "a=b",
    }
    assert "PartialObjectMetadata" in api.last.headers["Accept"]


@pytest.mark.parametrize(
    "answer",
    [(410, {"message": "too old"}), (200, '{"type":"ERROR","object":{"kind":"Status","code":410,"message":"old"}}\n')],
    ids=["as an answer", "as an event"],
)
async def test_a_revision_that_is_too_old_is_told_apart(api, kube, answer) -> None:
    api.answers = [answer]
    with pytest.raises(errors.UnavailableError) as caught:
        await kube.changed(PODS, None, None, "17")
    assert caught.value.status == 410


@pytest.mark.parametrize(
    ("answer", "served"),
    [((200, {"resources": [{"name": "rayclusters"}]}), True), ((200, {"resources": []}), False), ((404, {}), False)],
)
async def test_a_resource_is_served_or_not(api, kube, answer, served) -> None:
    api.answers = [answer]
    assert await kube.serves(CLUSTERS) == served
    assert api.last.path == "/apis/ray.io/v1"


async def test_the_proxy_passes_any_answer_on_and_keeps_its_own_credentials(api, kube) -> None:
    api.answers = [(404, "no such job")]
    answer = await kube.proxy("GET", "team", "head:8265", "/api/jobs/x", headers={"X-Ray-Authorization": "Bearer r"})
    assert (answer.status, answer.body) == (404, b"no such job")
    assert api.last.path == "/api/v1/namespaces/team/services/head:8265/proxy/api/jobs/x"
    assert api.last.headers["X-Ray-Authorization"] == "Bearer r"
    assert api.last.headers["Authorization"] == "Bearer t0ken"


class TestCredentials:
    KUBECONFIG = """
current-context: c
contexts: [{{name: c, context: {{cluster: k, user: u}}}}]
clusters: [{{name: k, cluster: {{server: "https://127.0.0.1:6443"}}}}]
users: [{{name: u, user: {user}}}]
"""

    def test_come_from_the_kubeconfig(self, tmp_path, monkeypatch) -> None:
        file = tmp_path / "config"
        file.write_text(self.KUBECONFIG.format(user="{token: abc}"))
        monkeypatch.setenv("KUBECONFIG", str(file))
        found = credentials.connection()
        assert (found.server, found.token) == ("https://127.0.0.1:6443", "abc")

    def test_without_any_say_what_to_do(self, tmp_path, monkeypatch) -> None:
        monkeypatch.delenv("KUBECONFIG", raising=False)
        monkeypatch.setenv("HOME", str(tmp_path))
        with pytest.raises(errors.CredentialsError, match="KUBECONFIG"):
            credentials.connection()

    def test_of_an_exec_plugin_need_the_package_that_runs_it(self, tmp_path, monkeypatch) -> None:
        file = tmp_path / "config"
        file.write_text(self.KUBECONFIG.format(user="{exec: {command: aws}}"))
        monkeypatch.setenv("KUBECONFIG", str(file))
        monkeypatch.setattr(kopf, "login_via_client", lambda **_: None)
        with pytest.raises(errors.CredentialsError, match="exec plugin"):
            credentials.connection()


def test_the_operator_imports_no_client_package_of_its_own() -> None:
    """Its import took most of the operator's start and half of its memory."""
    code = (
        "import sys; sys.modules['kubernetes'] = None; import trainyard_operator.__main__; "
        "print([m for m in ('ray', 'torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
