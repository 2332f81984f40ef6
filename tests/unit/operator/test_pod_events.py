"""A pod that waits without a reason of its own is explained by its Events, and nobody is asked without need."""

from typing import Any

import pytest

from tests.unit.operator.builders import KEY, NAME
from tests.unit.operator.test_reconcile import Form, World
from trainyard_operator import errors
from trainyard_operator.cache import Kind

SANDBOX = {"type": "Warning", "reason": "FailedCreatePodSandBox", "message": "failed to set up network"}


def told(world: World, name: str, second: int, **event: Any) -> None:
    metadata = {"name": name, "creationTimestamp": f"2026-05-01T12:00:{second:02}Z"}
    world.kube.put("events", {"metadata": metadata, **event})


def pod(world: World, **status: Any) -> None:
    labels = {"trainyard.dev/run": KEY.name, "ray.io/cluster": NAME, "ray.io/node-type": "head"}
    metadata = {"namespace": KEY.namespace, "name": f"{NAME}-head", "labels": labels, "uid": "p-1"}
    world.cache.apply(
        Kind.POD, world.kube.put("pods", {"metadata": metadata, "status": {"phase": "Pending", **status}})
    )


async def waiting(world: World, seconds: float = 11) -> Form:
    """The condition ClusterReady of a cluster whose pod waits for that long."""
    await world.step()
    wait = await world.step()
    assert wait <= 10, "nothing else wakes the operator"
    await world.step(seconds)
    return world.condition("ClusterReady")


@pytest.fixture
def world() -> World:
    made = World()
    told(made, "b", 7, **SANDBOX)
    told(made, "a", 9, type="Warning", reason="Unhealthy", message="Readiness probe failed")
    told(made, "c", 9, type="Normal", reason="Scheduled", message="assigned")
    told(made, "d", 5, type="Warning", reason="FailedMount", message="an earlier trouble")
    return made


async def test_the_last_warning_is_in_the_condition_and_in_the_deadlines_words(world) -> None:
    await world.step()
    pod(world)
    ready = await waiting(world)
    assert (ready["reason"], ready["message"]) == (
        "FailedCreatePodSandBox",
        f"pod {NAME}-head: failed to set up network",
    )
    await world.step(600)
    assert world.status["failure"]["reason"] == "ProvisioningDeadlineExceeded"
    assert "failed to set up network" in world.status["failure"]["message"]


async def test_a_pod_that_says_why_itself_or_has_just_come_is_not_asked_about(world) -> None:
    world.kube.fail("list events", *[AssertionError("asked")] * 9)
    await world.step()
    pod(world)
    assert (await waiting(world, 9))["reason"] == "PodsStarting"
    pod(world, conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"}])
    await world.step(60)
    assert world.condition("ClusterReady")["reason"] == "Unschedulable"


@pytest.mark.parametrize("fault", [errors.ForbiddenError(403, "no"), errors.UnavailableError(503, "no")])
async def test_events_that_cannot_be_read_stop_nothing(world, fault) -> None:
    world.kube.fail("list events", fault)
    await world.step()
    pod(world)
    assert (await waiting(world))["reason"] == "PodsStarting"
    await world.step(15)
    assert world.condition("ClusterReady")["reason"] == "FailedCreatePodSandBox"
