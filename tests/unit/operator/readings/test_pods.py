"""What pods say, in the API's own forms (taken from a real kubelet and scheduler, shortened)."""

from typing import Any

import pytest

from trainyard_operator.readings.pods import read_pod


def form(**status: Any) -> dict[str, Any]:
    labels = {"ray.io/node-type": "head"}
    return {"metadata": {"name": "p", "namespace": "n", "labels": labels}, "status": status}


def waiting(reason: str, message: str = "", image: str = "example/x:1") -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"name": "ray", "image": image, "state": state, "lastState": {}}


def terminated(reason: str, code: int) -> dict[str, Any]:
    return {"name": "ray", "state": {"terminated": {"reason": reason, "exitCode": code}}}


def test_a_pod_that_nobody_can_place_says_why() -> None:
    message = "0/1 nodes are available: 1 Insufficient memory."
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    pod = read_pod(form(phase="Pending", conditions=[scheduled]))
    assert (pod.problem.reason, pod.problem.message) == ("Unschedulable", message)


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff"])
def test_an_image_that_cannot_be_pulled_is_named(reason) -> None:
    pod = read_pod(form(phase="Pending", containerStatuses=[waiting(reason, "connection refused", "host/no/such:1")]))
    assert pod.problem.reason == reason
    assert "host/no/such:1" in pod.problem.message
    assert "connection refused" in pod.problem.message


def test_an_image_name_that_is_none_is_told_in_kubernetes_words() -> None:
    pod = read_pod(form(phase="Pending", containerStatuses=[waiting("InvalidImageName", "bad", "A:B:C")]))
    assert (pod.problem.reason, pod.problem.message) == ("InvalidImageName", "A:B:C: bad")


def test_an_init_container_counts_too() -> None:
    pod = read_pod(form(phase="Pending", initContainerStatuses=[waiting("CreateContainerConfigError", "no secret x")]))
    assert pod.problem.reason == "CreateContainerConfigError"


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_container_on_its_way_is_no_problem(reason) -> None:
    assert read_pod(form(phase="Pending", containerStatuses=[waiting(reason)])).problem is None


def test_a_gated_pod_is_no_problem() -> None:
    gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
    assert read_pod(form(phase="Pending", conditions=[gated])).problem is None


def test_a_running_ready_pod() -> None:
    pod = read_pod(form(phase="Running", podIP="10.0.0.7", conditions=[{"type": "Ready", "status": "True"}]))
    assert (pod.head, pod.ready, pod.over, pod.address) == (True, True, False, "10.0.0.7")


@pytest.mark.parametrize(
    "container",
    [
        terminated("OOMKilled", 137),
        {
            "name": "ray",
            "state": {"running": {}},
            "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        },
    ],
    ids=["now", "before its restart"],
)
def test_a_container_killed_for_memory_is_remembered(container) -> None:
    end = read_pod(form(phase="Running", containerStatuses=[container])).end
    assert (end.reason, end.exit_code) == ("OOMKilled", 137)


def test_an_evicted_pod_says_so_itself() -> None:
    pod = read_pod(form(phase="Failed", reason="Evicted", message="The node was low on memory."))
    assert (pod.over, pod.end.reason, pod.problem.reason) == (True, "Evicted", "Evicted")


def test_a_pod_that_is_being_deleted_is_over() -> None:
    one = form(phase="Running")
    one["metadata"]["deletionTimestamp"] = "2026-05-01T12:00:00Z"
    assert read_pod(one).over


def test_a_pod_without_any_status_yet() -> None:
    pod = read_pod({"metadata": {"name": "p", "namespace": "n"}})
    assert (pod.phase, pod.head, pod.problem, pod.end) == ("Pending", False, None, None)


@pytest.mark.parametrize(
    ("status", "steps"),
    [
        ({}, 1),
        ({"conditions": [{"type": "PodScheduled", "status": "False"}]}, 1),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, 2),
        ({"initContainerStatuses": [terminated("Completed", 0)], "containerStatuses": [waiting("PodInitializing")]}, 2),
        ({"containerStatuses": [{"name": "ray", "state": {"running": {}}}]}, 2),
    ],
    ids=["there", "not placed", "placed", "an image is there", "runs"],
)
def test_how_far_a_pod_has_come(status, steps) -> None:
    assert read_pod(form(phase="Pending", **status)).steps == steps
