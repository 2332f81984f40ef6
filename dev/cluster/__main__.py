"""`python -m dev.cluster COMMAND`: progress goes to standard error, results to standard output."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from dev.cluster import binaries, deploy, paths, providers
from dev.cluster.errors import ClusterError
from dev.cluster.kubectl import Kubectl
from dev.cluster.locks import exclusive
from dev.cluster.steps import STEPS


def up(provider: providers.Provider) -> None:
    with exclusive(paths.cache() / "locks" / "cluster.lock"), STEPS.step(f"cluster ({provider.name})"):
        if provider.name == "existing":
            provider.up()
        else:
            providers.refuse_second(provider.name)
            provider.up()
            providers.record().write_text(provider.name)
    print(current(provider))


def down(provider: providers.Provider) -> None:
    with exclusive(paths.cache() / "locks" / "cluster.lock"):
        provider.down()
        if providers.recorded() == provider.name:
            providers.record().unlink()


def status(provider: providers.Provider) -> None:
    path = provider.kubeconfig()
    print(f"provider: {provider.name}")
    for line in provider.describe():
        print(line)
    print(f"kubeconfig: {path}" if path and Kubectl(path).answers() else "no cluster answers")


def kubeconfig(provider: providers.Provider) -> None:
    print(current(provider))


def images(provider: providers.Provider) -> None:
    current(provider)
    for reference in provider.publish().all():
        print(reference)


def install(provider: providers.Provider) -> None:
    deploy.install(current(provider), provider.publish())


def assets(_: providers.Provider) -> None:
    print(binaries.assets())


def current(provider: providers.Provider) -> Path:
    """The kubeconfig of the cluster that is up."""
    path = provider.kubeconfig()
    if path is None:
        raise ClusterError("no cluster is up: python -m dev.cluster up")
    return path


COMMANDS: dict[str, tuple[Callable[[providers.Provider], None], str]] = {
    "up": (up, "bring up (or find) a cluster with KubeRay; prints its kubeconfig"),
    "down": (down, "remove the cluster and everything it put on this machine"),
    "status": (status, "what runs"),
    "kubeconfig": (kubeconfig, "print the path of the kubeconfig"),
    "images": (images, "build both images and make the cluster able to run them; prints their references"),
    "deploy": (install, "images, then install or upgrade the operator with Helm"),
    "assets": (assets, "print a folder with kube-apiserver, etcd and kubectl (for API-server tests)"),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m dev.cluster", description="A Kubernetes cluster for development.")
    top.add_argument(
        "--provider",
        choices=list(providers.PROVIDERS),
        help="existing: the cluster of TRAINYARD_KUBECONFIG or KUBECONFIG; kind: in Docker; node: this machine "
        "(default: the one that is up, otherwise the first of these that works)",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for name, (function, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
    return top


def main() -> int:
    arguments = parser().parse_args()
    try:
        arguments.function(providers.choose(arguments.provider))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
