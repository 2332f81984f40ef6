"""When KubeRay is installed, waited for, or left alone."""

from pathlib import Path

import pytest

from dev.cluster import kuberay
from dev.cluster.kubectl import Kubectl


class Cluster(Kubectl):
    """kubectl in front of a cluster that has these objects; what it is told to do is kept."""

    def __init__(self, *names: str) -> None:
        super().__init__(Path("kubeconfig"))
        self.names = names
        self.verbs: list[str] = []

    def exists(self, *what: str) -> bool:
        return what[1] in self.names

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str:
        self.verbs.append(str(arguments[0]))
        return ""


@pytest.mark.parametrize(
    ("names", "verbs"),
    [
        ((), ["apply", "rollout"]),
        ((kuberay.RAY_CLUSTERS, kuberay.DEPLOYMENT), ["rollout"]),
        ((kuberay.RAY_CLUSTERS,), []),
    ],
    ids=["none", "an earlier up ended while it started", "it runs somewhere else"],
)
def test_kuberay_is_waited_for_until_it_runs(
    names: tuple[str, ...], verbs: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kuberay, "sources", lambda: tmp_path)
    cluster = Cluster(*names)
    kuberay.install_operator(cluster)
    assert cluster.verbs == verbs
