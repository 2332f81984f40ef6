"""Packages of the run (spec.runtimeEnv) reach every process of its job, from a wheel that the test makes."""

import csv
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.specs import small_ppo
from tests.wheels import wheel

WALK = """
import gymnasium as gym
import numpy as np


class Walk(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, self.steps >= 10, False, {"episode_metrics": {"own": 4.5}}


def train(config):
    yield {"reward": float(config["x"])}
"""
COMMAND = ("-m", "trainyard.cli")
ON_ANOTHER_NODE = """
from trainyard.cli import main
from trainyard.requirements import Requirements

Requirements.enter = lambda self: None
main()
"""
"""A driver whose own node has the packages, while those of its workers cannot get them."""
PPO = small_ppo(
    steps=40,
    environment={"name": "own_walk:Walk"},
    sampling={"envRunners": 1, "envsPerRunner": 1},
    evaluation={"episodes": 1},
)


@pytest.fixture
def packages(tmp_path):
    """The field, and the folder that it names."""
    folder = tmp_path / "wheels"
    wheel(folder, "own_walk", "1.0", {"own_walk.py": WALK})
    return {"pip": ["own-walk==1.0"], "pipInstallOptions": ["--no-index", f"--find-links={folder}"]}


def trainyard(folder: Path, *arguments: str, start: tuple[str, ...] = COMMAND, **environ: str):
    given = os.environ | {"PIP_CONFIG_FILE": os.devnull, "TMPDIR": str(folder / "tmp")} | environ
    (folder / "tmp").mkdir(exist_ok=True)
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False)


def run(folder: Path, address: str, spec: dict) -> subprocess.CompletedProcess[str]:
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "r"}, "spec": spec}
    (folder / "run.yaml").write_text(yaml.safe_dump(document))
    return trainyard(folder, "run", "-f", "run.yaml", "--ray-address", address)


def drive(folder: Path, address: str, spec: dict, command: str = "drive", start=COMMAND) -> tuple[int, dict]:
    """A driver as the operator starts it; its exit code and final line."""
    # Without a storage of its own it would go on from what an earlier driver left on this machine.
    spec = {"storage": {"uri": (folder / "storage").as_uri()}} | spec
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "r"}, "spec": spec}
    environ = {
        "RAY_ADDRESS": address,
        "TRAINYARD_PROGRESS_DIR": str(folder),
        "TRAINYARD_RUN": json.dumps(document),
    }
    done = trainyard(folder, command, start=start, **environ)
    print(done.stdout, done.stderr)
    return done.returncode, json.loads((folder / "trainyard-local.jsonl").read_text().splitlines()[-1])


def left_behind(folder: Path) -> list[Path]:
    return list((folder / "tmp").glob("**/trainyard-re*"))


def test_driver_env_runners_and_evaluation_make_an_environment_of_a_wheel(ray_nodes, tmp_path, packages):
    done = run(tmp_path, ray_nodes.address, PPO | {"runtimeEnv": packages})
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "results").iterdir()
    assert json.loads((folder / "summary.json").read_text())["iterations"] == 1
    with (folder / "progress.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (float(row["train/own"]), float(row["validation/own"])) == (4.5, 4.5)
    assert left_behind(tmp_path) == [], "the clean-up of a Ray cluster that stays leaves no packages"


def test_whole_episode_runners_make_it_too(ray_nodes, tmp_path, packages):
    sampling = {"mode": "Asynchronous", "envRunners": 1}
    code, final = drive(tmp_path, ray_nodes.address, PPO | {"sampling": sampling, "runtimeEnv": packages})
    assert (code, final.get("failure")) == (0, None)


def test_trials_of_a_function_of_the_wheel_find_it(ray_nodes, tmp_path, packages):
    search = {"metric": "reward", "mode": "max", "parameters": [{"path": "trainable.config.x", "grid": [1, 2]}]}
    spec = {"trainable": {"function": "own_walk:train"}, "search": search, "runtimeEnv": packages}
    code, final = drive(tmp_path, ray_nodes.address, spec)
    assert code == 0
    assert (final["trials"]["succeeded"], final["trials"]["failed"]) == (2, 0)


def test_a_program_and_its_tasks_find_the_packages(ray_nodes, tmp_path, packages):
    (tmp_path / "program.py").write_text(
        "import own_walk, ray, trainyard\n"
        "ray.init(logging_level='ERROR')\n"
        "there = ray.get(ray.remote(lambda: __import__('own_walk').__file__).remote())\n"
        "trainyard.report(metrics={'same': float(there == own_walk.__file__)})\n"
    )
    spec = {"entrypoint": f"{sys.executable} program.py", "resources": {"cpus": 1}, "runtimeEnv": packages}
    code, final = drive(tmp_path, ray_nodes.address, spec, "drive-entrypoint")
    assert (code, final.get("summary")) == (0, {"same": 1.0})


@pytest.mark.parametrize(
    ("command", "spec"),
    [("drive", PPO), ("drive-entrypoint", {"entrypoint": "true", "resources": {"cpus": 1}})],
    ids=["algorithm", "program"],
)
def test_what_cannot_be_installed_is_the_users_error(ray_nodes, tmp_path, packages, command, spec):
    missing = packages | {"pip": ["nobody-has-this==9"]}
    code, final = drive(tmp_path, ray_nodes.address, spec | {"runtimeEnv": missing}, command)
    failure = final["failure"]
    assert (code, failure["kind"], failure["field"]) == (2, "User", "spec.runtimeEnv.pip")
    assert failure["reason"] == "RequirementsNotInstalled"
    assert "No matching distribution found for nobody-has-this==9" in failure["message"]


def test_a_node_that_cannot_install_is_named_with_pips_words(ray_nodes, tmp_path):
    """As on a worker whose volume has no wheels: its processes end, and Ray says of a task only that they did."""
    program = f"""
import json, ray
from trainyard.requirements import Requirements, RequirementsNotInstalled

own = Requirements({str(tmp_path / "own")!r}, ("nobody-has-this",), ("--no-index",))
ray.init(logging_level="ERROR", log_to_driver=False, runtime_env=own.runtime_env())
actor = ray.remote(type("Runner", (), {{"sample": lambda self: 1}})).remote()
said = []
for call in (ray.remote(max_retries=0)(lambda: 1).remote, actor.sample.remote):
    try:
        with own.blamed():
            ray.get(call())
    except RequirementsNotInstalled as error:
        said.append(str(error))
print(json.dumps(said))
"""
    environ = os.environ | {"RAY_ADDRESS": ray_nodes.address, "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    assert len(said) == 2
    for message in said:
        assert message.startswith(f"on {socket.gethostname()}: spec.runtimeEnv.pip: pip could not install")
        assert message.endswith("No matching distribution found for nobody-has-this")


SEARCH = {"metric": "reward", "mode": "max", "parameters": [{"path": "trainable.config.x", "grid": [1, 2]}]}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(PPO, id="env runners"),
        pytest.param(PPO | {"sampling": {"mode": "Asynchronous", "envRunners": 1}}, id="whole-episode runners"),
        pytest.param({"trainable": {"function": "functions:generator"}, "search": SEARCH}, id="trials"),
        pytest.param({"trainable": {"function": "functions:reporting"}, "search": SEARCH}, id="trials under Tune"),
    ],
)
def test_workers_that_cannot_install_end_the_run_as_the_users_error(ray_nodes, tmp_path, spec):
    spec = spec | ({"environment": {"name": "CartPole-v1"}} if "algorithm" in spec else {})
    spec = spec | {"runtimeEnv": {"pip": ["nobody-has-this"], "pipInstallOptions": ["--no-index"]}}
    code, final = drive(tmp_path, ray_nodes.address, spec, start=("-c", ON_ANOTHER_NODE))
    failure = final["failure"]
    assert (code, failure["kind"], failure["field"]) == (2, "User", "spec.runtimeEnv.pip")
    assert "No matching distribution found for nobody-has-this" in failure["message"]
