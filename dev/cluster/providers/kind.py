"""A kind cluster in Docker."""

from pathlib import Path

from dev.cluster import binaries, kuberay, paths, storage
from dev.cluster.commands import run, succeeds
from dev.cluster.images import CODE, Docker, Images, references
from dev.cluster.kubectl import Kubectl
from dev.cluster.steps import STEPS

CLUSTER = "trainyard"
NODE = f"{CLUSTER}-control-plane"
RESULTS = "/var/trainyard-results"


class Kind:
    """One node in a container; its kubeconfig stays out of ~/.kube/config."""

    name = "kind"

    def up(self) -> None:
        if CLUSTER not in run([binaries.ensure("kind"), "get", "clusters"]).split():
            with STEPS.step("creating the kind cluster"):
                self._path().parent.mkdir(parents=True, exist_ok=True)
                arguments = ["create", "cluster", f"--name={CLUSTER}", f"--kubeconfig={self._path()}", "--wait=120s"]
                run([binaries.ensure("kind"), *arguments], log=paths.cache() / "logs" / "kind.log")
        run([binaries.ensure("kind"), "export", "kubeconfig", f"--name={CLUSTER}", f"--kubeconfig={self._path()}"])
        run(["docker", "exec", NODE, "install", "--directory", "--mode=0777", RESULTS])
        kubectl = Kubectl(self._path())
        kuberay.install_operator(kubectl)
        storage.provide(kubectl, RESULTS)

    def down(self) -> None:
        with STEPS.step("deleting the kind cluster"):
            run([binaries.ensure("kind"), "delete", "cluster", f"--name={CLUSTER}"])

    def kubeconfig(self) -> Path | None:
        return self._path() if self._path().exists() else None

    def publish(self) -> Images:
        images = references("trainyard.local/")
        for target, reference in zip(CODE, images.all(), strict=True):
            with STEPS.step(f"building {reference}"):
                Docker().build(target, reference)
            if not succeeds(["docker", "exec", NODE, "crictl", "inspecti", reference]):
                with STEPS.step(f"loading {reference} into the node"):
                    run([binaries.ensure("kind"), "load", "docker-image", reference, f"--name={CLUSTER}"])
        return images

    def describe(self) -> list[str]:
        return run(["docker", "ps", "--filter", f"name={NODE}", "--format", "{{.Names}} {{.Status}}"]).splitlines()

    @staticmethod
    def _path() -> Path:
        return paths.state() / "kubeconfig"
