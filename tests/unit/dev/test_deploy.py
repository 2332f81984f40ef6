"""What the chart is told."""

from typing import Any

import pytest

from dev.cluster.deploy import hopeless, is_rolled_out, values
from dev.cluster.images import Images


def test_references_are_split_at_the_tag_and_not_at_the_registrys_port() -> None:
    images = Images(operator="localhost:5000/trainyard-operator:abc", training="localhost:5000/trainyard-training:def")
    assert values(images) == {
        "image.repository": "localhost:5000/trainyard-operator",
        "image.tag": "abc",
        "training.image.repository": "localhost:5000/trainyard-training",
        "training.image.tag": "def",
    }


def pod(image: str, state: dict[str, Any]) -> dict[str, Any]:
    return {
        "metadata": {"name": "trainyard-1"},
        "spec": {"containers": [{"image": image}]},
        "status": {"containerStatuses": [{"state": state}]},
    }


def test_a_pod_that_will_not_start_is_not_waited_for() -> None:
    crashing = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    starting = {"waiting": {"reason": "ContainerCreating"}}
    pods = [pod("new", crashing), pod("new", starting), pod("old", crashing), pod("new", {"running": {}})]
    assert hopeless(pods, "new") == [("trainyard-1", "CrashLoopBackOff: back-off 10s")]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        ({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, False),
        ({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}, False),
        ({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}, True),
    ],
    ids=["nothing yet", "an older generation", "the old pod is still there", "done"],
)
def test_a_roll_out_is_over_when_only_new_pods_are_left(status: dict[str, Any], expected: bool) -> None:
    deployment = {"metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}
    assert is_rolled_out(deployment) is expected
