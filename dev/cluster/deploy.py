"""Install or upgrade the operator on the cluster with the chart."""

import json
from pathlib import Path
from typing import Any

from dev.cluster import binaries, paths, waiting
from dev.cluster.commands import run
from dev.cluster.errors import ClusterError
from dev.cluster.images import Images
from dev.cluster.kubectl import Kubectl
from dev.cluster.steps import STEPS

RELEASE = "trainyard"
NAMESPACE = "trainyard-system"
DEPLOYMENT = "trainyard"
CHART = paths.REPOSITORY / "charts" / "trainyard"
READY_SECONDS = 180.0
HOPELESS = frozenset(
    {"CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerError"}
)
"""Reasons of a waiting container that time alone does not cure."""


def values(images: Images) -> dict[str, str]:
    """The chart values that name our images."""
    named = {"image": images.operator, "training.image": images.training}
    split = {prefix: reference.rpartition(":") for prefix, reference in named.items()}
    return {
        f"{prefix}.{field}": part
        for prefix, (repository, _, tag) in split.items()
        for field, part in (("repository", repository), ("tag", tag))
    }


def install(kubeconfig: Path, images: Images) -> None:
    """Returns when every pod of the new operator is ready; the chart brings the CRDs too."""
    settings = [word for name, value in values(images).items() for word in ("--set-string", f"{name}={value}")]
    helm: list[str | Path] = [binaries.ensure("helm"), f"--kubeconfig={kubeconfig}", f"--namespace={NAMESPACE}"]
    kubectl = Kubectl(kubeconfig)
    with STEPS.step("installing the operator with Helm"):
        run([*helm, "upgrade", "--install", RELEASE, CHART, "--create-namespace", *settings])
    with STEPS.step("waiting for the operator"):
        waiting.until(
            lambda: is_rolled_out(_get(kubectl, "deployment", DEPLOYMENT)),
            "the operator",
            seconds=READY_SECONDS,
            check=lambda: _check_pods(kubectl, images.operator),
        )


def is_rolled_out(deployment: dict[str, Any]) -> bool:
    """Whether every replica is of the newest template and ready, as `kubectl rollout status` decides it."""
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    counts = {name: status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
    observed = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return observed and set(counts.values()) == {wanted}


def hopeless(pods: list[dict[str, Any]], image: str) -> list[tuple[str, str]]:
    """Pods of that image that will not start, each with its reason."""
    found = []
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", []):
            waiting_for = container.get("state", {}).get("waiting", {})
            if pod["spec"]["containers"][0]["image"] == image and waiting_for.get("reason") in HOPELESS:
                text = f"{waiting_for['reason']}: {waiting_for.get('message', '')}"
                found.append((pod["metadata"]["name"], text))
    return found


def _get(kubectl: Kubectl, *what: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(kubectl("get", *what, f"--namespace={NAMESPACE}", "--output=json"))
    return answer


def _check_pods(kubectl: Kubectl, image: str) -> None:
    """Raise with the end of its log when an operator pod cannot start."""
    for pod, reason in hopeless(_get(kubectl, "pods")["items"], image):
        log = kubectl("logs", pod, f"--namespace={NAMESPACE}", "--tail=20", "--previous=true", "--ignore-errors=true")
        raise ClusterError(f"the operator's pod {pod} does not start: {reason}\n{log}")
