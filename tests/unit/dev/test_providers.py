"""Which cluster a command is about, and which record of one it may remove."""

from pathlib import Path

import pytest

from dev.cluster import __main__ as command
from dev.cluster import paths, providers
from dev.cluster.errors import ClusterError
from dev.cluster.images import Images
from dev.cluster.providers.existing import Existing
from dev.cluster.providers.kind import Kind
from dev.cluster.providers.node import Node


class Ready:
    """A provider whose cluster needs no work."""

    def __init__(self, name: str, kubeconfig: Path) -> None:
        self.name = name
        self._kubeconfig = kubeconfig
        self.calls: list[str] = []

    def up(self) -> None:
        self.calls.append("up")

    def down(self) -> None:
        self.calls.append("down")

    def kubeconfig(self) -> Path:
        return self._kubeconfig

    def publish(self) -> Images:
        return Images(operator="operator:1", training="training:1")

    def describe(self) -> list[str]:
        return []


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("KUBECONFIG", "TRAINYARD_KUBECONFIG", "TRAINYARD_REGISTRY", "KIND_NODE_IMAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRAINYARD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_cluster_of_ours_is_remembered_until_it_goes_down(tmp_path: Path) -> None:
    provider = Ready("node", tmp_path)
    command.up(provider)
    assert providers.recorded() == "node"
    assert isinstance(providers.choose(None), Node)
    command.down(provider)
    assert providers.recorded() is None


def test_a_cluster_of_yours_is_not_remembered_and_leaves_the_record_of_ours(tmp_path: Path) -> None:
    command.up(Ready("node", tmp_path))
    yours = Ready("existing", tmp_path)
    command.up(yours)
    command.down(yours)
    assert yours.calls == ["up", "down"]
    assert providers.recorded() == "node"


def test_removing_another_provider_leaves_the_record(tmp_path: Path) -> None:
    command.up(Ready("node", tmp_path))
    command.down(Ready("kind", tmp_path))
    assert providers.recorded() == "node"


def test_a_second_cluster_of_ours_is_refused_before_it_is_made(tmp_path: Path) -> None:
    command.up(Ready("node", tmp_path))
    second = Ready("kind", tmp_path)
    with pytest.raises(ClusterError, match="--provider node down"):
        command.up(second)
    assert second.calls == []
    assert providers.recorded() == "node"


def test_the_kubeconfig_of_the_node_is_not_kinds() -> None:
    paths.state().mkdir(parents=True)
    (paths.state() / "kubeconfig").touch()
    assert Kind().kubeconfig() is None


def test_a_kubeconfig_of_yours_chooses_the_existing_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command.up(Ready("node", tmp_path))
    config = tmp_path / "config"
    config.touch()
    monkeypatch.setenv("TRAINYARD_KUBECONFIG", str(config))
    chosen = providers.choose(None)
    assert isinstance(chosen, Existing)
    assert chosen.kubeconfig() == config
    assert isinstance(providers.choose("node"), Node)


def test_an_existing_cluster_without_a_registry_is_told_before_anything_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="TRAINYARD_REGISTRY"):
        Existing().publish()


def test_kind_takes_a_node_image_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kubeconfig = f"--kubeconfig={paths.state() / 'kind.kubeconfig'}"
    plain = ["create", "cluster", "--name=trainyard", kubeconfig, "--wait=120s"]
    assert Kind().creation() == plain
    monkeypatch.setenv("KIND_NODE_IMAGE", "mirror.example/kindest/node:v1.34.4")
    assert Kind().creation() == [*plain, "--image=mirror.example/kindest/node:v1.34.4"]
