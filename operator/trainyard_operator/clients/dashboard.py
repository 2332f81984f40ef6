"""Ray's dashboards: the Jobs API, and files of the head's log folder.

In the cluster a head is asked at its pod's address, not through the DNS name of its Service: a name that is asked for
before the pod exists stays unknown to the cluster's DNS cache for seconds. Outside, the API server's proxy asks the
Service; Kubernetes takes the Authorization header there, so the token goes in Ray's own header.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from trainyard_operator import errors
from trainyard_operator.clients.kube import KubeClient, Query, Response
from trainyard_operator.model import Job, JobState, NotYet, Outcome, Refused, SubmitJob, Submitted
from trainyard_operator.settings import DashboardAccess
from trainyard_operator.vocabulary import Reason

PORT = 8265
ALREADY = "already exists"
JOB_LOG = "job-driver-{}.log"
MAX_ANSWER = 4 * 2**20
"""Bytes. Two lines of a progress file are at most 128 KiB; what is larger is not what was asked for."""


@dataclass(frozen=True)
class Head:
    """Where a head is. `address` is its pod's, None when not known; `token` None for a cluster without one."""

    namespace: str
    cluster: str
    service: str
    address: str | None
    token: str | None = field(repr=False)


@dataclass(frozen=True)
class JobReading:
    """A job, and the node whose log folder has its files (None before Ray has chosen one)."""

    job: Job
    node_id: str | None = None


class Dashboards:
    """One pool of connections to all heads. Requests take at most `seconds`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        kube: KubeClient,
        access: DashboardAccess,
        url: str | None = None,
        seconds: float = 5.0,
    ) -> None:
        self._session = session
        self._kube = kube
        self._access = access
        self._url = url
        self._timeout = seconds

    async def job(self, head: Head, job_id: str) -> JobReading:
        """Never raises: a dashboard that does not answer is a reading too."""
        try:
            answer = await self._send(head, "GET", f"/api/jobs/{job_id}")
        except errors.UnavailableError as error:
            return JobReading(Job(JobState.UNREACHABLE, error.message))
        if answer.status == 404:
            return JobReading(Job(JobState.ABSENT))
        if answer.status != 200:
            return JobReading(Job(JobState.UNREACHABLE, _complaint(answer, head)))
        try:
            data = json.loads(answer.body)
            job = Job(JobState(data["status"]), data.get("message") or "", data.get("driver_exit_code"))
        except (ValueError, KeyError, TypeError) as error:
            return JobReading(Job(JobState.UNREACHABLE, f"not an answer of the Jobs API: {error}"))
        return JobReading(job, data.get("driver_node_id"))

    async def submit(self, head: Head, effect: SubmitJob) -> Outcome:
        """GET, and POST only on 404: a job that is there already is this one, or somebody's mistake."""
        self._kube.fence()
        try:
            known = await self._send(head, "GET", f"/api/jobs/{effect.job_id}")
            if known.status == 200:
                return _known(known, effect)
            if known.status != 404:
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
        text = answer.body.decode(errors="replace")
        if answer.status == 200 or ALREADY in text:
            return Submitted(effect.job_id)
        if answer.status == 400:
            return Refused(Reason.JOB_REFUSED, f"Ray's Jobs API refused the job: {text[:500]}", hopeless=True)
        return NotYet(_complaint(answer, head))

    async def stop(self, head: Head, job_id: str) -> None:
        """Ask Ray to stop a job; whether it has is what the next reading says, also when nobody answers here."""
        self._kube.fence()
        with suppress(errors.UnavailableError):
            await self._send(head, "POST", f"/api/jobs/{job_id}/stop")

    async def tail(self, head: Head, node_id: str, file: str, lines: int) -> bytes | None:
        """The last lines of a file in the session's log folder; None while there is no such file.

        Raises UnavailableError when the dashboard does not answer.
        """
        query = [("node_id", node_id), ("filename", file), ("lines", str(lines)), ("timeout", "5")]
        answer = await self._send(head, "GET", "/api/v0/logs/file", query=query)
        return answer.body if answer.status == 200 else None

    async def job_log(self, head: Head, node_id: str, job_id: str, lines: int) -> str:
        """The last lines of the driver's log; "" when there is none."""
        try:
            data = await self.tail(head, node_id, JOB_LOG.format(job_id), lines)
        except errors.UnavailableError:
            return ""  # the reading of the job itself says that the dashboard is silent
        return (data or b"").decode(errors="replace")

    async def _send(
        self, head: Head, method: str, path: str, *, query: Query = (), body: Mapping[str, Any] | None = None
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
            )
        headers = {"Authorization": f"Bearer {head.token}"} if head.token else {}
        timeout = aiohttp.ClientTimeout(total=self._timeout)
        try:
            async with self._session.request(
                method, self._base(head) + path, params=list(query), json=body, headers=headers, timeout=timeout
            ) as answer:
                data = await answer.content.read(MAX_ANSWER)
                while not answer.content.at_eof() and len(data) < MAX_ANSWER:
                    data += await answer.content.read(MAX_ANSWER - len(data))
                return Response(answer.status, data)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise errors.UnavailableError(0, f"{type(error).__name__} {error}".strip()) from error

    def _base(self, head: Head) -> str:
        if self._url:
            return self._url.format(namespace=head.namespace, cluster=head.cluster)
        return f"http://{head.address or f'{head.service}.{head.namespace}.svc'}:{PORT}"


def _known(answer: Response, effect: SubmitJob) -> Outcome:
    try:
        metadata = json.loads(answer.body).get("metadata") or {}
    except (ValueError, AttributeError) as error:
        return NotYet(f"not an answer of the Jobs API: {error}")
    if dict(metadata) != dict(effect.metadata):
        message = f"Ray already has a job {effect.job_id} that is not this run's (metadata {metadata})"
        return Refused(Reason.JOB_REFUSED, message, hopeless=True)
    return Submitted(effect.job_id)


def _complaint(answer: Response, head: Head) -> str:
    if answer.status in (401, 403) and head.token is None:
        return f"the dashboard asks for a token ({answer.status}), and the RayCluster does not say where it is"
    if answer.status in (401, 403):
        return f"the dashboard refuses the cluster's token ({answer.status}); was the operator's key changed?"
    return f"{answer.status} {answer.body.decode(errors='replace')[:300]}"
