"""A kind cluster in Docker."""

import os
from collections.abc import Mapping
from pathlib import Path

from dev.cluster import binaries, kuberay, paths, storage, waiting
from dev.cluster.commands import run, succeeds
from dev.cluster.images import CODE, LOCAL, Docker, Images, references
from dev.cluster.kubectl import Kubectl
from dev.cluster.steps import STEPS

CLUSTER = "trainyard"
NODE = f"{CLUSTER}-control-plane"
RESULTS = "/var/trainyard-results"
READY_SECONDS = 120


class Kind:
    """One node in a container; its kubeconfig stays out of ~/.kube/config."""

    name = "kind"

    def up(self) -> None:
        self._path().parent.mkdir(parents=True, exist_ok=True)
        if CLUSTER not in self._kind("get", "clusters").split():
            with STEPS.step("creating the kind cluster"):
                self._kind(*self.creation(), log=paths.cache() / "logs" / "kind.log")
        # A container that was stopped (`docker stop`, a restart of the machine) is still listed.
        run(["docker", "start", NODE])
        self._kind("export", "kubeconfig", *self._named())
        kubectl = Kubectl(self._path())
        waiting.until(kubectl.answers, "the API server of the kind cluster", seconds=READY_SECONDS)
        run(["docker", "exec", NODE, "install", "--directory", "--mode=0777", RESULTS])
        kuberay.install_operator(kubectl)
        storage.provide(kubectl, RESULTS)

    def down(self) -> None:
        with STEPS.step("deleting the kind cluster"):
            self._kind("delete", "cluster", *self._named())
        self._path().unlink(missing_ok=True)

    def kubeconfig(self) -> Path | None:
        return self._path() if self._path().exists() else None

    def publish(self) -> Images:
        images = references(LOCAL)
        for target, reference in zip(CODE, images.all(), strict=True):
            if not succeeds(["docker", "exec", NODE, "crictl", "inspecti", reference]):
                with STEPS.step(f"building {reference}"):
                    Docker().build(target, reference)
                with STEPS.step(f"loading {reference} into the node"):
                    self._load(reference)
        return images

    def describe(self) -> list[str]:
        found = ["--all", "--filter", f"name=^{NODE}$", "--format", "{{.Names}} {{.Status}}"]
        return run(["docker", "ps", *found]).splitlines()

    def creation(self) -> list[str]:
        """The arguments that create the cluster; KIND_NODE_IMAGE replaces kind's own node image (kindest/node)."""
        image = os.environ.get("KIND_NODE_IMAGE")
        options = [f"--wait={READY_SECONDS}s", *([f"--image={image}"] if image else [])]
        return ["create", "cluster", *self._named(), *options]

    def _load(self, reference: str) -> None:
        # kind saves the image to a file first: several gigabytes, too many for a /tmp in memory.
        self._kind("load", "docker-image", reference, f"--name={CLUSTER}", env={"TMPDIR": str(paths.cache())})

    @staticmethod
    def _kind(*arguments: str, env: Mapping[str, str] | None = None, log: Path | None = None) -> str:
        return run([binaries.ensure("kind"), *arguments], env=env, log=log)

    def _named(self) -> tuple[str, str]:
        return (f"--name={CLUSTER}", f"--kubeconfig={self._path()}")

    @staticmethod
    def _path() -> Path:
        """A name of its own: `kubeconfig` is that of the single-node provider."""
        return paths.state() / "kind.kubeconfig"
