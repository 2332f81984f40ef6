"""The clean-up on a real Ray with two nodes (of this machine)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from trainyard.cleanup import RayTrainingCleanup, session_folder

pytestmark = pytest.mark.usefixtures("ray_session")

TIME = "2026-01-01_00-00-00"


def artifacts():
    """Tune's folders of an experiment, on each node."""
    return [session_folder(node) / "artifacts" / TIME / "experiment" for node in ray.nodes()]


def leave_behind(cleanup):
    (cleanup.folder / "scratch").write_bytes(b"x" * 100)
    for folder in artifacts():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trial").write_bytes(b"x" * 10)


def test_tune_keeps_the_files_of_trials_where_the_clean_up_looks(tmp_path):
    from ray import tune

    def trial(config):
        tune.report({"score": 1, "directory": os.getcwd()})

    tuner = tune.Tuner(trial, run_config=tune.RunConfig(storage_path=str(tmp_path), name="experiment", verbose=0))
    with RayTrainingCleanup() as cleanup:
        (result,) = tuner.fit()
        trial_folder = Path(result.metrics["directory"])
        assert any(session_folder(node) / "artifacts" in trial_folder.parents for node in ray.nodes())
        assert trial_folder.exists()
    assert not trial_folder.exists()
    assert cleanup.report.errors == ()
    # The results that were asked for stay.
    assert list((tmp_path / "experiment").glob("*/result.json"))


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_success_errors_and_interruptions_all_clean_up(error):
    def training():
        with RayTrainingCleanup() as cleanup:
            made.append(cleanup)
            leave_behind(cleanup)
            if error is not None:
                raise error("in the middle")

    made = []
    if error is None:
        training()
    else:
        with pytest.raises(error):
            training()
    (cleanup,) = made
    assert not cleanup.folder.exists()
    assert not any(folder.exists() for folder in artifacts())
    # both nodes are this machine, and the first to come finds the files
    assert cleanup.report.bytes >= 110
    assert len(cleanup.report.nodes) == 2
    assert cleanup.report.errors == ()


def test_a_dry_run_tells_the_bytes_and_keeps_the_files():
    with RayTrainingCleanup(dry_run=True) as cleanup:
        leave_behind(cleanup)
    assert cleanup.folder.exists()
    assert cleanup.report.bytes >= 110
    with RayTrainingCleanup():
        pass
    assert cleanup.folder.exists(), "another run's folder was removed"
    assert all(folder.exists() for folder in artifacts()), "another run's trials were removed"


def test_a_listed_server_that_is_no_node_is_reported_and_the_others_are_cleaned():
    address = ray.nodes()[0]["NodeManagerAddress"]
    with RayTrainingCleanup(cleanup_servers=[address, "10.255.255.1"]) as cleanup:
        leave_behind(cleanup)
    assert not cleanup.folder.exists()
    assert any(error.startswith("10.255.255.1: is no alive node") for error in cleanup.report.errors)


def test_without_a_connected_ray_every_process_of_the_job_uses_the_runs_folder(ray_nodes):
    program = """
import json, tempfile, ray
from trainyard.cleanup import RayTrainingCleanup

with RayTrainingCleanup() as cleanup:
    @ray.remote
    def where():
        import tempfile
        open(tempfile.mkstemp()[1], "w").write("x" * 500)
        return tempfile.gettempdir()
    folder = ray.get(where.remote())
found = {"same": folder == str(cleanup.folder), "exists": cleanup.folder.exists(), "bytes": cleanup.report.bytes}
print(json.dumps(found))
"""
    environment = os.environ | {"RAY_ADDRESS": ray_nodes.address}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["same"]
    assert not found["exists"]
    assert found["bytes"] >= 500


def test_a_process_that_starts_after_the_clean_up_makes_nothing_again(ray_nodes, tmp_path):
    program = """
import json, tempfile, ray
from pathlib import Path
from trainyard.cleanup import RayTrainingCleanup
from trainyard.requirements import Requirements

@ray.remote(max_retries=0)
def where():
    return tempfile.gettempdir()

cleanup = RayTrainingCleanup()
# That could only be installed anew: there is no such package.
requirements = Requirements(str(cleanup.folder / "packages"), ("nobody-has-this",), ("--no-index",))
cleanup.ray_options = {"runtime_env": requirements.runtime_env()}
with cleanup:
    Path(requirements.folder).mkdir()
    Path(requirements.folder, "installed").touch()
    before = ray.get(where.remote())
after = ray.get(where.options(runtime_env={"env_vars": {"OTHER": "process"}}).remote())
found = {"before": before == str(cleanup.folder), "after": after, "errors": cleanup.report.errors}
print(json.dumps(found | {"exists": cleanup.folder.exists()}))
"""
    environment = os.environ | {"RAY_ADDRESS": ray_nodes.address, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    # The folder of the variable TMPDIR is gone, so Python takes the machine's.
    assert found == {"before": True, "after": "/tmp", "errors": [], "exists": False}
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_starts_later_leaves_the_folder_of_a_node_that_is_not_cleaned(ray_nodes, tmp_path):
    program = """
import json, tempfile, ray
from trainyard.cleanup import RayTrainingCleanup

@ray.remote(max_retries=0)
def where():
    return tempfile.gettempdir()

with RayTrainingCleanup(cleanup_servers=["10.255.255.1"]) as cleanup:
    (cleanup.folder / "scratch").touch()
after = ray.get(where.options(runtime_env={"env_vars": {"OTHER": "process"}}).remote())
print(json.dumps({"same": after == str(cleanup.folder), "there": (cleanup.folder / "scratch").exists()}))
"""
    environment = os.environ | {"RAY_ADDRESS": ray_nodes.address, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == {"same": True, "there": True}


TRIAL = {"trainable": {"function": "trainyard.examples.tune_grid:train", "config": {"lr": 0.1, "trial_id": 1}}}


def drive(nodes, folder, work=TRIAL, **cleanup):
    """A driver as the operator starts it on an existing RayCluster; its output."""
    spec = {
        **work,
        "cluster": {"selector": {"matchLabels": {"team": "rl"}}, **({"cleanup": cleanup} if cleanup else {})},
        "storage": {"uri": (folder / "storage").as_uri()},
    }
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "r"}, "spec": spec}
    environment = os.environ | {
        "RAY_ADDRESS": nodes.address,
        "TRAINYARD_PROGRESS_DIR": str(folder),
        "TRAINYARD_RUN": json.dumps(document),
        "TMPDIR": str(folder / "tmp"),
    }
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "trainyard.cli", "drive"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_on_an_existing_cluster_cleans_up_by_itself(ray_nodes, tmp_path):
    output = drive(ray_nodes, tmp_path)
    assert "freed" in output
    assert list((tmp_path / "tmp").glob("trainyard-run-*")) == []
    assert (tmp_path / "storage" / "default" / "r" / "local" / "summary.json").exists(), "results stay"


def test_the_run_can_say_what_is_cleaned(ray_nodes, tmp_path):
    output = drive(ray_nodes, tmp_path, servers=["10.255.255.1"], dryRun=True)
    assert "10.255.255.1: would free 0 bytes" in output
    assert "is no alive node of the Ray cluster" in output
    assert len(list((tmp_path / "tmp").glob("trainyard-run-*"))) == 1


def test_the_clean_up_can_be_turned_off(ray_nodes, tmp_path):
    assert "free" not in drive(ray_nodes, tmp_path, enabled=False)


def test_a_cluster_with_too_few_gpus_is_told_and_waited_for(ray_nodes, tmp_path):
    drive(ray_nodes, tmp_path, {"entrypoint": "true", "resources": {"cpus": 1, "gpus": 2}})
    (progress,) = tmp_path.glob("trainyard-*.jsonl")
    told = {item["type"]: item for item in json.loads(progress.read_text().splitlines()[-1])["conditions"]}
    assert told["TooFewGpus"]["message"] == ("the run needs 2 GPUs at the same time and the Ray cluster has 0 now")
    assert "TooFewCpus" not in told
