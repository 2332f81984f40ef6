"""A cluster of your own: nothing of it is made or removed, only KubeRay is added where it is missing."""

import os
from pathlib import Path

from dev.cluster import kuberay, storage
from dev.cluster.errors import ClusterError
from dev.cluster.images import CODE, Docker, Images, references
from dev.cluster.kubectl import Kubectl
from dev.cluster.steps import STEPS


class Existing:
    """The cluster of TRAINYARD_KUBECONFIG (or KUBECONFIG, or ~/.kube/config), its images in TRAINYARD_REGISTRY."""

    name = "existing"

    def up(self) -> None:
        kubectl = Kubectl(self.kubeconfig())
        if not kubectl.answers():
            raise ClusterError(f"the cluster of {kubectl.kubeconfig} does not answer; try `kubectl get nodes` with it")
        kuberay.install_operator(kubectl)
        storage.provide(kubectl, None)

    def down(self) -> None:
        STEPS.say("    this cluster is yours: nothing is removed (helm uninstall trainyard -n trainyard-system)")

    def kubeconfig(self) -> Path:
        default = Path.home() / ".kube" / "config"
        path = Path(os.environ.get("TRAINYARD_KUBECONFIG") or os.environ.get("KUBECONFIG") or default).expanduser()
        if not path.exists():
            raise ClusterError(f"{path} does not exist: set TRAINYARD_KUBECONFIG to the kubeconfig of your cluster")
        return path.resolve()

    def publish(self) -> Images:
        registry = os.environ.get("TRAINYARD_REGISTRY")
        if not registry:
            raise ClusterError(
                "set TRAINYARD_REGISTRY to a registry that your cluster pulls from and that `docker push` reaches "
                "(TRAINYARD_REGISTRY=registry.example.org/team)"
            )
        images = references(f"{registry.rstrip('/')}/")
        for target, reference in zip(CODE, images.all(), strict=True):
            with STEPS.step(f"building and pushing {reference}"):
                Docker().build(target, reference)
                Docker().push(reference)
        return images

    def describe(self) -> list[str]:
        return [f"kubeconfig {self.kubeconfig()}"]
