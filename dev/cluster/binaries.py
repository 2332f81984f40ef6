"""Programs built once from the pinned Go modules in dev/tools, kept in the cache under a key of their inputs."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import paths
from dev.cluster.commands import run
from dev.cluster.errors import ClusterError, MissingPrerequisite
from dev.cluster.locks import exclusive
from dev.cluster.steps import STEPS

STRIP = ("-s", "-w")
GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
KUBERNETES_VERSION = "v1.34.4"


@dataclass(frozen=True)
class Tool:
    """One program: the folder of dev/tools that pins it and the package that builds it."""

    name: str
    module: str
    package: str
    ldflags: tuple[str, ...] = STRIP


def _kubernetes(name: str) -> Tool:
    versions = tuple(
        f"-X {package}.gitVersion={KUBERNETES_VERSION}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    )
    return Tool(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", STRIP + versions)


def _helm() -> Tool:
    """Helm's own build stamps the Kubernetes version that it takes for granted without a cluster (else 1.20)."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    versions = tuple(
        f"-X helm.sh/helm/v3/pkg/{package}.k8sVersion{part}={number}"
        for package in ("chartutil", "lint/rules")
        for part, number in (("Major", major), ("Minor", minor))
    )
    own = "-X helm.sh/helm/v3/internal/version.version=v3.19.0"
    return Tool("helm", "helm", "helm.sh/helm/v3/cmd/helm", (*STRIP, own, *versions))


TOOLS = {
    tool.name: tool
    for tool in (
        _kubernetes("kube-apiserver"),
        _kubernetes("kube-controller-manager"),
        _kubernetes("kube-scheduler"),
        _kubernetes("kubelet"),
        _kubernetes("kube-proxy"),
        _kubernetes("kubectl"),
        Tool("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
        Tool("ray-operator", "kuberay", "github.com/ray-project/kuberay/ray-operator"),
        Tool("coredns", "coredns", "github.com/coredns/coredns"),
        _helm(),
        Tool("kind", "kind", "sigs.k8s.io/kind"),
    )
}

PREFER_INSTALLED = frozenset({"kubectl", "helm", "kind"})
"""Clients whose exact version does not matter: one on PATH is used before anything is built."""

ASSETS = ("kube-apiserver", "etcd", "kubectl")
"""What API-server tests need."""


def cache_key(tool: Tool, files: Iterable[bytes], target: str) -> str:
    """Twelve hexadecimal digits of everything that decides what the binary is."""
    digest = hashlib.sha256()
    for part in (tool.package.encode(), " ".join(tool.ldflags).encode(), target.encode(), *files):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def locate(name: str) -> Path:
    """Where the program is, or will be once it is built."""
    if name in PREFER_INSTALLED and (installed := shutil.which(name)):
        return Path(installed)
    tool = TOOLS[name]
    inputs = ((_module(tool) / file).read_bytes() for file in ("go.mod", "go.sum"))
    target = f"{platform.system()}-{platform.machine()}"
    return paths.cache() / "bin" / f"{name}-{cache_key(tool, inputs, target)}" / name


def ensure(name: str) -> Path:
    """The path of the program, built when it is neither installed nor cached."""
    binary = locate(name)
    if not binary.exists():
        with exclusive(paths.cache() / "locks" / f"{name}.lock"):
            if not binary.exists():
                _build(TOOLS[name], binary)
    return binary


def ensure_all(names: Sequence[str]) -> dict[str, Path]:
    """Several programs, one after the other: Go itself uses every core, and they share most packages.

    What later ones need is downloaded while the first ones are compiled.
    """
    missing = [TOOLS[name] for name in names if not locate(name).exists()]
    with ThreadPoolExecutor(1) as downloads:
        waiting = [downloads.submit(_download, tool) for tool in missing[1:]]
        built = {name: ensure(name) for name in names}
        for download in waiting:
            download.cancel()
    return built


def _module(tool: Tool) -> Path:
    return paths.TOOLS / tool.module


def _download(tool: Tool) -> None:
    """Fetch the sources of every package of the program; a failure is the build's to report."""
    with contextlib.suppress(ClusterError):
        run([_go(), "list", "-mod=readonly", "-deps", tool.package], cwd=_module(tool), env=GO_ENVIRONMENT)


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingPrerequisite("the cluster's programs are built from source: install Go 1.25 or later")
    return go


def _build(tool: Tool, binary: Path) -> None:
    go = _go()
    binary.parent.parent.mkdir(parents=True, exist_ok=True)
    with STEPS.step(f"building {tool.name} (once)"), tempfile.TemporaryDirectory(dir=binary.parent.parent) as folder:
        built = Path(folder) / "built" / tool.name
        run(
            [go, "build", "-mod=readonly", "-trimpath", "-ldflags", " ".join(tool.ldflags), "-o", built, tool.package],
            cwd=_module(tool),
            env=GO_ENVIRONMENT,
            log=paths.cache() / "logs" / f"build-{tool.name}.log",
        )
        shutil.rmtree(binary.parent, ignore_errors=True)
        built.parent.rename(binary.parent)


def module_folder(tool_module: str, go_module: str) -> Path:
    """The sources of a pinned Go module (KubeRay's CRDs are in them), downloaded when they are not there."""
    answer = run([_go(), "mod", "download", "-json", go_module], cwd=paths.TOOLS / tool_module, env=GO_ENVIRONMENT)
    return Path(json.loads(answer)["Dir"])


def assets() -> Path:
    """A folder with kube-apiserver, etcd and kubectl: KUBEBUILDER_ASSETS where it is set, else our own builds."""
    if given := os.environ.get("KUBEBUILDER_ASSETS"):
        missing = [name for name in ASSETS if not (Path(given) / name).exists()]
        if missing:
            raise MissingPrerequisite(f"KUBEBUILDER_ASSETS={given} has no {', '.join(missing)}: correct it or unset it")
        return Path(given)
    programs = ensure_all(ASSETS)
    key = hashlib.sha256("\n".join(map(str, programs.values())).encode()).hexdigest()[:12]
    folder = paths.cache() / "bin" / f"assets-{key}"
    with exclusive(paths.cache() / "locks" / "assets.lock"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, program in programs.items():
            if not (folder / name).exists():
                (folder / name).symlink_to(program)
    return folder


def prometheus() -> Path:
    """Debian's Prometheus (or any on PATH), for tests of the metrics."""
    found = shutil.which("prometheus")
    if found is None:
        raise MissingPrerequisite("`prometheus` is not installed: apt-get install prometheus")
    return Path(found)
