"""Samples, applied as a user applies them, their results held against the numbers that their teams gave."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster, condition, status

SAMPLES = Path(__file__).parents[2] / "manifests" / "samples"
pytestmark = pytest.mark.timeout(420)


def results(cluster: Cluster, namespace: str, run: dict) -> dict[str, str]:
    """The data of the ConfigMap that outlives the cluster."""
    name = status(run)["results"]["configMap"]
    return cluster.core.read_namespaced_config_map(name, namespace).data


def test_cartpole_ppo_ends_with_a_trained_policy_and_no_cluster(cluster: Cluster, default_storage: str) -> None:
    namespace = default_storage
    name = cluster.apply_file(namespace, SAMPLES / "cartpole-ppo.yaml")
    cluster.wait(
        namespace, name, lambda r: status(r).get("progress", {}).get("iteration", 0) >= 1, "first iteration", 180
    )
    assert f'name="{name}"' in cluster.metrics_text()
    run = cluster.wait_phase(namespace, name, "Succeeded", 300)
    progress = status(run)["progress"]
    assert progress["iteration"] == 10
    assert progress["envSteps"] >= 40_000
    assert progress["episodeReturnMean"] > 60, "a random policy has about 22"
    assert status(run)["checkpoint"]["latest"]["iteration"] == 10
    assert condition(run, "Ready")["status"] == "True"
    # The cluster is deleted only once the end is on record, so this condition comes a moment later.
    cluster.wait(namespace, name, lambda r: condition(r, "CleanedUp").get("status") == "True", "clean-up", 30)
    cluster.wait_cluster_gone(namespace)
    assert json.loads(results(cluster, namespace, run)["summary.json"])
    table = cluster.kubectl("get", "trainingruns", "-n", namespace, name)
    assert table.splitlines()[0].split()[:2] == ["NAME", "PHASE"]
    assert "Succeeded" in table


def test_the_nine_trial_grid_gives_the_numbers_of_its_team(cluster: Cluster, default_storage: str) -> None:
    namespace = default_storage
    name = cluster.apply_file(namespace, SAMPLES / "tune-grid.yaml")
    run = cluster.wait_phase(namespace, name, "Succeeded", 240)
    trials = status(run)["trials"]
    assert (trials["total"], trials["succeeded"], trials["failed"]) == (9, 9, 0)
    best = trials["best"]
    assert best["parameters"]["lr"] == pytest.approx(0.01)
    assert best["metric"] == "reward"
    assert best["value"] == pytest.approx(1010.00, abs=0.005)
    assert best["metrics"]["loss"] == pytest.approx(0.0990, abs=0.00005)
    rows = list(csv.DictReader(io.StringIO(results(cluster, namespace, run)["trials.csv"])))
    assert len(rows) == 9
    assert len({row["hostname"] for row in rows}) >= 2, "the trials ran on one pod"
    cluster.wait_cluster_gone(namespace)


def test_ten_tasks_run_on_at_least_two_pods(cluster: Cluster, namespace: str) -> None:
    name = cluster.apply_file(namespace, SAMPLES / "simple-ray-job.yaml")
    run = cluster.wait_phase(namespace, name, "Succeeded", 180)
    summary = json.loads(results(cluster, namespace, run)["summary.json"])
    assert summary["tasks"] == 10
    assert summary["hosts"] >= 2
    cluster.wait_cluster_gone(namespace)


def test_ten_runners_collect_whole_episodes_within_the_memory_that_they_asked_for(
    cluster: Cluster, namespace: str
) -> None:
    name = cluster.apply_file(namespace, SAMPLES / "cartpole-asynchronous.yaml")
    run = cluster.wait_phase(namespace, name, "Succeeded", 240)
    assert status(run)["attempt"] == 1, status(run)["attempts"]
    progress = status(run)["progress"]
    assert progress["episodes"] >= 400
    assert progress["episodeReturnMean"] > 60, "a random policy has about 22"
    cluster.wait_cluster_gone(namespace)
