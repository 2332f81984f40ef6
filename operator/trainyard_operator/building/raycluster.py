"""The RayCluster of an attempt, and the Secret with its token. Pure.

With these settings a head answers soonest (docs/decisions/0001 and docs/benchmarks.md): no CPU limit, but an explicit
`num-cpus`; no autoscaler monitor; a readiness probe every second; a short grace period.
"""

import copy
from collections.abc import Mapping
from typing import Any

from trainyard_operator import names, quantity
from trainyard_operator.building.sizing import PodSize, Size
from trainyard_operator.building.storage import effective_storage
from trainyard_operator.model import Manifest, Run
from trainyard_operator.settings import TrainingDefaults
from trainyard_operator.vocabulary import GROUP, KIND, VERSION

RAY_CONTAINER = "ray"
STORAGE_MOUNT = "/trainyard/storage"
DATABASE_VARIABLE = "TRAINYARD_DATABASE_URL"
DATABASE_SECRET_KEY = "url"
WORKER_GROUP = "worker"
HEALTH_PORT = 52365
GRACE_PERIOD = 5
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"


def token_secret(run: Run, token: str) -> Manifest:
    """The Secret that KubeRay gives to the pods. KubeRay does not change an existing Secret."""
    name = names.cluster_name(run.key.name, run.uid, run.status.attempt)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": _metadata(run, name),
        "type": "Opaque",
        "stringData": {"auth_token": token},
    }


def ray_cluster(run: Run, size: Size, defaults: TrainingDefaults) -> Manifest:
    """The RayCluster of the run's current attempt."""
    cluster = run.spec.get("cluster", {})
    metadata = _metadata(run, names.cluster_name(run.key.name, run.uid, run.status.attempt))
    metadata["labels"] = {**cluster.get("labels", {}), **metadata["labels"]}
    if "queueName" in cluster:
        metadata["labels"][QUEUE_LABEL] = cluster["queueName"]
    metadata["annotations"] = {
        **cluster.get("annotations", {}),
        "ray.io/disable-provisioned-head-restart": "true",
        names.ANNOTATION_GENERATION: str(run.generation),
    }
    spec: dict[str, Any] = {
        "rayVersion": run.spec.get("rayVersion", defaults.ray_version),
        "headGroupSpec": {
            "rayStartParams": {**_start_params(size.head), "no-monitor": "true"},
            "template": _template(run, size.head, defaults, cluster.get("head", {}), head=True),
        },
        "workerGroupSpecs": [],
    }
    if uses_token(run.spec):
        spec["authOptions"] = {"mode": "token"}
    if size.worker:
        spec["workerGroupSpecs"] = [
            {
                "groupName": WORKER_GROUP,
                "replicas": size.workers,
                "minReplicas": size.workers,
                "maxReplicas": size.workers,
                "rayStartParams": _start_params(size.worker),
                "template": _template(run, size.worker, defaults, cluster.get("worker", {}), head=False),
            }
        ]
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": metadata, "spec": spec}


def owner_reference(run: Run) -> Manifest:
    """The run owns the objects that it creates: deleting the run deletes them."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "name": run.key.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def uses_token(spec: Mapping[str, Any]) -> bool:
    return bool(spec.get("cluster", {}).get("auth", "Token") == "Token")


def run_labels(run: Run) -> dict[str, str]:
    return {
        names.LABEL_RUN: run.key.name,
        names.LABEL_RUN_UID: run.uid,
        names.LABEL_ATTEMPT: str(run.status.attempt),
        "app.kubernetes.io/managed-by": "trainyard",
    }


def _metadata(run: Run, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": run.key.namespace,
        "labels": run_labels(run),
        "ownerReferences": [owner_reference(run)],
    }


def _start_params(pod: PodSize) -> dict[str, str]:
    return {"num-cpus": str(pod.logical_cpus), "disable-usage-stats": "true"}


def _template(run: Run, pod: PodSize, defaults: TrainingDefaults, asked: Mapping[str, Any], *, head: bool) -> Manifest:
    labels = {**run.spec.get("cluster", {}).get("labels", {}), **run_labels(run)}
    spec: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_PERIOD,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": 1000,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_ray_container(run, pod, defaults)],
    }
    if head:
        if secret := run.spec.get("recording", {}).get("database", {}).get("secretRef"):
            # The recorder runs on the driver's node, so no worker needs the database's password.
            source = {"secretKeyRef": {"name": secret["name"], "key": DATABASE_SECRET_KEY}}
            spec["containers"][0].setdefault("env", []).append({"name": DATABASE_VARIABLE, "valueFrom": source})
        # When the container ends, Ray forgets the job: a new attempt is better than a head that restarts in place.
        spec["restartPolicy"] = "Never"
    storage = effective_storage(run.spec, defaults) or {}
    if claim := storage.get("persistentVolumeClaim"):
        source = {"claimName": claim["claimName"]}
        spec["volumes"] = [{"name": "storage", "persistentVolumeClaim": source}]
    if spread := run.spec.get("cluster", {}).get("spread"):
        spec["affinity"] = {"podAntiAffinity": _apart(run, required=spread == "Required")}
    generated = {"metadata": {"labels": labels}, "spec": spec}
    return merge_template(generated, asked["template"]) if "template" in asked else generated


def _ray_container(run: Run, pod: PodSize, defaults: TrainingDefaults) -> Manifest:
    storage = effective_storage(run.spec, defaults) or {}
    memory = quantity.memory(pod.memory)
    limits: dict[str, Any] = {"memory": memory}
    if pod.gpus:
        limits["nvidia.com/gpu"] = pod.gpus
    container: dict[str, Any] = {
        "name": RAY_CONTAINER,
        "image": run.spec.get("image", defaults.image),
        "resources": {"requests": {"cpu": quantity.cpu(pod.cpu), "memory": memory}, "limits": limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "readinessProbe": {
            "httpGet": {"path": "/api/healthz", "port": HEALTH_PORT},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
            "failureThreshold": 10,
        },
    }
    if not uses_token(run.spec):
        # Always explicit: Ray turns authentication on by itself if it finds a token file in the image.
        container["env"] = [{"name": "RAY_AUTH_MODE", "value": "disabled"}]
    if policy := run.spec.get("imagePullPolicy", defaults.image_pull_policy):
        container["imagePullPolicy"] = policy
    if claim := storage.get("persistentVolumeClaim"):
        mount = {"name": "storage", "mountPath": STORAGE_MOUNT}
        container["volumeMounts"] = [mount | ({"subPath": claim["subPath"]} if claim.get("subPath") else {})]
    if secret := storage.get("secretRef"):
        container["envFrom"] = [{"secretRef": {"name": secret["name"]}}]
    return container


def _apart(run: Run, *, required: bool) -> Manifest:
    """Keep the run's pods on different nodes."""
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {names.LABEL_RUN_UID: run.uid}},
    }
    if required:
        return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}


_LIST_KEYS = {"volumeMounts": "mountPath", "tolerations": "key", "ports": "containerPort"}


def merge_template(generated: Manifest, over: Manifest) -> Manifest:
    """A pod template with the user's part merged into it, like a strategic merge: named items of lists merge by name.

    The Ray container stays the first container, as KubeRay requires.
    """
    merged = _merge(generated, over, "")
    assert isinstance(merged, dict)
    return merged


def _merge(base: Any, over: Any, key: str) -> Any:
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        result = dict(copy.deepcopy(base))
        for name, value in over.items():
            result[name] = _merge(base[name], value, name) if name in base else copy.deepcopy(value)
        return result
    by = _LIST_KEYS.get(key, "name")
    if isinstance(base, list) and isinstance(over, list) and all(by in item for item in [*base, *over]):
        added = {item[by]: item for item in over}
        kept = [_merge(item, added.pop(item[by]), "") if item[by] in added else copy.deepcopy(item) for item in base]
        return [*kept, *(copy.deepcopy(item) for item in added.values())]
    return copy.deepcopy(over)
