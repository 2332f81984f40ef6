"""From a driver's start on a Ray that runs to its first training iteration: a plain RLlib script and Trainyard.

PPO on CartPole-v1, one runner of eight environments, the same hyperparameters. Each variant has a fresh Ray, which no
runner has warmed. `Trainyard` is the driver as the operator starts it; with `--ray-address` every process gets a
temporary folder of the run's own first, which is removed at the end. `CPU seconds` are the driver's own until the
iteration; the runner's process takes its own beside it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.bench.measure import Result, main

FIRST = "iteration 1"

SCRIPT = f"""
import ray
ray.init(logging_level="ERROR", log_to_driver=False)
from ray.rllib.algorithms.ppo import PPOConfig
config = PPOConfig().environment("CartPole-v1").training(lr=3e-4, gamma=0.99).debugging(seed=1)
config.env_runners(num_env_runners=1, num_envs_per_env_runner=8)
algorithm = config.build_algo()
algorithm.train()
print({FIRST!r})
algorithm.stop()
"""

DOCUMENT = """
apiVersion: trainyard.dev/v1alpha1
kind: TrainingRun
metadata: {name: startup}
spec:
  seed: 1
  algorithm: {name: PPO, config: {lr: 0.0003, gamma: 0.99}}
  environment: {name: CartPole-v1}
  sampling: {envRunners: 1}
  stop: {iterations: 1}
"""


def rllib(options: argparse.Namespace) -> Result:
    with running_ray() as address:
        return _first_iteration([sys.executable, "-c", SCRIPT], address)


def trainyard(options: argparse.Namespace) -> Result:
    with running_ray() as address, tempfile.TemporaryDirectory() as folder:
        document = f"{DOCUMENT}  storage: {{uri: 'file://{folder}'}}\n"
        variables = {"TRAINYARD_RUN": document, "TRAINYARD_PROGRESS_DIR": folder}
        return _first_iteration([sys.executable, "-m", "trainyard.cli", "drive"], address, variables)


def trainyard_on_a_cluster_that_stays(options: argparse.Namespace) -> Result:
    with running_ray() as address, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text(DOCUMENT)
        command = [sys.executable, "-m", "trainyard.cli", "run", "-f", str(file), "--ray-address", address]
        return _first_iteration([*command, "--results", folder], address)


@contextmanager
def running_ray() -> Iterator[str]:
    """The address of a Ray of its own, or of the one that RAY_ADDRESS names."""
    if "RAY_ADDRESS" in os.environ:
        yield os.environ["RAY_ADDRESS"]
        return
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    try:
        nodes.add_node(num_cpus=2, include_dashboard=False)
        yield nodes.address
    finally:
        nodes.shutdown()


def _first_iteration(command: list[str], address: str, variables: Mapping[str, str] | None = None) -> Result:
    environment = {**os.environ, "RAY_ADDRESS": address, "PYTHONUNBUFFERED": "1", **(variables or {})}
    start = time.perf_counter()
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    found: Result = {}
    lines = []
    assert driver.stdout is not None
    for line in driver.stdout:
        lines.append(line)
        if line.startswith(FIRST) and not found:
            found = {"seconds": time.perf_counter() - start, "CPU seconds": _cpu_seconds(driver.pid)}
    if driver.wait() or not found:
        raise SystemExit(f"the driver ended with {driver.returncode} and these lines:\n{''.join(lines)}")
    return found


def _cpu_seconds(pid: int) -> float:
    """What all threads of a process have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main(
        "From driver start to the first training iteration, on a Ray that runs",
        {"RLlib": rllib, "Trainyard": trainyard, "Trainyard, --ray-address": trainyard_on_a_cluster_that_stays},
        columns=("seconds", "CPU seconds"),
        baseline="RLlib",
    )
