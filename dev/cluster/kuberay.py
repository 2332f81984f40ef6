"""KubeRay: its CRDs and, in a cluster that has none, its operator."""

import shutil
from pathlib import Path

from dev.cluster import binaries
from dev.cluster.kubectl import Kubectl
from dev.cluster.steps import STEPS

MODULE = "github.com/ray-project/kuberay/ray-operator"
RELEASED = f"https://{MODULE}/config/default?ref=v1.6.2"
"""The same files for a machine without Go (kubectl needs git for it)."""

RAY_CLUSTERS = "rayclusters.ray.io"
DEPLOYMENT = "kuberay-operator"


def sources() -> Path:
    """The folder of the pinned ray-operator module."""
    return binaries.module_folder(MODULE)


def install_definitions(kubectl: Kubectl) -> None:
    """The CRDs, server-side: they are too large for a client-side apply. Nothing is done when they are there."""
    if kubectl.has_definition(RAY_CLUSTERS):
        return
    with STEPS.step("installing KubeRay's resource definitions"):
        kubectl("apply", "--server-side", "--force-conflicts", f"--filename={sources() / 'config' / 'crd' / 'bases'}")
        kubectl("wait", "customresourcedefinition", RAY_CLUSTERS, "--for=condition=Established", "--timeout=60s")


def install_operator(kubectl: Kubectl) -> None:
    """KubeRay as a Deployment from its released image, in a cluster that can pull it and has no KubeRay yet."""
    if not kubectl.has_definition(RAY_CLUSTERS):
        with STEPS.step("installing KubeRay"):
            kustomization = sources() / "config" / "default" if shutil.which("go") else RELEASED
            kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={kustomization}")
    elif not kubectl.exists("deployment", DEPLOYMENT, "--namespace=default"):
        STEPS.say("    KubeRay is installed")
        return
    # Also after an earlier `up` that ended while its image was being pulled.
    with STEPS.step("waiting for KubeRay (its first start pulls its image)"):
        kubectl("rollout", "status", f"deployment/{DEPLOYMENT}", "--namespace=default", "--timeout=300s")


def host_process(port: int) -> list[str | Path]:
    """KubeRay outside the cluster: it reaches the dashboards through the API server's service proxy."""
    return [
        binaries.ensure("ray-operator"),
        "-enable-leader-election=false",
        "-use-kubernetes-proxy",
        f"-metrics-addr=127.0.0.1:{port}",
        "-health-probe-bind-address=0",
    ]
