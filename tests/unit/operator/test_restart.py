"""The operator starts again, and its first readings fail: whatever the phase, a healthy run goes on.

A table over every phase in which a job may run, and over every call that may fail. What is remembered between passes is
lost; the run is two hours old, and the provisioning deadline would have passed long ago by the clock alone.
"""

from typing import Any

import pytest

from tests.unit.operator.builders import NAME, UID
from tests.unit.operator.test_reconcile import Form, World
from trainyard_operator import errors, names
from trainyard_operator.model import JobState

HOURS = 7200.0


async def provisioning(world: World) -> None:
    """Ray has the job and has not started its driver."""
    world.dashboards.state = JobState.PENDING
    await world.submit()


async def starting(world: World) -> None:
    """The driver runs and has not said anything."""
    await world.run_it()


async def waiting_for_workers(world: World) -> None:
    """The driver has begun to train although one worker never came."""
    await world.run_it()
    world.report(3)
    await world.step(1)
    assert world.condition("ClusterReady")["status"] == "False"


async def training(world: World) -> None:
    await world.run_it()
    world.report(3)
    await world.step(1)


async def silent(world: World) -> None:
    """Its dashboard has not answered once before."""
    await training(world)
    world.dashboards.readings_to_fail = 1
    await world.step(1)
    assert world.condition("Running")["status"] == "Unknown"


PHASES = [provisioning, starting, waiting_for_workers, training, silent]


def no_job(world: World) -> None:
    world.dashboards.readings_to_fail = 1


def no_file(world: World) -> None:
    world.dashboards.tails_to_fail = 1


def stray_404(world: World) -> None:
    world.dashboards.absent = 1


def no_status_write(world: World) -> None:
    world.kube.fail("patch_status trainingruns", errors.UnavailableError(503, "later"))


def stray_404_of_the_write(world: World) -> None:
    world.kube.fail("patch_status trainingruns", errors.GoneError(404, "gone"))


def conflict(world: World) -> None:
    world.kube.fail("patch_status trainingruns", errors.ConflictError(409, "changed"))


def nothing(_: World) -> None:
    """The restart alone."""


FAULTS = [nothing, no_job, no_file, stray_404, no_status_write, stray_404_of_the_write, conflict]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
async def test_a_healthy_run_outlives_a_restart_and_one_failed_call(phase: Any, fault: Any) -> None:
    workers = {"cluster": {"worker": {"replicas": 1}}} if phase is waiting_for_workers else {}
    world = World(activeDeadlineSeconds=3 * int(HOURS), **workers)
    await phase(world)
    uid = world.kube.objects["rayclusters", NAME]["metadata"]["uid"]
    world.restart()
    world.dashboards.state = JobState.RUNNING
    world.report(4)
    fault(world)
    world.now += HOURS
    for _ in range(12):
        await world.pass_over(1)
    assert (world.status["phase"], world.status["attempt"]) == ("Running", 1)
    assert (world.status.get("attempts", []), world.status.get("failures", 0)) == ([], 0)
    assert world.kube.objects["rayclusters", NAME]["metadata"]["uid"] == uid
    assert world.dashboards.submitted == [names.job_id(UID, 1, 1)]
    assert world.status["progress"]["iteration"] == 4


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("spec", [{}, {"suspend": True}, {"activeDeadlineSeconds": 60}], ids=str)
async def test_a_run_that_succeeded_while_the_operator_was_down_has_succeeded(fault: Any, spec: Form) -> None:
    """And its last line, not the one that was known before, is its result."""
    world = World(**{k: v for k, v in spec.items() if k != "suspend"})
    await training(world)
    world.restart()
    world.change_spec(**spec)
    world.report(10, final=True)
    world.dashboards.state = JobState.SUCCEEDED
    fault(world)
    world.now += HOURS
    for _ in range(45):
        await world.pass_over(1)
    assert world.status["phase"] == "Succeeded"
    kept = world.kube.objects["configmaps", f"{NAME}-results"]
    assert '"seq": 10' in kept["data"]["progress.json"]
    assert world.condition("ResultsKept")["reason"] == "Kept"
    assert ("rayclusters", NAME) not in world.kube.objects
