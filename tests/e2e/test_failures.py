"""A bad world: each ends in the right phase, says why, and leaves nothing."""

import time

import pytest

from tests.e2e.cluster import Cluster, condition, is_ready, status

pytestmark = pytest.mark.timeout(300)

REPORTING = (
    'python -u -c "import time, trainyard\n'
    "for i in range(1, {steps} + 1):\n"
    "    trainyard.report(iteration=i, percent=100 * i / {steps}); print('step', i); time.sleep(0.5)\n"
    '"'
)


def program(seconds: float) -> dict:
    """A light Ray program that reports twice a second for about `seconds`."""
    return {"entrypoint": REPORTING.format(steps=int(seconds * 2)), "resources": {"cpus": 1, "memory": "2Gi"}}


def running_with_progress(run: dict) -> bool:
    return status(run).get("phase") == "Running" and status(run).get("progress", {}).get("iteration", 0) >= 2


def test_a_driver_that_fails_is_retried_and_then_explained(cluster: Cluster, namespace: str) -> None:
    code = "import sys; print('about to fail'); raise ValueError('the learning rate went for a walk')"
    spec = {"entrypoint": f'python -c "{code}"', "resources": {"cpus": 1}, "backoffLimit": 1}
    cluster.apply(namespace, "fails", spec)
    run = cluster.wait_phase(namespace, "fails", "Failed", 120)
    assert len(status(run)["attempts"]) == 2
    assert all(a["exitCode"] == 1 for a in status(run)["attempts"])
    assert "went for a walk" in status(run)["failure"]["logTail"]
    assert condition(run, "Stalled")["status"] == "True"
    assert condition(run, "Ready")["status"] == "False"
    cluster.wait_cluster_gone(namespace)


def test_a_users_error_is_not_retried(cluster: Cluster, namespace: str) -> None:
    spec = {
        "algorithm": {"name": "PPO", "config": {"minibatch_sze": 64}},
        "environment": {"name": "CartPole-v1"},
        "stop": {"iterations": 1},
    }
    cluster.apply(namespace, "typo", spec)
    run = cluster.wait_phase(namespace, "typo", "Failed", 120)
    assert len(status(run)["attempts"]) == 1
    assert status(run)["attempts"][0]["exitCode"] == 2
    assert "minibatch_size" in status(run)["failure"]["message"]
    cluster.wait_cluster_gone(namespace)


def test_a_request_that_no_node_can_hold_is_named_within_seconds(cluster: Cluster, namespace: str) -> None:
    spec = program(1) | {
        "resources": {"cpus": 1, "memory": "100Gi"},
        "provisioningDeadlineSeconds": 20,
        "backoffLimit": 0,
    }
    cluster.apply(namespace, "huge", spec)
    run = cluster.wait(
        namespace, "huge", lambda r: condition(r, "ClusterReady").get("reason") == "Unschedulable", "condition", 15
    )
    assert "memory" in condition(run, "ClusterReady")["message"]
    run = cluster.wait_phase(namespace, "huge", "Failed", 60)
    assert status(run)["failure"]["reason"] == "ProvisioningDeadlineExceeded"
    cluster.wait_cluster_gone(namespace)


def test_an_image_that_cannot_be_pulled_is_named_within_seconds(cluster: Cluster, namespace: str) -> None:
    spec = program(1) | {"image": "127.0.0.1:9/no/such-image:v1", "provisioningDeadlineSeconds": 25, "backoffLimit": 0}
    cluster.apply(namespace, "no-image", spec)
    reasons = {"ErrImagePull", "ImagePullBackOff"}
    run = cluster.wait(
        namespace, "no-image", lambda r: condition(r, "ClusterReady").get("reason") in reasons, "condition", 20
    )
    assert "no/such-image" in condition(run, "ClusterReady")["message"]
    cluster.wait_phase(namespace, "no-image", "Failed", 60)
    cluster.wait_cluster_gone(namespace)


def test_storage_that_cannot_be_written_is_the_users_error(cluster: Cluster, namespace: str) -> None:
    spec = {
        "algorithm": {"name": "PPO"},
        "environment": {"name": "CartPole-v1"},
        "stop": {"iterations": 1},
        "storage": {"uri": "file:///root-owned/results"},
    }
    cluster.apply(namespace, "storage", spec)
    run = cluster.wait_phase(namespace, "storage", "Failed", 90)
    assert status(run)["failure"]["reason"] == "StorageNotWritable"
    assert "/root-owned/results" in status(run)["failure"]["message"]
    assert len(status(run)["attempts"]) == 1
    cluster.wait_cluster_gone(namespace)


def test_an_image_without_ray_is_the_users_error(cluster: Cluster, namespace: str) -> None:
    (operator, *_) = cluster.operator_pods()
    image = operator.spec.containers[0].image
    cluster.apply(namespace, "no-ray", program(1) | {"image": image})
    run = cluster.wait_phase(namespace, "no-ray", "Failed", 60)
    assert status(run)["failure"]["reason"] == "ImageLacksRay"
    assert status(run)["failure"]["field"] == "spec.image"
    assert len(status(run)["attempts"]) == 1
    cluster.wait_cluster_gone(namespace)


def test_a_lost_head_gives_a_new_attempt_and_keeps_the_reason(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, "head", program(15))
    cluster.wait(namespace, "head", running_with_progress, "progress", 90)
    pod = cluster.head_pod(namespace)
    cluster.core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)
    run = cluster.wait_phase(namespace, "head", "Succeeded", 150)
    assert status(run)["attempt"] == 2
    assert status(run)["attempts"][0]["reason"] == "HeadLost"
    cluster.wait_cluster_gone(namespace)


def test_a_run_deleted_in_the_middle_leaves_nothing(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, "deleted", program(60))
    cluster.wait(namespace, "deleted", running_with_progress, "progress", 90)
    cluster.delete(namespace, "deleted")
    assert cluster.wait_until_clean(namespace, 40) == []


def test_suspend_removes_the_cluster_and_resume_finishes_the_run(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, "paused", program(25))
    cluster.wait(namespace, "paused", running_with_progress, "progress", 90)
    cluster.patch(namespace, "paused", {"suspend": True})
    run = cluster.wait_phase(namespace, "paused", "Suspended", 30)
    assert condition(run, "Suspended")["status"] == "True"
    cluster.wait_cluster_gone(namespace)
    cluster.patch(namespace, "paused", {"suspend": False})
    run = cluster.wait_phase(namespace, "paused", "Succeeded", 120)
    assert status(run).get("failures", 0) == 0


def test_a_cluster_suspended_from_outside_is_queued_and_goes_on_when_released(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, "queued", program(25))
    run = cluster.wait(namespace, "queued", running_with_progress, "progress", 90)
    name = status(run)["clusterName"]
    cluster.patch_ray_cluster(namespace, name, {"suspend": True})
    cluster.wait_phase(namespace, "queued", "Queued", 40)
    assert [c["metadata"]["name"] for c in cluster.ray_clusters(namespace)] == [name], (
        "the cluster is not ours to touch"
    )
    cluster.patch_ray_cluster(namespace, name, {"suspend": False})
    run = cluster.wait_phase(namespace, "queued", "Succeeded", 120)
    assert status(run).get("failures", 0) == 0
    assert status(run)["attempt"] == 1
    cluster.wait_cluster_gone(namespace)


def test_an_operator_killed_in_the_middle_goes_on_where_it_was(cluster: Cluster, namespace: str) -> None:
    cluster.apply(namespace, "restart", program(15))
    before = cluster.wait(namespace, "restart", running_with_progress, "progress", 90)
    for pod in cluster.operator_pods():
        cluster.core.delete_namespaced_pod(pod.metadata.name, "trainyard-system", grace_period_seconds=0)
    run = cluster.wait_phase(namespace, "restart", "Succeeded", 120)
    assert status(run)["jobId"] == status(before)["jobId"]
    assert status(run)["attempt"] == 1
    cluster.wait_cluster_gone(namespace)


def test_a_frozen_leader_is_replaced_and_does_no_harm_when_it_wakes(cluster: Cluster, namespace: str) -> None:
    cluster.scale_operator(2)
    try:
        cluster.apply(namespace, "frozen", program(20))
        before = cluster.wait(namespace, "frozen", running_with_progress, "progress", 90)
        leader = cluster.leader()
        cluster.signal_operator(leader, "SIGSTOP")
        deadline = time.monotonic() + 60
        while cluster.leader() == leader:
            assert time.monotonic() < deadline, "no other replica took the Lease"
            time.sleep(1)
        cluster.signal_operator(leader, "SIGCONT")
        run = cluster.wait_phase(namespace, "frozen", "Succeeded", 120)
        assert status(run)["jobId"] == status(before)["jobId"]
        cluster.wait_cluster_gone(namespace)
    finally:
        cluster.scale_operator(1)
    assert all(is_ready(p) for p in cluster.operator_pods())
