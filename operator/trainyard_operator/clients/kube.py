"""The Kubernetes API, with plain dictionaries.

Every write asks the fence first: without a fresh Lease nothing is written.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack
from urllib.request import getproxies

import aiohttp
import kopf

from trainyard_operator import errors
from trainyard_operator.clients import answers
from trainyard_operator.clients.answers import Limit, Response
from trainyard_operator.clients.credentials import connection
from trainyard_operator.outcomes import error_of

Form = dict[str, Any]
Query = Sequence[tuple[str, str]]
CHUNK = "500"
MERGE_PATCH = "application/merge-patch+json"
TOKEN_SECONDS = 60.0
"""Tokens of service accounts are replaced on disk long before they expire. They are read again after this time."""
ANSWER = Limit(2**28)
"""A chunk of a list has a few megabytes; a much larger answer did not come from an API server."""
CONNECTIONS = 256
"""More than the number of passes at the same time, including those that wait for a dashboard behind the API server's
proxy: the Lease must not wait for a connection."""
FIRST_EVENTS = Limit(2**16)
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
POD_LOG = Limit(2**22, keep=2**14)
"""If a log line never ends, the last part of what was read is kept."""


@dataclass(frozen=True)
class Resource:
    """A namespaced kind of the API."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str | None, name: str | None = None, sub: str | None = None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{namespace}" if namespace else ""
        return "/".join(part for part in (root + place, self.plural, name, sub) if part)


RUNS = Resource("trainyard.dev", "v1alpha1", "trainingruns")
CLUSTERS = Resource("ray.io", "v1", "rayclusters")
PODS = Resource("", "v1", "pods")
SECRETS = Resource("", "v1", "secrets")
CONFIG_MAPS = Resource("", "v1", "configmaps")
EVENTS = Resource("", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


class Options(TypedDict, total=False):
    """Optional parts of a request. `seconds`: a time limit for this request instead of the client's."""

    query: Query
    headers: Mapping[str, str] | None
    body: Mapping[str, Any] | None
    seconds: float | None
    limit: Limit


Observer = Callable[[str, str, int, float], None]
"""Called with verb, plural, status and seconds of every request."""


def _no_fence() -> None:
    """No fence: reads and tests do not need one."""


class KubeClient:
    """Requests take at most `seconds` each. Raises errors.ApiError and errors.FencedError."""

    def __init__(
        self,
        info: kopf.ConnectionInfo,
        *,
        seconds: float,
        fence: Callable[[], None] = _no_fence,
        observer: Observer | None = None,
    ) -> None:
        self._info = info
        self._read = time.monotonic()
        self._seconds = seconds
        self._observer = observer
        self.fence = fence
        # Looking for proxies in the environment costs aiohttp two thread switches for every request.
        # Nothing is decompressed: answers through the API server's proxy come from users' pods.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=info.as_ssl_context()),
            trust_env=bool(getproxies()),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    @classmethod
    async def connect(cls, *, seconds: float, observer: Observer | None = None) -> "KubeClient":
        """With the credentials of this process. Raises errors.CredentialsError."""
        return cls(connection(), seconds=seconds, observer=observer)

    async def close(self) -> None:
        await self._session.close()

    # -- reads

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        selector: str | None = None,
        fields: str | None = None,
    ) -> tuple[list[Form], str]:
        """All objects, in chunks, and the resourceVersion of the list; `selector` is of labels, `fields` of fields."""
        items: list[Form] = []
        token = ""
        while True:
            query = [("limit", CHUNK)]
            query += [("labelSelector", selector)] if selector else []
            query += [("fieldSelector", fields)] if fields else []
            query += [("continue", token)] if token else []
            page = await self._json("GET", resource, resource.path(namespace), query=query)
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                return items, page["metadata"]["resourceVersion"]

    async def changed(self, resource: Resource, namespace: str | None, selector: str | None, since: str) -> bool:
        """Whether anything has happened to these objects since a resourceVersion. Watches their metadata for a second.

        Raises UnavailableError with status 410 if the API server has forgotten that resourceVersion.
        """
        query = [("watch", "true"), ("resourceVersion", since), ("timeoutSeconds", "1")]
        query += [("labelSelector", selector)] if selector else []
        headers = {"Accept": METADATA_ONLY}
        options = Options(query=query, headers=headers, limit=FIRST_EVENTS)
        answer = await self._request("GET", resource, resource.path(namespace), **options)
        first, _, _ = answer.body.partition(b"\n")
        if b'"type":"ERROR"' in first[:100]:
            status = json.loads(first)["object"]
            raise errors.UnavailableError(status["code"], status["message"])
        return bool(first)

    async def get(self, resource: Resource, namespace: str, name: str) -> Form:
        return await self._json("GET", resource, resource.path(namespace, name))

    async def serves(self, resource: Resource) -> bool:
        """Whether the API server knows the resource."""
        try:
            found = await self._json("GET", resource, f"/apis/{resource.group}/{resource.version}")
        except errors.NotFoundError:
            return False
        return any(one["name"] == resource.plural for one in found["resources"])

    async def pod_log(self, namespace: str, pod: str, container: str, lines: int) -> str:
        query = [("container", container), ("tailLines", str(lines))]
        answer = await self._request("GET", PODS, PODS.path(namespace, pod, "log"), query=query, limit=POD_LOG)
        return answer.body.decode(errors="replace")

    # -- writes

    async def create(self, resource: Resource, namespace: str, body: Mapping[str, Any]) -> Form:
        self.fence()
        return await self._json("POST", resource, resource.path(namespace), body=body)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]) -> Form:
        self.fence()
        return await self._json("PATCH", resource, resource.path(namespace, name), body=body)

    async def patch_status(self, resource: Resource, namespace: str, name: str, body: Mapping[str, Any]) -> Form:
        self.fence()
        return await self._json("PATCH", resource, resource.path(namespace, name, "status"), body=body)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> Form:
        """Delete only the object with that uid. Returns the object while its deletion goes on, else a Status."""
        self.fence()
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        return await self._json("DELETE", resource, resource.path(namespace, name), body=body)

    async def read_lease(self, namespace: str, name: str, seconds: float) -> Form:
        return await self._json("GET", LEASES, LEASES.path(namespace, name), seconds=seconds)

    async def create_lease(self, namespace: str, body: Mapping[str, Any], seconds: float) -> Form:
        """Without the fence, because the fence itself depends on the Lease."""
        return await self._json("POST", LEASES, LEASES.path(namespace), body=body, seconds=seconds)

    async def replace_lease(self, namespace: str, name: str, body: Mapping[str, Any], seconds: float) -> Form:
        return await self._json("PUT", LEASES, LEASES.path(namespace, name), body=body, seconds=seconds)

    # -- the API server's proxy

    async def proxy(
        self,
        method: str,
        namespace: str,
        service: str,
        path: str,
        **options: Unpack[Options],
    ) -> Response:
        """A request to a Service through the API server; answers of any status are returned."""
        full = f"/api/v1/namespaces/{namespace}/services/{service}/proxy{path}"
        return await self._send(method, "services/proxy", full, **options)

    async def _json(self, method: str, resource: Resource, path: str, **options: Unpack[Options]) -> Form:
        answer = await self._request(method, resource, path, **options)
        try:
            found = json.loads(answer.body)
        except ValueError as error:
            raise errors.UnavailableError(answer.status, f"{method} {path}: not JSON: {error}") from error
        if answer.cut or not isinstance(found, dict):
            raise errors.UnavailableError(answer.status, f"{method} {path}: not an object of the API")
        return found

    async def _request(self, method: str, resource: Resource, path: str, **options: Unpack[Options]) -> Response:
        answer = await self._send(method, resource.plural, path, **options)
        if answer.status >= 300:
            raise error_of(answer.status, answer.body)
        return answer

    async def _send(
        self,
        method: str,
        what: str,
        path: str,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        limit: Limit = ANSWER,
    ) -> Response:
        content = MERGE_PATCH if method == "PATCH" else "application/json"
        started = time.monotonic()
        status = 0
        try:
            async with self._session.request(
                method,
                self._info.server.rstrip("/") + path,
                params=list(query),
                data=None if body is None else json.dumps(body),
                headers={
                    **self._credentials(),
                    "Content-Type": content,
                    "Accept-Encoding": "identity",
                    **(headers or {}),
                },
                timeout=aiohttp.ClientTimeout(total=seconds or self._seconds),
                proxy=self._info.proxy_url,
                allow_redirects=False,
            ) as answer:
                found = await answers.read(answer, limit)
                status = found.status
                return found
        except (aiohttp.ClientError, OSError) as error:
            raise errors.UnavailableError(0, f"{method} {path}: {type(error).__name__} {error}".strip()) from error
        finally:
            if self._observer:
                self._observer(method, what, status, time.monotonic() - started)

    def _credentials(self) -> dict[str, str]:
        """Raises UnavailableError, so that the request is repeated: a token that is being replaced is readable soon."""
        if self._info.token and time.monotonic() - self._read > TOKEN_SECONDS:
            try:
                self._info, self._read = connection(), time.monotonic()
            except errors.CredentialsError as error:
                raise errors.UnavailableError(0, f"the credentials cannot be read again: {error}") from error
        return dict(self._info.as_http_headers())
