"""What is rebuilt when: a key changes with its inputs and with nothing else."""

import re
import shutil
from pathlib import Path

import pytest

from dev.cluster import paths
from dev.cluster.binaries import BUILD, KUBERNETES_VERSION, TOOLS, cache_key, locate
from dev.cluster.images import content_tag
from dev.cluster.node.dns import corefile
from dev.cluster.node.layout import PREFERRED_PORTS, Layout

LINUX = "Linux-x86_64"


def test_a_binary_is_rebuilt_when_a_pinned_version_a_flag_or_the_platform_changes() -> None:
    helm = TOOLS["helm"]
    key = cache_key(helm, [b"mod", b"sum"], LINUX)
    assert key == cache_key(helm, [b"mod", b"sum"], LINUX)
    others = {
        cache_key(helm, [b"mod2", b"sum"], LINUX),
        cache_key(helm, [b"mod", b"sum"], "Darwin-arm64"),
        cache_key(TOOLS["coredns"], [b"mod", b"sum"], LINUX),
        cache_key(helm, [b"mo", b"dsum"], LINUX),
        cache_key(helm, [b"mod", b"sum"], LINUX, BUILD[:-1]),
    }
    assert len(others | {key}) == 6


def test_a_program_of_our_own_few_lines_is_rebuilt_when_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paths, "TOOLS", tmp_path / "tools")
    shutil.copytree(Path(__file__).parents[3] / "dev" / "tools", paths.TOOLS)
    before = {name: locate(name) for name in ("coredns", "etcd", "kubelet")}
    with (paths.TOOLS / "coredns" / "main.go").open("a") as source:
        source.write("// more\n")
    assert locate("coredns") != before.pop("coredns")
    assert {name: locate(name) for name in before} == before


@pytest.mark.parametrize(
    ("module", "stamped"),
    [
        ("k8s.io/kubernetes", r"component-base/version\.gitVersion=(\S+)"),
        ("helm.sh/helm/v3", r"internal/version\.version=(\S+)"),
    ],
)
def test_a_binary_says_the_version_that_is_pinned(module: str, stamped: str) -> None:
    pinned = re.search(rf"{re.escape(module)} (v\S+)", (paths.TOOLS / "go.mod").read_text())
    said = re.search(stamped, " ".join(BUILD))
    assert pinned is not None
    assert said is not None
    assert said[1] == pinned[1]


@pytest.mark.parametrize("package", ["chartutil", "lint/rules"])
def test_helm_takes_the_pinned_kubernetes_for_granted(package: str) -> None:
    stamped = dict(re.findall(rf"helm/v3/pkg/{package}\.k8sVersion(\w+)=(\S+)", " ".join(BUILD)))
    assert KUBERNETES_VERSION.startswith(f"v{stamped['Major']}.{stamped['Minor']}.")


def test_the_name_server_has_the_plugins_that_its_configuration_names() -> None:
    """A plugin that is not compiled in, or has no place in the order, ends CoreDNS at its start."""
    layout = Layout("192.0.2.1", dict.fromkeys(PREFERRED_PORTS, 1))
    configured = {line.split()[0] for line in corefile(layout).splitlines() if re.match(r" {4}\w", line)}
    source = (paths.TOOLS / "coredns" / "main.go").read_text()
    assert set(re.findall(r"coredns/plugin/(\w+)", source)) == configured
    ordered = re.search(r"Directives = \[\]string\{([^}]*)\}", source)
    assert ordered is not None
    assert set(re.findall(r"\w+", ordered[1])) == configured


def test_an_image_tag_follows_content_and_names_and_not_order(tmp_path: Path) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text(name)
    tag = content_tag(tmp_path, [Path("a.py"), Path("b.py")])
    assert tag == content_tag(tmp_path, [Path("b.py"), Path("a.py")])
    (tmp_path / "b.py").write_text("changed")
    assert tag != content_tag(tmp_path, [Path("a.py"), Path("b.py")])
    assert content_tag(tmp_path, [Path("absent.txt")]) == content_tag(tmp_path, [Path("absent.txt")])
