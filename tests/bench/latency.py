"""Latency of a TrainingRun against KubeRay's RayJob: the same work, the same size of pods, the same node, alternating.

`make bench-latency` prints the tables of docs/benchmarks.md. First a driver that sleeps 4 s on a head and one worker
pod; then PPO on CartPole until its first iteration is done, as an `algorithm` run and as a plain RLlib script. Drivers
report their moments by a request to this process; an algorithm run's first iteration is read from /metrics.
"""

import argparse
import json
import re
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kubernetes import client, config, watch
from rich.console import Console
from rich.table import Table

from dev.demo import current_kubeconfig

Object = dict[str, Any]
Api = tuple[str, str, str, str]
NAMESPACE = "default"
RUNS = ("trainyard.dev", "v1alpha1", NAMESPACE, "trainingruns")
JOBS = ("ray.io", "v1", NAMESPACE, "rayjobs")
CLUSTERS = ("ray.io", "v1", NAMESPACE, "rayclusters")
TIMEOUT = 240
MARKS = ("RayCluster", "driver running", "first iteration", "job end", "RayCluster gone")

SLEEP = """
import time, urllib.request
tell = lambda mark: urllib.request.urlopen("{address}/{name}/" + mark).read()
tell("driver-running")
import ray
ray.init()
time.sleep(4)
tell("job-end")
"""

PPO = """
import urllib.request
tell = lambda mark: urllib.request.urlopen("{address}/{name}/" + mark).read()
tell("driver-running")
import ray
ray.init()
from ray.rllib.algorithms.ppo import PPOConfig
config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=1, num_envs_per_env_runner=8)
algorithm = config.training(lr=3e-4, gamma=0.99).build_algo()
algorithm.train()
tell("first-iteration")
algorithm.stop()
tell("job-end")
"""


@dataclass
class Clock:
    """Collects the moments that drivers report over HTTP, by the name of the run."""

    marks: dict[str, dict[str, float]] = field(default_factory=dict)

    def mark(self, name: str, what: str) -> None:
        self.marks.setdefault(name, {}).setdefault(what, time.time())

    def serve(self, host: str) -> str:
        clock = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                _, name, what = self.path.split("/")
                clock.mark(name, what)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Requests are the measurement, not news."""

        server = ThreadingHTTPServer((host, 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://{host}:{server.server_address[1]}"


def pod(image: str, *, head: bool) -> Object:
    """A Ray pod as a careful RayJob user writes it."""
    resources = {"cpu": "500m" if head else "250m", "memory": "3Gi" if head else "1500Mi"}
    limits = {"cpu": "1", "memory": resources["memory"]}
    return {
        "spec": {
            "containers": [
                {
                    "name": "ray-head" if head else "ray-worker",
                    "image": image,
                    "resources": {"requests": resources, "limits": limits},
                }
            ]
        }
    }


def rayjob(name: str, program: str, image: str, ray_version: str) -> Object:
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": f"python -c '{program}'",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 0,
            "submitterPodTemplate": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "submitter", "image": image}]}
            },
            "rayClusterSpec": {
                "rayVersion": ray_version,
                "headGroupSpec": {"rayStartParams": {}, "template": pod(image, head=True)},
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": 1,
                        "minReplicas": 1,
                        "maxReplicas": 1,
                        "rayStartParams": {},
                        "template": pod(image, head=False),
                    }
                ],
            },
        },
    }


def training_run(name: str, work: Object) -> Object:
    spec = {**work, "cluster": {"worker": {"replicas": 1}}, "backoffLimit": 0}
    return {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}


def sleeping_run(name: str, program: str) -> Object:
    return training_run(name, {"entrypoint": f"python -c '{program}'", "resources": {"cpus": 1}})


def ppo_run(name: str, program: str) -> Object:
    """The PPO script's work, said as a TrainingRun."""
    del program
    work = {
        "algorithm": {"name": "PPO", "config": {"lr": 3e-4, "gamma": 0.99}},
        "environment": {"name": "CartPole-v1"},
        "sampling": {"envRunners": 1, "envsPerRunner": 8},
        "stop": {"iterations": 1},
    }
    return training_run(name, work)


def measure(custom: client.CustomObjectsApi, clock: Clock, api: Api, body: Object) -> Object:
    """Create the object, wait until its cluster is gone, delete it; seconds from the create call by mark."""
    name = body["metadata"]["name"]
    seen = threading.Thread(target=watch_clusters, args=(custom, clock, name), daemon=True)
    seen.start()
    if "algorithm" in body["spec"]:
        threading.Thread(target=watch_iterations, args=(clock, name), daemon=True).start()
    time.sleep(0.5)
    started = time.time()
    custom.create_namespaced_custom_object(*api, body)
    seen.join(TIMEOUT)
    marks = {what.replace("-", " "): at - started for what, at in clock.marks.get(name, {}).items()}
    if "RayCluster gone" not in marks:
        run = custom.get_namespaced_custom_object(*api, name)
        raise SystemExit(f"{name} did not finish within {TIMEOUT} s: {json.dumps(run.get('status'), indent=1)}")
    custom.delete_namespaced_custom_object(*api, name)
    if "job end" in marks:
        marks["job end to cluster gone"] = marks["RayCluster gone"] - marks["job end"]
    return marks


def watch_clusters(custom: client.CustomObjectsApi, clock: Clock, name: str) -> None:
    """Mark when the run's RayCluster appears and when it is gone."""
    for event in watch.Watch().stream(custom.list_namespaced_custom_object, *CLUSTERS, timeout_seconds=TIMEOUT):
        if not event["object"]["metadata"]["name"].startswith(name):
            continue
        clock.mark(name, "RayCluster")
        if event["type"] == "DELETED":
            clock.mark(name, "RayCluster gone")
            return


def watch_iterations(clock: Clock, name: str) -> None:
    """Mark when the operator's /metrics first show a finished iteration of the run (at most its poll interval late)."""
    core, series = (
        client.CoreV1Api(),
        re.compile(rf'^trainyard_run_iterations?(_total)?{{[^}}]*name="{name}"[^}}]*}} (\S+)', re.M),
    )
    while "RayCluster gone" not in clock.marks.get(name, {}):
        text = core.connect_get_namespaced_service_proxy_with_path("trainyard:8080", "trainyard-system", "metrics")
        found = series.search(text)
        if found and float(found.group(2)) >= 1:
            clock.mark(name, "first-iteration")
            return
        time.sleep(0.2)


def settle(core: client.CoreV1Api) -> None:
    """Wait until no Ray pod is left, so that repeats do not disturb each other."""
    while core.list_namespaced_pod(NAMESPACE, label_selector="ray.io/is-ray-node=yes").items:
        time.sleep(1)
    time.sleep(2)


def training_image(core: client.CoreV1Api) -> str:
    """The image that the installed operator gives to runs: both systems get the same."""
    settings = core.read_namespaced_config_map("trainyard-settings", "trainyard-system").data
    return str(settings["TRAINYARD_OPERATOR_TRAINING_IMAGE"])


def node_address(core: client.CoreV1Api) -> str:
    (node, *_) = core.list_node().items
    return str(next(a.address for a in node.status.addresses if a.type == "InternalIP"))


def table(title: str, runs: list[Object], jobs: list[Object]) -> Table:
    shown = Table("seconds after apply (median, min-max)", "TrainingRun", "RayJob", "ratio", title=title)
    for mark in (*MARKS, "job end to cluster gone"):
        ours, theirs = ([m[mark] for m in rows if mark in m] for rows in (runs, jobs))
        if ours and theirs:
            ratio = statistics.median(ours) / statistics.median(theirs)
            shown.add_row(mark, spread(ours), spread(theirs), f"{ratio:.2f}")
    return shown


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    config.load_kube_config(current_kubeconfig())
    custom, core, clock, console = client.CustomObjectsApi(), client.CoreV1Api(), Clock(), Console()
    address = clock.serve(node_address(core))
    image = training_image(core)
    stamp = int(time.time()) % 100_000

    def job(name: str, text: str) -> Object:
        return rayjob(name, text, image, "2.60.0")

    for title, program, ours in (
        ("a driver that sleeps 4 s", SLEEP, sleeping_run),
        ("PPO on CartPole, one iteration", PPO, ppo_run),
    ):
        rows: dict[str, list[Object]] = {"run": [], "job": []}
        makers: dict[str, tuple[Api, Callable[[str, str], Object]]] = {"run": (RUNS, ours), "job": (JOBS, job)}
        for repeat in range(repeats):
            for kind, (api, make) in makers.items():
                name = f"bench-{kind}-{stamp}-{repeat}-{len(program) % 97}"
                settle(core)
                marks = measure(custom, clock, api, make(name, program.format(address=address, name=name)))
                console.print(
                    f"{title}, repeat {repeat + 1}, {kind}: {json.dumps({k: round(v, 1) for k, v in marks.items()})}"
                )
                rows[kind].append(marks)
        console.print(table(title, rows["run"], rows["job"]))


if __name__ == "__main__":
    main()
