"""spec.resumeFrom.run: the operator as a process on a real API server finds the place of another run's results."""

import json
import shlex

import pytest

from tests.apiserver.operators import SPEC, Object, Replica, World, until

CLAIM: Object = {"persistentVolumeClaim": {"claimName": "results"}}
pytestmark = pytest.mark.timeout(120)


def finish(world: World, name: str) -> str:
    """Run a first run to its end with a checkpoint; the folder of its results."""
    run = world.runs.create({**SPEC, "storage": CLAIM}, name)
    cluster = world.cluster()
    world.kuberay.start_head(cluster)
    world.phase("Running", name)
    folder = f"file:///trainyard/storage/{world.namespace}/{name}/{run['metadata']['uid']}"
    dashboard = world.dashboard(cluster)
    checkpoint = {"latest": {"uri": f"{folder}/checkpoints/10", "iteration": 10}}
    dashboard.report(10, final=True, checkpoint=checkpoint)
    dashboard.end("SUCCEEDED", 0)
    world.phase("Succeeded", name)
    until(lambda: not world.clusters(), "the first run's cluster goes")
    return folder


def test_the_driver_gets_the_folder_of_the_named_runs_results(operator: Replica, world: World) -> None:
    folder = finish(world, "first")
    world.runs.create({**SPEC, "storage": CLAIM, "resumeFrom": {"run": "first", "restore": "Weights"}}, "second")
    cluster = world.cluster()
    world.kuberay.start_head(cluster)
    status = world.phase("Running", "second")
    assert status["resumedFrom"] == {"run": "first", "uri": folder}
    words = shlex.split(world.dashboard(cluster).posts[0]["entrypoint"])
    (document,) = [word.split("=", 1)[1] for word in words if word.startswith("TRAINYARD_RUN=")]
    resumed = json.loads(document)["spec"]["resumeFrom"]
    assert resumed == {"uri": folder, "checkpoint": "Latest", "restore": "Weights"}


def test_a_missing_run_is_named_and_not_retried_and_can_be_corrected(operator: Replica, world: World) -> None:
    finish(world, "first")
    world.runs.create({**SPEC, "storage": CLAIM, "resumeFrom": {"run": "frist"}}, "second")
    status = world.phase("Failed", "second")
    assert (status["failure"]["kind"], status["failure"]["reason"]) == ("User", "ResumeSourceUnusable")
    assert f"there is no TrainingRun frist in namespace {world.namespace}" in status["failure"]["message"]
    assert world.condition("Stalled", "second")["reason"] == "ResumeSourceUnusable"
    assert (world.clusters(), status["failure"]["field"]) == ([], "spec.resumeFrom.run")
    world.runs.patch({"spec": {"resumeFrom": {"run": "first"}}}, "second")
    world.cluster()
    until(lambda: "failure" not in world.status("second"), "the refusal leaves the status")


def test_a_run_without_a_checkpoint_is_named_with_what_to_do(operator: Replica, world: World) -> None:
    world.runs.create({**SPEC, "storage": CLAIM, "suspend": True}, "first")
    world.phase("Suspended", "first")
    world.runs.create({**SPEC, "storage": CLAIM, "resumeFrom": {"run": "first", "checkpoint": "Best"}}, "second")
    message = world.phase("Failed", "second")["failure"]["message"]
    assert "TrainingRun first (phase Suspended) has no best checkpoint; wait until it has one" in message
