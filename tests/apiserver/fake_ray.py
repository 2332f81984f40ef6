"""What stands in for Ray and KubeRay in the operator's tests: dashboards with the Jobs API, pods without a node."""

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes import client

Object = dict[str, Any]
NODE = "f" * 56


@dataclass
class Dashboard:
    """The dashboard of one cluster. `agent` False: up, but no agent takes jobs yet. `up` False: connections break.
    `answers` False: nobody ever answers.

    `stops` are the jobs that somebody asked to stop; they obey unless `stubborn`.
    """

    up: bool = True
    answers: bool = True
    agent: bool = True
    jobs: dict[str, Object] = field(default_factory=dict)
    posts: list[Object] = field(default_factory=list)
    gets: int = 0
    tokens: list[str] = field(default_factory=list)
    progress: bytes = b""
    log: bytes = b""
    log_reads: int = 0
    stops: list[str] = field(default_factory=list)
    stubborn: bool = False

    @property
    def job(self) -> Object:
        (job,) = self.jobs.values()
        return job

    def report(self, seq: int, *, final: bool = False, **more: Any) -> None:
        """Append a line to the progress file of the only job."""
        line = {
            "schemaVersion": 1,
            "jobId": self.job["submission_id"],
            "seq": seq,
            "time": 1_760_000_000.0 + seq,
            "final": final,
            "progress": more.pop("progress", {"iteration": seq, "percent": min(100, seq * 10)}),
            **more,
        }
        self.progress += json.dumps(line).encode() + b"\n"

    def end(self, status: str, exit_code: int | None) -> None:
        self.job.update(status=status, driver_exit_code=exit_code, message="")


class FakeRay:
    """All dashboards, on one port of this machine: `/<namespace>/<cluster>/api/...`."""

    def __init__(self) -> None:
        self.dashboards: dict[tuple[str, str], Dashboard] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{{namespace}}/{{cluster}}"

    def of(self, namespace: str, cluster: str) -> Dashboard:
        return self.dashboards.setdefault((namespace, cluster), Dashboard())

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _serve(self) -> int:
        app = web.Application()
        app.add_routes(
            [
                web.get("/{namespace}/{cluster}/api/jobs/{job}", self._get),
                web.post("/{namespace}/{cluster}/api/jobs/", self._post),
                web.post("/{namespace}/{cluster}/api/jobs/{job}/stop", self._stop),
                web.get("/{namespace}/{cluster}/api/v0/logs/file", self._file),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(site._server.sockets[0].getsockname()[1])

    async def _dashboard(self, request: web.Request) -> Dashboard:
        dashboard = self.of(request.match_info["namespace"], request.match_info["cluster"])
        dashboard.tokens.append(request.headers.get("Authorization", ""))
        if not dashboard.up:
            request.transport.abort()
        if not dashboard.answers:
            await asyncio.sleep(3600)
        return dashboard

    async def _get(self, request: web.Request) -> web.Response:
        dashboard = await self._dashboard(request)
        dashboard.gets += 1
        job = dashboard.jobs.get(request.match_info["job"])
        if job is None:
            return web.Response(status=404, text="Job does not exist")
        return web.json_response(job)

    async def _post(self, request: web.Request) -> web.Response:
        dashboard = await self._dashboard(request)
        if not dashboard.agent:
            return web.Response(status=500, text="No available agent to submit job, please try again later.")
        body = await request.json()
        dashboard.posts.append(body)
        if body["submission_id"] in dashboard.jobs:
            return web.Response(status=500, text=f"Job with submission_id {body['submission_id']} already exists.")
        dashboard.jobs[body["submission_id"]] = {
            "submission_id": body["submission_id"],
            "status": "RUNNING",
            "metadata": body["metadata"],
            "message": "Job is currently running.",
            "driver_exit_code": None,
            "driver_node_id": NODE,
        }
        return web.json_response({"submission_id": body["submission_id"], "job_id": body["submission_id"]})

    async def _stop(self, request: web.Request) -> web.Response:
        dashboard, job = await self._dashboard(request), request.match_info["job"]
        dashboard.stops.append(job)
        if not dashboard.stubborn:
            dashboard.jobs[job]["status"] = "STOPPED"
        return web.json_response({"stopped": True})

    async def _file(self, request: web.Request) -> web.Response:
        dashboard = await self._dashboard(request)
        assert request.query["node_id"] == NODE
        of_driver = request.query["filename"].startswith("job-driver-")
        dashboard.log_reads += of_driver
        data = dashboard.log if of_driver else dashboard.progress
        if not data:
            return web.Response(status=500, text="FileNotFoundError")
        lines = data.splitlines(keepends=True)[-int(request.query["lines"]) :]
        return web.Response(body=b"".join(lines))


class FakeKubeRay:
    """Does by hand what KubeRay and a kubelet would do."""

    def __init__(self, api: client.ApiClient) -> None:
        self.core = client.CoreV1Api(api)
        self.custom = client.CustomObjectsApi(api)

    def make_cluster(self, namespace: str, name: str, labels: dict[str, str], **spec: Any) -> Object:
        """A RayCluster that somebody else has made, with a head that is ready."""
        template = {"spec": {"containers": [{"name": "ray", "image": "example/ray:1"}]}}
        body = {
            "apiVersion": "ray.io/v1",
            "kind": "RayCluster",
            "metadata": {"name": name, "labels": labels},
            "spec": {"headGroupSpec": {"rayStartParams": {}, "template": template}, **spec},
        }
        self.custom.create_namespaced_custom_object("ray.io", "v1", namespace, "rayclusters", body)
        ready = {
            "type": "HeadPodReady",
            "status": "True",
            "reason": "HeadPodRunningAndReady",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        head = {"podName": f"{name}-head", "podIP": "127.0.0.1", "serviceName": f"{name}-head-svc"}
        status = {"status": {"head": head, "conditions": [ready]}}
        return self.custom.patch_namespaced_custom_object_status("ray.io", "v1", namespace, "rayclusters", name, status)

    def delete_cluster(self, namespace: str, name: str) -> None:
        self.custom.delete_namespaced_custom_object("ray.io", "v1", namespace, "rayclusters", name)

    def start_head(self, cluster: Object, *, ready: bool = True) -> str:
        """Create the head pod of a RayCluster, running and ready; its name."""
        template = cluster["spec"]["headGroupSpec"]["template"]
        namespace, name = cluster["metadata"]["namespace"], f"{cluster['metadata']['name']}-head"
        labels = {
            **template["metadata"]["labels"],
            "ray.io/cluster": cluster["metadata"]["name"],
            "ray.io/node-type": "head",
            "ray.io/is-ray-node": "yes",
        }
        spec = {k: v for k, v in template["spec"].items() if k in ("containers", "volumes", "restartPolicy")}
        body = {"metadata": {"name": name, "labels": labels}, "spec": spec | {"automountServiceAccountToken": False}}
        self.core.create_namespaced_pod(namespace, body)
        running = {
            "phase": "Running",
            "podIP": "127.0.0.1",
            "conditions": [{"type": "Ready", "status": str(ready)}, {"type": "PodScheduled", "status": "True"}],
        }
        self.set_pod(namespace, name, running)
        return name

    def set_pod(self, namespace: str, name: str, status: Object) -> None:
        self.core.patch_namespaced_pod_status(name, namespace, {"status": status})

    def delete_pod(self, namespace: str, name: str) -> None:
        self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)

    def suspend(self, cluster: Object, value: bool) -> None:
        """As Kueue does it."""
        metadata = cluster["metadata"]
        self.custom.patch_namespaced_custom_object(
            "ray.io", "v1", metadata["namespace"], "rayclusters", metadata["name"], {"spec": {"suspend": value}}
        )
