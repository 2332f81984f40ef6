"""Programs built once from the pinned Go modules in dev/tools, kept in the cache under a key of their inputs."""

import hashlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.cluster import paths
from dev.cluster.commands import run
from dev.cluster.errors import MissingPrerequisite
from dev.cluster.locks import exclusive
from dev.cluster.steps import STEPS

GO_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
KUBERNETES_VERSION = "v1.34.4"

COMPILER = ("-gcflags=all=-dwarf=false -l", "-gcflags=std=-dwarf=false")
"""Quick to compile instead of quick to run: nothing for debuggers, functions inlined in Go's own library only."""

NODE = "."
KIND = "kind"
"""Folders below dev/tools, each a Go module: the programs of the node, and kind."""


@dataclass(frozen=True)
class Tool:
    """One program: the module that pins it, and the package that builds it, whose last word is the program's name."""

    module: str
    package: str

    @property
    def name(self) -> str:
        return self.package.rpartition("/")[2]


def _linker_flags() -> str:
    """No symbols; Kubernetes and Helm say their versions, as in their own builds. One set for every program.

    Without it, Helm takes Kubernetes 1.20 for granted where no cluster answers.
    """
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {
        "k8s.io/component-base/version.gitVersion": KUBERNETES_VERSION,
        "k8s.io/client-go/pkg/version.gitVersion": KUBERNETES_VERSION,
        "helm.sh/helm/v3/internal/version.version": "v3.19.0",
        **{
            f"helm.sh/helm/v3/pkg/{package}.k8sVersion{part}": number
            for package in ("chartutil", "lint/rules")
            for part, number in (("Major", major), ("Minor", minor))
        },
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in values.items())])


BUILD = (*COMPILER, f"-ldflags={_linker_flags()}")

TOOLS = {
    tool.name: tool
    for tool in (
        Tool(NODE, "k8s.io/kubernetes/cmd/kube-apiserver"),
        Tool(NODE, "k8s.io/kubernetes/cmd/kube-controller-manager"),
        Tool(NODE, "k8s.io/kubernetes/cmd/kube-scheduler"),
        Tool(NODE, "k8s.io/kubernetes/cmd/kubelet"),
        Tool(NODE, "k8s.io/kubernetes/cmd/kube-proxy"),
        Tool(NODE, "k8s.io/kubernetes/cmd/kubectl"),
        Tool(NODE, "github.com/ray-project/kuberay/ray-operator"),
        Tool(NODE, "helm.sh/helm/v3/cmd/helm"),
        Tool(NODE, "./etcd"),
        Tool(NODE, "./coredns"),
        Tool(KIND, "sigs.k8s.io/kind"),
    )
}

PREFER_INSTALLED = frozenset({"kubectl", "helm", "kind"})
"""Clients whose exact version does not matter: one on PATH is used before anything is built."""

ASSETS = ("kube-apiserver", "etcd", "kubectl")
"""What API-server tests need."""


def cache_key(tool: Tool, files: Iterable[bytes], target: str, flags: Sequence[str] = BUILD) -> str:
    """Twelve hexadecimal digits of everything that decides what the binary is."""
    digest = hashlib.sha256()
    for part in (tool.package.encode(), " ".join(flags).encode(), target.encode(), *files):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def locate(name: str) -> Path:
    """Where the program is, or will be once it is built."""
    if name in PREFER_INSTALLED and (installed := shutil.which(name)):
        return Path(installed)
    tool = TOOLS[name]
    target = f"{platform.system()}-{platform.machine()}"
    return paths.cache() / "bin" / f"{name}-{cache_key(tool, _inputs(tool), target)}" / name


def missing(names: Sequence[str]) -> list[str]:
    """Those of the programs that are neither installed nor built yet."""
    return [name for name in names if not locate(name).exists()]


def ensure(name: str) -> Path:
    """The path of the program, built when it is neither installed nor cached."""
    return ensure_all([name])[name]


def ensure_all(names: Sequence[str]) -> dict[str, Path]:
    """Several programs: those of one module are compiled together, because they share most packages."""
    for module in dict.fromkeys(TOOLS[name].module for name in missing(names)):
        with exclusive(paths.cache() / "locks" / f"build-{module.strip('.') or 'node'}.lock"):
            # Another process may have built some of them since.
            absent = [TOOLS[name] for name in missing(names)]
            _build([tool for tool in absent if tool.module == module])
    return {name: locate(name) for name in names}


def _module(tool: Tool) -> Path:
    return paths.TOOLS / tool.module


def _inputs(tool: Tool) -> list[bytes]:
    """The pinned versions, and the source where the program is one of our own few lines."""
    own = sorted((_module(tool) / tool.package).glob("*.go")) if tool.package.startswith("./") else []
    return [path.read_bytes() for path in (_module(tool) / "go.mod", _module(tool) / "go.sum", *own)]


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise MissingPrerequisite("the cluster's programs are built from source: install Go 1.25 or later")
    return go


def _build(tools: Sequence[Tool]) -> None:
    """Compile programs of one module into the cache."""
    if not tools:
        return
    names = ", ".join(tool.name for tool in tools)
    programs = paths.cache() / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    with STEPS.step(f"compiling {names} (once)"), tempfile.TemporaryDirectory(dir=programs) as folder:
        packages = [tool.package for tool in tools]
        run(
            [_go(), "build", "-mod=readonly", "-trimpath", *BUILD, "-o", f"{folder}/", *packages],
            cwd=_module(tools[0]),
            env=GO_ENVIRONMENT,
            log=paths.cache() / "logs" / f"build-{tools[0].name}.log",
        )
        for tool in tools:
            binary = locate(tool.name)
            binary.parent.mkdir(exist_ok=True)
            (Path(folder) / tool.name).rename(binary)


def module_folder(go_module: str) -> Path:
    """The sources of a pinned Go module (KubeRay's CRDs are in them), downloaded when they are not there."""
    answer = run([_go(), "mod", "download", "-json", go_module], cwd=paths.TOOLS, env=GO_ENVIRONMENT)
    return Path(json.loads(answer)["Dir"])


def assets() -> Path:
    """A folder with kube-apiserver, etcd and kubectl: KUBEBUILDER_ASSETS where it is set, else our own builds."""
    if given := os.environ.get("KUBEBUILDER_ASSETS"):
        absent = [name for name in ASSETS if not (Path(given) / name).exists()]
        if absent:
            raise MissingPrerequisite(f"KUBEBUILDER_ASSETS={given} has no {', '.join(absent)}: correct it or unset it")
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
