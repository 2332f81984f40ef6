"""Ray's dashboards: the Jobs API, and files of the head's log folder.

Inside the cluster a head is asked at its pod's address, not through the DNS name of its Service: if a name is looked up
before the pod exists, the cluster's DNS cache does not know it for seconds. From outside, the API server's proxy asks
the Service. Kubernetes itself uses the Authorization header there, so the token goes into Ray's own header.

A head runs the user's code, so its answers are not trusted. Redirects are never followed, bodies have a maximum size
and are never decompressed, cookies are not kept, the type of every field is checked, and texts are cut.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from trainyard_operator import errors
from trainyard_operator.clients import answers
from trainyard_operator.clients.answers import Limit, Response
from trainyard_operator.clients.kube import KubeClient, Query
from trainyard_operator.model import Job, JobState, NotYet, Outcome, Refused, SubmitJob, Submitted
from trainyard_operator.readings.progress_schema import (
    INT32,
    Reader,
    count,
    mapping,
    matching,
    one_of,
    record,
    text,
    words,
)
from trainyard_operator.settings import DashboardAccess
from trainyard_operator.vocabulary import Reason

PORT = 8265
ALREADY = "already exists"
ABSENT = "does not exist"
NO_FILE = ("not found", "FileNotFoundError")
"""The message of Ray's log API, with status 500, for a file that does not exist."""
JOB_LOG = "job-driver-{}.log"
ANSWER = Limit(2**20)
"""Two lines of a progress file have at most 128 KiB, and an answer about a job contains its entrypoint."""
LOG = Limit(2**22, keep=2**14)
"""A log line may have any length: if 60 lines are longer than this, the last part of what was read is kept."""
MAX_SAID = 500
CONNECT_SECONDS = 1.5
"""A head in the cluster answers in milliseconds; a lost packet is sent again after one second."""

JOB = record(
    {"status": one_of("PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED")},
    {
        "message": words(2048),
        "driver_exit_code": count(INT32, -INT32),
        "driver_node_id": matching("[0-9A-Za-z_-]{0,128}"),
    },
)
KNOWN = record({}, {"metadata": mapping(64, words(4096))})
TAKEN = record({"submission_id": text(256)}, {})


@dataclass(frozen=True)
class Head:
    """Where a head is. `address` is the pod's address, None if unknown; `token` is None for a cluster without one."""

    namespace: str
    cluster: str
    service: str
    address: str | None
    token: str | None = field(repr=False)


@dataclass(frozen=True)
class JobReading:
    """A job, and the node whose log folder has its files (None before Ray has chosen a node)."""

    job: Job
    node_id: str | None = None


class Dashboards:
    """One pool of connections to all heads; close it after use. A request takes at most `seconds`."""

    def __init__(self, kube: KubeClient, access: DashboardAccess, url: str | None = None, seconds: float = 5.0) -> None:
        self._kube = kube
        self._access = access
        self._url = url
        self._timeout = seconds
        # Behind a single URL all heads count as one host.
        connector = aiohttp.TCPConnector(limit=200, limit_per_host=0 if url else 4)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        await self._session.close()

    async def job(self, head: Head, job_id: str) -> JobReading:
        """Never raises: a dashboard that does not answer also gives a reading."""
        try:
            answer = await self._send(head, "GET", f"/api/jobs/{job_id}")
        except errors.UnavailableError as error:
            return JobReading(Job(JobState.UNREACHABLE, error.message))
        if _absent(answer):
            return JobReading(Job(JobState.ABSENT))
        if answer.status != 200:
            return JobReading(Job(JobState.UNREACHABLE, _complaint(answer, head)))
        try:
            said = _read(answer, JOB)
        except ValueError as error:
            return JobReading(Job(JobState.UNREACHABLE, str(error)))
        job = Job(JobState(said["status"]), _plain(said.get("message", "")), said.get("driver_exit_code"))
        return JobReading(job, said.get("driver_node_id") or None)

    async def submit(self, head: Head, effect: SubmitJob) -> Outcome:
        """GET first, and POST only after a 404: an existing job is either this job, or a mistake."""
        self._kube.fence()
        try:
            known = await self._send(head, "GET", f"/api/jobs/{effect.job_id}")
            if known.status == 200:
                return _known(known, effect)
            if not _absent(known):
                return NotYet(_complaint(known, head))
            self._kube.fence()
            body = {
                "submission_id": effect.job_id,
                "entrypoint": effect.entrypoint,
                "metadata": dict(effect.metadata),
            }
            answer = await self._send(head, "POST", "/api/jobs/", body=body)
        except errors.UnavailableError as error:
            return NotYet(error.message)
        return _taken(answer, head, effect)

    async def stop(self, head: Head, job_id: str) -> None:
        """Ask Ray to stop a job. The next reading tells whether it has stopped, also if this request gets no answer."""
        self._kube.fence()
        with suppress(errors.UnavailableError):
            await self._send(head, "POST", f"/api/jobs/{job_id}/stop")

    async def tail(self, head: Head, node_id: str, file: str, lines: int) -> bytes | None:
        """The last lines of a file in the session's log folder; None while there is no such file.

        Raises UnavailableError if the dashboard does not answer, or gives another answer.
        """
        answer = await self._file(head, node_id, file, lines, ANSWER)
        if answer is not None and answer.cut:
            raise errors.UnavailableError(200, f"the last {lines} lines of {file} are more than {ANSWER.most} bytes")
        return None if answer is None else answer.body

    async def job_log(self, head: Head, node_id: str, job_id: str, lines: int) -> str:
        """The last lines of the driver's log, at most 16 KiB; "" if there is no log."""
        try:
            answer = await self._file(head, node_id, JOB_LOG.format(job_id), lines, LOG)
        except errors.UnavailableError:
            return ""  # the reading of the job itself says that the dashboard is silent
        return "" if answer is None else as_shown(answer.body.decode(errors="replace"))

    async def _file(self, head: Head, node_id: str, file: str, lines: int, limit: Limit) -> Response | None:
        query = [("node_id", node_id), ("filename", file), ("lines", str(lines)), ("timeout", "5")]
        answer = await self._send(head, "GET", "/api/v0/logs/file", query=query, limit=limit)
        if answer.status == 200:
            return answer
        if any(told in _text(answer) for told in NO_FILE):
            return None
        raise errors.UnavailableError(answer.status, _complaint(answer, head))

    async def _send(
        self,
        head: Head,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        limit: Limit = ANSWER,
    ) -> Response:
        if self._access == DashboardAccess.API_PROXY and self._url is None:
            headers = {"X-Ray-Authorization": f"Bearer {head.token}"} if head.token else {}
            service = f"{head.service}:{PORT}"
            return await self._kube.proxy(
                method,
                head.namespace,
                service,
                path,
                query=query,
                headers=headers,
                body=body,
                seconds=self._timeout,
                limit=limit,
            )
        headers = {"Accept-Encoding": "identity"}
        if head.token:
            headers["Authorization"] = f"Bearer {head.token}"
        timeout = aiohttp.ClientTimeout(total=self._timeout, sock_connect=min(CONNECT_SECONDS, self._timeout))
        try:
            async with self._session.request(
                method,
                self._base(head) + path,
                params=list(query),
                json=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                return await answers.read(answer, limit)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.UnavailableError(0, _plain(f"{type(error).__name__} {error}".strip())) from error

    def _base(self, head: Head) -> str:
        if self._url:
            return self._url.format(namespace=head.namespace, cluster=head.cluster)
        return f"http://{head.address or f'{head.service}.{head.namespace}.svc'}:{PORT}"


def as_shown(log: str) -> str:
    """The text that a terminal would show: of a line that was drawn again and again, only the last drawing."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in log.split("\n"))


def _read(answer: Response, reader: Reader) -> dict[str, Any]:
    """The content of an answer, with its types checked. Raises ValueError."""
    try:
        if answer.cut:
            raise ValueError(f"more than {ANSWER.most} bytes")
        said = reader(json.loads(answer.body), "")
    except (ValueError, RecursionError) as error:
        raise ValueError(_plain(f"not an answer of the Jobs API: {error}")) from error
    assert isinstance(said, dict)
    return said


def _absent(answer: Response) -> bool:
    """Whether Ray says that it has no such job. A 404 without Ray's own words comes from a proxy in between."""
    return answer.status == 404 and ABSENT in _text(answer)


def _known(answer: Response, effect: SubmitJob) -> Outcome:
    try:
        metadata = _read(answer, KNOWN).get("metadata", {})
    except ValueError as error:
        return NotYet(str(error))
    if metadata != dict(effect.metadata):
        message = f"Ray already has a job {effect.job_id} that is not this run's: its metadata differs"
        return Refused(Reason.JOB_REFUSED, message, hopeless=True)
    return Submitted(effect.job_id)


def _taken(answer: Response, head: Head, effect: SubmitJob) -> Outcome:
    """What an answer to a submission means."""
    if answer.status == 200:
        try:
            name = _read(answer, TAKEN)["submission_id"]
        except ValueError as error:
            return NotYet(str(error))
        return Submitted(name) if name == effect.job_id else NotYet("Ray took the job under another name")
    if answer.status in (400, 500) and ALREADY in _text(answer):
        return Submitted(effect.job_id)
    if answer.status == 400:
        return Refused(Reason.JOB_REFUSED, f"Ray's Jobs API refused the job: {_text(answer)}", hopeless=True)
    return NotYet(_complaint(answer, head))


def _complaint(answer: Response, head: Head) -> str:
    if answer.status in (401, 403) and head.token is None:
        return f"the dashboard asks for a token ({answer.status}), but the RayCluster does not say which Secret has it"
    if answer.status in (401, 403):
        return f"the dashboard refuses the cluster's token ({answer.status}); was the operator's key changed?"
    if 300 <= answer.status < 400:
        return f"the dashboard answers with a redirect ({answer.status}), which is not followed"
    return f"{answer.status} {_text(answer)}"


def _text(answer: Response) -> str:
    return _plain(answer.body[:MAX_SAID].decode(errors="replace"))


def _plain(text: str) -> str:
    """The text in a form that a status can store: half of a surrogate pair is not valid UTF-8."""
    return text[:2048].encode(errors="replace").decode()
