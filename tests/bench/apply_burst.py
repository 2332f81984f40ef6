"""Many runs at once: TrainingRuns against RayJobs, from apply to their RayClusters, on a bare API server.

    python -m tests.bench.apply_burst --runs 200

There is no node, so nothing starts: what is measured is how soon a controller has made a cluster of each object.
KubeRay's operator and Trainyard's run side by side as processes, with their defaults. The two halves follow each other
once KubeRay has made the pods of the first; in each, 20 clients create the objects as fast as they can.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch
from rich.console import Console
from rich.table import Table
from urllib3.exceptions import HTTPError

from dev.cluster import binaries, kuberay
from dev.cluster.apiserver import ApiServer
from tests.bench.latency import rayjob

ROOT = Path(__file__).parents[2]
Object = dict[str, Any]
CREATORS = 20
IMAGE = "example/training:1"
TIMEOUT = 600
SYSTEM = "trainyard-system"


def training_run(name: str) -> Object:
    """The same size as the RayJob: a head and one worker."""
    spec = {
        "entrypoint": "python x.py",
        "resources": {"cpus": 1},
        "cluster": {"worker": {"replicas": 1}},
    }
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}


def ray_job(name: str) -> Object:
    return rayjob(name, "pass", IMAGE, "2.60.0")


KINDS: dict[str, tuple[Callable[[str], Object], tuple[str, str, str]]] = {
    "TrainingRun": (training_run, ("trainyard.dev", "v1alpha1", "trainingruns")),
    "RayJob": (ray_job, ("ray.io", "v1", "rayjobs")),
}


class Arrivals:
    """When the RayCluster of each object of a namespace was first seen, by the owner's name."""

    def __init__(self, custom: client.CustomObjectsApi, namespace: str) -> None:
        self.at: dict[str, float] = {}
        self._stopped = False
        self._watch = watch.Watch()
        self._source = (custom.list_namespaced_custom_object, "ray.io", "v1", namespace, "rayclusters")
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        try:
            for event in self._watch.stream(*self._source, timeout_seconds=TIMEOUT):
                owner = event["object"]["metadata"].get("ownerReferences", [{}])[0].get("name", "")
                self.at.setdefault(owner, time.monotonic())
        except HTTPError:
            if not self._stopped:
                raise

    def stop(self) -> None:
        """The connection itself ends with the API server."""
        self._stopped = True
        self._watch.stop()


def burst(api: client.ApiClient, kind: str, runs: int) -> list[float]:
    """Seconds from the create call to the sight of the RayCluster, sorted."""
    make, (group, version, plural) = KINDS[kind]
    namespace = f"burst-{kind.lower()}"
    client.CoreV1Api(api).create_namespace({"metadata": {"name": namespace}})
    custom = client.CustomObjectsApi(api)
    arrivals = Arrivals(custom, namespace)
    time.sleep(1)
    started: dict[str, float] = {}

    def create(number: int) -> None:
        name = f"b-{number}"
        started[name] = time.monotonic()
        custom.create_namespaced_custom_object(group, version, namespace, plural, make(name))

    with ThreadPoolExecutor(CREATORS) as pool:
        list(pool.map(create, range(runs)))
    deadline = time.monotonic() + TIMEOUT
    while len(arrivals.at.keys() & started.keys()) < runs:
        if time.monotonic() > deadline:
            raise SystemExit(f"{kind}: only {len(arrivals.at)} of {runs} RayClusters within {TIMEOUT} s")
        time.sleep(0.2)
    arrivals.stop()
    settle(client.CoreV1Api(api), namespace, 2 * runs)
    return sorted(arrivals.at[name] - started[name] for name in started)


def settle(core: client.CoreV1Api, namespace: str, pods: int) -> None:
    """Wait until KubeRay has made all pods, a head and a worker for each cluster, and so is idle again."""
    deadline = time.monotonic() + TIMEOUT
    while len(core.list_namespaced_pod(namespace, resource_version="0").items) < pods:
        if time.monotonic() > deadline:
            raise SystemExit(f"{namespace}: KubeRay did not make {pods} pods within {TIMEOUT} s")
        time.sleep(1)
    time.sleep(5)


def quantile(values: list[float], q: float) -> float:
    return values[min(len(values) - 1, round(q * (len(values) - 1)))]


class Process:
    """A controller as a process; ended with the block. Its CPU time and peak memory are read before it ends."""

    def __init__(self, name: str, command: list[str | Path], environment: dict[str, str], folder: Path) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as out:
            self._process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def usage(self) -> tuple[float, float]:
        """CPU seconds so far and peak resident MiB."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return seconds, int(peak.split()[1]) / 1024


def prepare(server: ApiServer) -> client.ApiClient:
    server.apply(ROOT / "manifests" / "crd")
    server.apply(kuberay.sources() / "config" / "crd" / "bases")
    config.load_kube_config(str(server.kubeconfig))
    api = client.ApiClient()
    client.CoreV1Api(api).create_namespace({"metadata": {"name": SYSTEM}})
    return api


def wait_for_lease(api: client.ApiClient) -> None:
    deadline = time.monotonic() + 60
    while not client.CoordinationV1Api(api).list_namespaced_lease(SYSTEM).items:
        if time.monotonic() > deadline:
            raise SystemExit("the operator does not lead within 60 s")
        time.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    runs = parser.parse_args().runs
    console = Console()
    ray_operator = binaries.ensure("ray-operator")
    with tempfile.TemporaryDirectory() as temporary, ApiServer(controllers=True) as server:
        folder = Path(temporary)
        api = prepare(server)
        kubeconfig = {"KUBECONFIG": str(server.kubeconfig)}
        ours = [
            *(sys.executable, "-m", "trainyard_operator", "--namespace", SYSTEM, "--key", "0123456789abcdef"),
            *("--training-image", IMAGE, "--http-host", "127.0.0.1", "--http-port", "18098"),
        ]
        theirs: list[str | Path] = [
            *(ray_operator, "-enable-leader-election=false", "-metrics-addr=127.0.0.1:18097"),
            "-health-probe-bind-address=127.0.0.1:18096",
        ]
        with (
            Process("kuberay", theirs, kubeconfig, folder) as ray,
            Process("trainyard", ours, {**kubeconfig, "PYTHONPATH": str(ROOT / "operator")}, folder) as trainyard,
        ):
            wait_for_lease(api)
            time.sleep(5)
            seconds = {kind: burst(api, kind, runs) for kind in KINDS}
            usage = {"TrainingRun": trainyard.usage(), "RayJob": ray.usage()}
    table = Table("", "p50 s", "p99 s", "last s", "CPU s", "peak MiB", title=f"apply to RayCluster, {runs} at once")
    for kind, values in seconds.items():
        cells = (quantile(values, 0.5), quantile(values, 0.99), values[-1])
        table.add_row(kind, *(f"{v:.2f}" for v in cells), f"{usage[kind][0]:.1f}", f"{usage[kind][1]:.0f}")
    ratios = (quantile(seconds["TrainingRun"], q) / quantile(seconds["RayJob"], q) for q in (0.5, 0.99))
    table.add_row("ratio", *(f"{r:.2f}" for r in ratios), "", "", "")
    console.print(table)
    console.print("CPU and memory of KubeRay's operator include the RayClusters of both halves.")


if __name__ == "__main__":
    main()
