"""The command `trainyard` as people and the operator start it: processes of their own, on the tests' one Ray."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.specs import small_ppo

pytestmark = pytest.mark.usefixtures("ray_nodes")

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[2] / "manifests" / "contract" / "progress.schema.json").read_text())
)
PPO = small_ppo()
SEARCH = {"metric": "reward", "mode": "max", "parameters": [{"path": "trainable.config.x", "grid": [1, 2]}]}
AT_ONCE = 20
"""Seconds for an answer that needs no training: Python's start and a connection to Ray, on a busy machine."""


class Command:
    """A `trainyard` in a folder of its own, its output in a file that nobody has to empty."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self.folder = folder
        self._output = folder / f"output-{time.monotonic_ns()}.txt"
        self._began = time.monotonic()
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trainyard.cli", *arguments],
                cwd=folder, env=dict(os.environ) | environ, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def output(self) -> str:
        return self._output.read_text()

    def end(self, seconds: float = 120) -> tuple[int, str]:
        """Exit code and output; the process is killed, and the test fails, when it takes longer."""
        try:
            return self.process.wait(seconds), self.output
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"still running after {seconds} s:\n{self.output}") from None

    def seconds(self) -> float:
        return time.monotonic() - self._began


@pytest.fixture
def start(tmp_path):
    """Starts the command in the test's folder; what is still running afterwards is ended."""
    started: list[Command] = []

    def run(*arguments: str, **environ: str) -> Command:
        started.append(Command(tmp_path, *arguments, **environ))
        return started[-1]

    yield run
    for command in started:
        if command.process.poll() is None:
            command.process.kill()
            command.process.wait()


@pytest.fixture
def drive(start, tmp_path, ray_nodes) -> Callable[..., Command]:
    """Starts a driver as the operator does, on the head of the tests' Ray."""

    def run(spec: Mapping, command: str = "drive", submission: int = 1) -> Command:
        document = {
            "apiVersion": "trainyard.dev/v1alpha1",
            "kind": "TrainingRun",
            "metadata": {"name": "run", "namespace": "team", "uid": "u"},
            "spec": {"seed": 7, "storage": {"uri": f"file://{tmp_path}/storage"}} | spec,
        }
        return start(
            command,
            TRAINYARD_RUN=json.dumps(document),
            TRAINYARD_JOB_ID=f"ty-u-1-{submission}",
            TRAINYARD_ATTEMPT="1",
            TRAINYARD_SUBMISSION=str(submission),
            TRAINYARD_PROGRESS_DIR=str(tmp_path),
            RAY_ADDRESS=ray_nodes.address,
        )

    return run


def manifest(folder: Path, spec: Mapping) -> str:
    document = {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "mine"},
        "spec": spec,
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(document))
    return "run.yaml"


def lines(path: Path) -> list[dict]:
    """The whole lines of a progress file so far, each as the contract has it."""
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    for line in found:
        SCHEMA.validate(line)
    return found


def wait_for(path: Path, command: Command, what: Callable[[dict], bool]) -> dict:
    """The first last line of which `what` is true."""
    while command.process.poll() is None and command.seconds() < 100:
        found = lines(path)
        if found and what(found[-1]):
            return found[-1]
        time.sleep(0.05)
    raise AssertionError(f"the driver did not come that far:\n{command.output}")


def one_of_two_has_run(line: dict) -> bool:
    trials = line.get("trials", {})
    return (trials.get("succeeded"), trials.get("running")) == (1, 1)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


class TestOnThisMachine:
    def test_a_run_needs_nothing_but_its_file_and_leaves_its_results(self, start, tmp_path):
        wanted = (os.cpu_count() or 1) + 1
        sampling = {"envRunners": 1, "cpusPerEnvRunner": wanted}
        file = manifest(tmp_path, PPO | {"sampling": sampling, "stop": {"iterations": 2}})
        code, output = start("run", "-f", file).end()
        assert code == 0, output
        assert f"{wanted} logical CPUs and this machine has {wanted - 1}: processes share them" in output
        assert "mine: finished" in output
        (folder,) = (tmp_path / "results").iterdir()
        assert re.fullmatch(r"mine-\d{8}-\d{6}", folder.name)
        wanted_files = {"progress.csv", "progress.jsonl", "summary.json", "run.json", "report.html"}
        assert wanted_files <= files(folder)
        for place in ("checkpoints/2/trainyard.json", "checkpoints/best/trainyard.json"):
            assert (folder / place).exists()
        assert list((folder / "report").iterdir())
        assert list((folder / "tensorboard").iterdir())
        assert json.loads((folder / "summary.json").read_text())["iterations"] == 2
        last = lines(folder / "progress.jsonl")[-1]
        assert (last["final"], last["jobId"], last["progress"]["iteration"]) == (True, "local", 2)

        page = folder / "report.html"
        page.unlink()
        code, output = start("report", str(folder)).end()
        assert code == 0, output
        assert page.exists()

    def test_more_memory_than_the_machine_has_is_refused_at_once_with_the_arithmetic(self, start, tmp_path):
        file = manifest(tmp_path, PPO | {"sampling": {"envRunners": 10_000}, "stop": {"iterations": 1}})
        command = start("run", "-f", file)
        code, output = command.end(AT_ONCE)
        assert code == 2
        assert "InsufficientResources: the run needs about" in output
        assert "10000 env runners x 0.40 GiB" in output
        assert "lower spec.sampling.envRunners" in output

    def test_more_gpus_than_the_machine_has_are_refused(self, start, tmp_path):
        file = manifest(tmp_path, {"entrypoint": "true", "resources": {"cpus": 1, "gpus": 99}})
        code, output = start("run", "-f", file).end()
        assert code == 2
        assert "InsufficientResources: the run needs 99 GPUs at the same time and this machine has " in output
        assert "spec.resources" in output

    def test_all_wrong_fields_are_named_with_what_to_write_and_no_folder_is_made(self, start, tmp_path):
        wrong = PPO | {"sampling": {"envRunner": 1}, "stop": {"iterations": 1}}
        wrong["algorithm"] = {"name": "PPO", "config": {"learning_rate": 0.1}}
        code, output = start("run", "-f", manifest(tmp_path, wrong)).end()
        assert code == 2
        assert "InvalidConfiguration" in output
        assert "spec.sampling.envRunner: " in output
        assert "spec.algorithm.config.learning_rate: " in output
        assert "write lr" in output
        assert "Traceback" not in output
        assert not (tmp_path / "results").exists()


class TestOnARunningRay:
    def test_a_function_beside_the_file_runs_there_and_the_ray_goes_on(self, start, tmp_path, ray_session):
        (tmp_path / "beside.py").write_text(
            "def train(config):\n"
            "    import ray\n"
            "    context = ray.get_runtime_context()\n"
            "    for epoch in range(2):\n"
            "        yield {'reward': float(config['x'] * (epoch + 1)), 'job': int(context.get_job_id(), 16)}\n"
        )
        before = {job["JobID"] for job in ray_session.state.jobs()}
        file = manifest(tmp_path, {"trainable": {"function": "beside:train"}, "search": SEARCH})
        address = ray_session.get_runtime_context().gcs_address
        code, output = start("run", "-f", file, "--ray-address", address).end()
        assert code == 0, output
        (folder,) = (tmp_path / "results").iterdir()
        table = rows(folder / "trials.csv")
        assert [(row["x"], row["reward"], row["state"]) for row in table] == [
            ("1", "2.0", "Succeeded"),
            ("2", "4.0", "Succeeded"),
        ]
        new = {int(job["JobID"], 16) for job in ray_session.state.jobs() if job["JobID"] not in before}
        assert {int(float(row["job"])) for row in table} <= new
        assert ray_session.get(ray_session.remote(lambda: 3).remote()) == 3

    def test_more_cpus_than_that_ray_has_are_refused_at_once_with_both_numbers(self, start, tmp_path, ray_nodes):
        search = SEARCH | {"resourcesPerTrial": {"cpu": 9}, "maxConcurrentTrials": 1}
        file = manifest(tmp_path, {"trainable": {"function": "functions:generator"}, "search": search})
        command = start("run", "-f", file, "--ray-address", ray_nodes.address)
        code, output = command.end(AT_ONCE)
        assert code == 2
        assert "the run needs 9 logical CPUs at the same time" in output
        assert f"{ray_nodes.address} has 4" in output
        assert "resourcesPerTrial.cpu" in output

    def test_a_program_that_fails_gives_the_command_its_exit_code(self, start, tmp_path, ray_nodes):
        file = manifest(tmp_path, {"entrypoint": "echo no fuel; exit 7", "resources": {"cpus": 1}})
        code, output = start("run", "-f", file, "--ray-address", ray_nodes.address).end()
        assert code == 7
        assert "no fuel" in output
        (folder,) = (tmp_path / "results").iterdir()
        last = lines(folder / "progress.jsonl")[-1]
        assert (last["final"], last["failure"]["reason"]) == (True, "ExitCode7")


class TestDrivers:
    def test_a_driver_that_is_ended_keeps_its_checkpoint_and_the_next_submission_goes_on(self, drive, tmp_path):
        spec = PPO | {"stop": {"iterations": 25}, "checkpoints": {"everyIterations": 1, "keep": 3}}
        spec["sampling"] = {"envRunners": 1}
        place = tmp_path / "storage" / "team" / "run" / "u"
        command = drive(spec)
        progress = tmp_path / "trainyard-ty-u-1-1.jsonl"
        wait_for(progress, command, lambda line: "latest" in line.get("checkpoint", {}))
        command.process.send_signal(signal.SIGTERM)
        code, output = command.end(AT_ONCE)
        assert code == 143, output
        last = lines(progress)[-1]
        assert last["final"]
        assert (last["failure"]["kind"], last["failure"]["reason"]) == ("Run", "Terminated")
        kept = last["checkpoint"]["latest"]
        assert kept["uri"] == f"file://{place}/checkpoints/{kept['iteration']}"
        assert (place / "checkpoints" / str(kept["iteration"]) / "trainyard.json").exists()
        assert len(rows(place / "progress.csv")) >= kept["iteration"]

        code, output = drive(spec, submission=2).end()
        assert code == 0, output
        resumed = lines(tmp_path / "trainyard-ty-u-1-2.jsonl")[-1]
        assert resumed["startedIteration"] == kept["iteration"]
        assert (resumed["final"], resumed["progress"]["iteration"]) == (True, 25)
        assert "failure" not in resumed
        # One curve, nothing twice.
        assert [float(row["time/iteration"]) for row in rows(place / "progress.csv")] == list(range(1, 26))
        assert json.loads((place / "summary.json").read_text())["iterations"] == 25

    def test_a_search_that_is_ended_keeps_the_trials_that_have_run(self, drive, tmp_path, ray_session):
        parameters = [{"path": "trainable.config.x", "grid": [0, 600]}]
        search = SEARCH | {"parameters": parameters, "maxConcurrentTrials": 2}
        command = drive({"trainable": {"function": "functions:long"}, "search": search})
        progress = tmp_path / "trainyard-ty-u-1-1.jsonl"
        wait_for(progress, command, one_of_two_has_run)
        command.process.send_signal(signal.SIGTERM)
        code, output = command.end(AT_ONCE)
        assert code == 143, output
        last = lines(progress)[-1]
        assert (last["final"], last["failure"]["reason"]) == (True, "Terminated")
        assert last["trials"]["succeeded"] == 1
        table = rows(tmp_path / "storage" / "team" / "run" / "u" / "trials.csv")
        assert (table[0]["x"], table[0]["state"]) == ("0", "Succeeded")
        assert table[1]["state"] != "Succeeded"
        # The trial that was running is gone, too.
        deadline = time.monotonic() + 30
        while ray_session.available_resources().get("CPU", 0) < 4 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ray_session.available_resources()["CPU"] == 4

    def test_a_refused_parameter_is_the_users_error_with_its_field(self, drive, tmp_path):
        wrong = PPO | {"algorithm": {"name": "PPO", "config": {"lrr": 0.1}}, "stop": {"iterations": 1}}
        code, output = drive(wrong).end()
        assert code == 2, output
        last = lines(tmp_path / "trainyard-ty-u-1-1.jsonl")[-1]
        assert last["final"]
        assert (last["failure"]["kind"], last["failure"]["field"]) == ("User", "spec.algorithm.config.lrr")
        assert "did you mean lr?" in last["failure"]["message"]

    def test_a_program_finds_the_ray_that_it_was_started_on_and_reports(self, drive, tmp_path, ray_nodes):
        (tmp_path / "program.py").write_text(
            "import ray, trainyard\n"
            "ray.init(logging_level='ERROR')\n"
            "trainyard.report(percent=50, metrics={'cpus': ray.cluster_resources()['CPU']})\n"
            "print('at', ray.get_runtime_context().gcs_address)\n"
        )
        spec = {"entrypoint": f"{sys.executable} program.py", "resources": {"cpus": 1}}
        code, output = drive(spec, "drive-entrypoint").end()
        assert code == 0, output
        assert f"at {ray_nodes.address}" in output
        found = lines(tmp_path / "trainyard-ty-u-1-1.jsonl")
        assert [line["progress"].get("percent") for line in found] == [None, 50, 100]
        assert (found[-1]["final"], found[-1]["summary"]) == (True, {"cpus": 4.0})
