"""The best policy of a whole run as a file: where it is, that the summary names it, and what it plays."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.specs import small_ppo
from trainyard.launch import workloads
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs.job import Job
from trainyard.runs.run import Identity
from trainyard.runs.storage import at_directory, at_uri
from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse
from trainyard.training import exporting

pytestmark = pytest.mark.usefixtures("ray_session")


def trained(storage, folder, **sections):
    """The summary of a small run."""
    from rich.console import Console

    place = {"environment": {"name": "environments:Corridor"}, "sampling": {"envRunners": 0, "envsPerRunner": 1}}
    spec = normalise_numbers(small_ppo(steps=100, **place | sections))
    sink = Progress(ProgressFile(folder / "progress.jsonl", "local"))
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "r"}, "spec": spec}
    with (folder / "output.txt").open("w") as output:
        console = Console(file=output)
        return workloads.run(Job(Identity("r"), parse(spec), document, storage, sink, console))


def test_it_is_beside_the_best_checkpoint_and_the_summary_names_it(tmp_path):
    storage = at_directory(tmp_path / "run")
    summary = trained(storage, tmp_path, evaluation={"episodes": 1})
    assert summary["policy"] == "checkpoints/best/policy.pt2"
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["policy"] == summary["policy"]
    policy = torch.export.load(tmp_path / "run" / summary["policy"]).module()
    actions = policy(torch.eye(5))
    assert actions.shape == (5,)
    assert set(actions.tolist()) <= {0, 1}
    assert [path.name for path in Path(tmp_path / "run" / "checkpoints" / "best").glob("*policy*")] == ["policy.pt2"]


def test_behind_a_uri_it_is_there(tmp_path):
    storage = at_uri(f"fsspec+memory:///policies-{time.monotonic_ns()}", "r")
    summary = trained(storage, tmp_path, evaluation={"episodes": 1})
    copied = storage.download("checkpoints/best") / "policy.pt2"
    assert summary["policy"] == "checkpoints/best/policy.pt2"
    assert torch.export.load(copied).module()(torch.eye(5)).shape == (5,)


def test_a_run_whose_policy_cannot_be_exported_succeeds_and_says_why(tmp_path):
    model = {"fcnet_hiddens": [8], "use_lstm": True, "lstm_cell_size": 4, "max_seq_len": 5}
    config = {"train_batch_size_per_learner": 100, "minibatch_size": 50, "num_epochs": 1}
    algorithm = {"name": "PPO", "config": config, "model": model}
    summary = trained(at_directory(tmp_path / "run"), tmp_path, evaluation={"episodes": 1}, algorithm=algorithm)
    assert "policy" not in summary
    assert summary["policyNotExported"].startswith("the network is recurrent")


def test_a_file_that_cannot_be_written_does_not_fail_the_run_either(tmp_path, monkeypatch):
    def full(store, file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.CheckpointStore, "add_to_best", full)
    summary = trained(at_directory(tmp_path / "run"), tmp_path, evaluation={"episodes": 1})
    assert "No space left on device" in summary["policyNotExported"]


def test_without_a_validation_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "export_best", lambda run: pytest.fail("nobody asked for it"))
    summary = trained(at_directory(tmp_path / "run"), tmp_path)
    assert np.isfinite(summary["bestValue"])
    assert not {"policy", "policyNotExported"} & set(summary)
