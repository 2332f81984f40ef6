"""What the end-to-end tests do to a cluster: apply, wait, look, break things. No operator code is used."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

Object = dict[str, Any]
GROUP, VERSION, PLURAL = "trainyard.dev", "v1alpha1", "trainingruns"
OPERATOR_NAMESPACE = "trainyard-system"


class Cluster:
    def __init__(self, api: client.ApiClient, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
        self.core = client.CoreV1Api(api)
        self.apps = client.AppsV1Api(api)
        self.custom = client.CustomObjectsApi(api)
        self.coordination = client.CoordinationV1Api(api)

    # -- namespaces
    def create_namespace(self, label: str) -> str:
        name = "e2e-" + re.sub(r"[^a-z0-9]+", "-", label.lower())[:40].strip("-") + f"-{int(time.time()) % 100000}"
        self.core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
        return name

    def delete_namespace(self, name: str) -> None:
        self.core.delete_namespace(name)

    # -- runs
    def apply(self, namespace: str, name: str, spec: Object) -> Object:
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "TrainingRun", "metadata": {"name": name}, "spec": spec}
        return self.custom.create_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, body)

    def apply_file(self, namespace: str, path: Path) -> str:
        """Apply a sample as a user does, into the namespace; returns the run's name."""
        (run,) = [d for d in yaml.safe_load_all(path.read_text()) if d and d["kind"] == "TrainingRun"]
        self.kubectl("apply", "-n", namespace, "-f", str(path))
        return run["metadata"]["name"]

    def get(self, namespace: str, name: str) -> Object:
        return self.custom.get_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)

    def patch(self, namespace: str, name: str, spec: Object) -> None:
        self.custom.patch_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name, {"spec": spec})

    def delete(self, namespace: str, name: str) -> None:
        self.custom.delete_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL, name)

    def delete_runs(self, namespace: str) -> None:
        for run in self.custom.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)["items"]:
            self.delete(namespace, run["metadata"]["name"])

    def wait(
        self, namespace: str, name: str, until: Callable[[Object], bool], what: str, timeout: float = 120
    ) -> Object:
        """The run as soon as `until(run)` holds; fails with its whole status otherwise."""
        deadline = time.monotonic() + timeout
        while True:
            run = self.get(namespace, name)
            if until(run):
                return run
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{name}: no {what} within {timeout:.0f} s; status: {json.dumps(run.get('status'), indent=1)}"
                )
            time.sleep(0.3)

    def wait_phase(self, namespace: str, name: str, phase: str, timeout: float = 120) -> Object:
        return self.wait(namespace, name, lambda run: status(run).get("phase") == phase, f"phase {phase}", timeout)

    # -- what belongs to runs
    def ray_clusters(self, namespace: str) -> list[Object]:
        return self.custom.list_namespaced_custom_object("ray.io", "v1", namespace, "rayclusters")["items"]

    def patch_ray_cluster(self, namespace: str, name: str, spec: Object) -> None:
        self.custom.patch_namespaced_custom_object("ray.io", "v1", namespace, "rayclusters", name, {"spec": spec})

    def pods(self, namespace: str, selector: str = "") -> list[Any]:
        return self.core.list_namespaced_pod(namespace, label_selector=selector).items

    def head_pod(self, namespace: str) -> Any:
        (pod,) = [p for p in self.pods(namespace, "ray.io/node-type=head") if p.metadata.deletion_timestamp is None]
        return pod

    def events(self, namespace: str) -> list[str]:
        return [f"{e.reason}: {e.message}" for e in self.core.list_namespaced_event(namespace).items]

    def leftovers(self, namespace: str) -> list[str]:
        """Everything in the namespace that a run could leave: RayClusters, pods, Services, Secrets, ConfigMaps."""
        own = [f"RayCluster/{c['metadata']['name']}" for c in self.ray_clusters(namespace)]
        own += [f"Pod/{p.metadata.name}" for p in self.pods(namespace)]
        own += [f"Service/{s.metadata.name}" for s in self.core.list_namespaced_service(namespace).items]
        own += [f"Secret/{s.metadata.name}" for s in self.core.list_namespaced_secret(namespace).items]
        own += [
            f"ConfigMap/{c.metadata.name}"
            for c in self.core.list_namespaced_config_map(namespace).items
            if c.metadata.name != "kube-root-ca.crt"
        ]
        return own

    def wait_until_clean(self, namespace: str, timeout: float = 60, ignore: Collection[str] = ()) -> list[str]:
        deadline = time.monotonic() + timeout
        while (left := [x for x in self.leftovers(namespace) if x not in ignore]) and time.monotonic() < deadline:
            time.sleep(0.5)
        return left

    def wait_cluster_gone(self, namespace: str, timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while self.ray_clusters(namespace) or self.pods(namespace, "ray.io/is-ray-node"):
            assert time.monotonic() < deadline, f"RayClusters or pods still there: {self.leftovers(namespace)}"
            time.sleep(0.3)

    # -- the operator
    def operator_pods(self) -> list[Any]:
        pods = self.pods(OPERATOR_NAMESPACE, "app.kubernetes.io/name=trainyard")
        return [p for p in pods if p.metadata.deletion_timestamp is None]

    def leader(self) -> str:
        """Name of the operator pod that holds the Lease."""
        (lease,) = self.coordination.list_namespaced_lease(OPERATOR_NAMESPACE).items
        return str(lease.spec.holder_identity).split("_")[0]

    def scale_operator(self, replicas: int) -> None:
        (deployment,) = self.apps.list_namespaced_deployment(OPERATOR_NAMESPACE).items
        name = deployment.metadata.name
        self.apps.patch_namespaced_deployment_scale(name, OPERATOR_NAMESPACE, {"spec": {"replicas": replicas}})
        deadline = time.monotonic() + 60
        while True:
            pods = self.operator_pods()
            if len(pods) == replicas and all(is_ready(p) for p in pods):
                return
            assert time.monotonic() < deadline, (
                f"operator not at {replicas} ready replicas: {[p.metadata.name for p in pods]}"
            )
            time.sleep(0.5)

    def signal_operator(self, pod: str, signal: str) -> None:
        """Send a signal to the operator process, which is a child of the container's init."""
        script = (
            "import os, signal, pathlib\n"
            "for p in pathlib.Path('/proc').glob('[0-9]*'):\n"
            "    words = (p / 'cmdline').read_bytes().split(b'\\0')\n"
            "    if int(p.name) not in (1, os.getpid()) and any(b'trainyard' in w for w in words[:3]):\n"
            f"        os.kill(int(p.name), signal.{signal}); print(p.name)\n"
        )
        out = self.kubectl("exec", "-n", OPERATOR_NAMESPACE, pod, "--", "python3", "-c", script)
        assert out.strip(), f"no operator process found in pod {pod}"

    def metrics_text(self) -> str:
        """/metrics of the Lease holder, through the API server's proxy."""
        return self.core.connect_get_namespaced_pod_proxy_with_path(
            f"{self.leader()}:8080", OPERATOR_NAMESPACE, "metrics"
        )

    # -- kubectl
    def kubectl(self, *arguments: str) -> str:
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def describe(self, namespace: str) -> str:
        runs = self.custom.list_namespaced_custom_object(GROUP, VERSION, namespace, PLURAL)["items"]
        parts = [json.dumps(run.get("status"), indent=1) for run in runs]
        parts += [f"pod {p.metadata.name}: {p.status.phase}" for p in self.pods(namespace)]
        parts += self.events(namespace)
        try:
            parts.append(
                self.kubectl("logs", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=trainyard", "--tail=60")
            )
        except (AssertionError, ApiException) as error:
            parts.append(f"no operator logs: {error}")
        return "\n".join(parts)


def status(run: Object) -> Object:
    return run.get("status") or {}


def condition(run: Object, kind: str) -> Object:
    """The condition of that type, {} when there is none."""
    return next((c for c in status(run).get("conditions", []) if c["type"] == kind), {})


def is_ready(pod: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or [])
