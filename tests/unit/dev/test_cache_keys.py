"""What is rebuilt when: a key changes with its inputs and with nothing else."""

import dataclasses
import re
from pathlib import Path

import pytest

from dev.cluster import paths
from dev.cluster.binaries import KUBERNETES_VERSION, TOOLS, cache_key
from dev.cluster.images import content_tag

LINUX = "Linux-x86_64"


def test_a_binary_is_rebuilt_when_a_pinned_version_or_the_platform_changes() -> None:
    helm = TOOLS["helm"]
    key = cache_key(helm, [b"mod", b"sum"], LINUX)
    assert key == cache_key(helm, [b"mod", b"sum"], LINUX)
    others = {
        cache_key(helm, [b"mod2", b"sum"], LINUX),
        cache_key(helm, [b"mod", b"sum"], "Darwin-arm64"),
        cache_key(TOOLS["coredns"], [b"mod", b"sum"], LINUX),
        cache_key(helm, [b"mo", b"dsum"], LINUX),
        cache_key(dataclasses.replace(helm, ldflags=helm.ldflags[:-1]), [b"mod", b"sum"], LINUX),
    }
    assert len(others | {key}) == 6


@pytest.mark.parametrize(
    ("folder", "module", "name", "stamped"),
    [
        ("kubernetes", "k8s.io/kubernetes", "kubelet", r"component-base/version\.gitVersion=(\S+)"),
        ("helm", "helm.sh/helm/v3", "helm", r"internal/version\.version=(\S+)"),
    ],
)
def test_a_binary_says_the_version_that_is_pinned(folder: str, module: str, name: str, stamped: str) -> None:
    pinned = re.search(rf"{re.escape(module)} (v\S+)", (paths.TOOLS / folder / "go.mod").read_text())
    said = re.search(stamped, " ".join(TOOLS[name].ldflags))
    assert pinned is not None
    assert said is not None
    assert said[1] == pinned[1]


@pytest.mark.parametrize("package", ["chartutil", "lint/rules"])
def test_helm_takes_the_pinned_kubernetes_for_granted(package: str) -> None:
    stamped = dict(re.findall(rf"helm/v3/pkg/{package}\.k8sVersion(\w+)=(\S+)", " ".join(TOOLS["helm"].ldflags)))
    assert KUBERNETES_VERSION.startswith(f"v{stamped['Major']}.{stamped['Minor']}.")


def test_an_image_tag_follows_content_and_names_and_not_order(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
    tag = content_tag(tmp_path, [Path("a.py"), Path("b.py")])
    assert tag == content_tag(tmp_path, [Path("b.py"), Path("a.py")])
    (tmp_path / "b.py").write_text("changed")
    assert tag != content_tag(tmp_path, [Path("a.py"), Path("b.py")])
    assert content_tag(tmp_path, [Path("absent.txt")]) == content_tag(tmp_path, [Path("absent.txt")])
