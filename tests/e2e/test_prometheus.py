"""What a real Prometheus sees of a run: its series while it is there, and none once it is deleted."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import OPERATOR_NAMESPACE, Cluster
from tests.e2e.test_failures import program, running_with_progress

pytestmark = pytest.mark.timeout(240)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Prometheus:
    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def query(self, expression: str) -> list[dict]:
        url = f"{self.address}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]["result"]

    def wait(self, expression: str, *, empty: bool = False, timeout: float = 40) -> list[dict]:
        """The result of the expression as soon as it is non-empty (or empty)."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = self.query(expression)
            except OSError:  # it is still starting
                found = []
            else:
                if bool(found) != empty:
                    return found
            assert time.monotonic() < deadline, f"{expression} gave {found} for {timeout:.0f} s"
            time.sleep(0.5)


@pytest.fixture
def prometheus(cluster: Cluster, tmp_path: Path) -> Iterator[Prometheus]:
    """Debian's Prometheus, scraping the operator's Service every second through a port that kubectl forwards."""
    program = shutil.which("prometheus")
    assert program, "prometheus is missing: run dev/install-prerequisites"
    operator, own = free_port(), free_port()
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": "trainyard", "static_configs": [{"targets": [f"127.0.0.1:{operator}"]}]},
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    forward = ["kubectl", "--kubeconfig", str(cluster.kubeconfig), "port-forward", "-n", OPERATOR_NAMESPACE]
    commands = [
        [*forward, "service/trainyard", f"{operator}:8080"],
        [
            program,
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{own}",
        ],
    ]
    processes = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in commands]
    yield Prometheus(own)
    for process in processes:
        process.terminate()
        process.wait(20)


def test_a_runs_series_are_there_while_it_is_and_vanish_with_it(
    cluster: Cluster, namespace: str, prometheus: Prometheus
) -> None:
    cluster.apply(namespace, "seen", program(12))
    cluster.wait(namespace, "seen", running_with_progress, "progress", 90)
    labels = f'{{namespace="{namespace}",name="seen"}}'
    (progress,) = prometheus.wait(f"trainyard_run_progress_ratio{labels} > 0")
    assert 0 < float(progress["value"][1]) <= 1
    (phase,) = prometheus.wait(f"trainyard_run_phase{labels} == 1")
    assert phase["metric"]["phase"] == "Running"
    assert prometheus.wait("trainyard_operator_leader == 1")
    cluster.delete(namespace, "seen")
    assert prometheus.wait(f'{{__name__=~"trainyard_.*",namespace="{namespace}"}}', empty=True) == []
