"""The status as the operator writes it: complete, bounded, guarded by resourceVersion, and readable by kubectl."""

import copy
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from dev.cluster.errors import CommandFailed
from tests.apiserver.conftest import ROOT
from tests.apiserver.runs import Runs
from tests.unit.operator.builders import ANALYSIS
from trainyard_operator.status_form import read_status, write_status

SPEC = {"trainable": {"function": "a:b"}}
TIME = "2026-01-01T00:00:00Z"
BEST = {
    "metric": "reward",
    "value": 1010,
    "iteration": 10,
    "trial": "t1",
    "parameters": {"lr": 0.01, "name": "a", "on": True},
    "metrics": {"loss": 0.099, "epoch": 10},
}
FULL: dict[str, Any] = {
    "observedGeneration": 1,
    "startedGeneration": 1,
    "phase": "Running",
    "conditions": [
        {
            "type": "Ready",
            "status": "False",
            "reason": "Running",
            "message": "iteration 4 of 10",
            "observedGeneration": 1,
            "lastTransitionTime": TIME,
        }
    ],
    "attempt": 2,
    "submission": 3,
    "failures": 1,
    "attempts": [
        {
            "number": 1,
            "clusterName": "run-abcde-1",
            "jobId": "ty-uid-1-1",
            "startTime": TIME,
            "endTime": TIME,
            "reason": "OOMKilled",
            "exitCode": 137,
            "message": "the head ran out of memory",
            "logTail": "last line",
        }
    ],
    "clusterName": "run-abcde-2",
    "jobId": "ty-uid-2-3",
    "startTime": TIME,
    "completionTime": TIME,
    "activeSeconds": 12.5,
    "attemptStartTime": TIME,
    "clusterReadyTime": TIME,
    "submitTime": TIME,
    "progressTime": TIME,
    "provisioningSteps": 4,
    "provisioningStepTime": TIME,
    "nextAttemptTime": TIME,
    "seed": 7,
    "resources": {
        "logicalCpus": 1.5,
        "gpus": 0,
        "head": {"replicas": 1, "cpu": "500m", "memory": "4Gi", "gpu": 0},
        "worker": {"replicas": 2, "cpu": "1", "memory": "2Gi", "gpu": 1},
    },
    "progress": {
        "summary": "40%",
        "percent": 40,
        "estimatedCompletionTime": TIME,
        "startedIteration": 0,
        "lostIterations": 0,
        "iteration": 4,
        "envSteps": 16000,
        "envStepsPerSecond": 1234.5,
        "episodes": 300,
        "episodesPerSecond": 9.8,
        "episodesPerIteration": 7.5,
        "episodeReturnMean": 123.4,
    },
    "trials": {"summary": "3/9", "total": 9, "pending": 3, "running": 3, "succeeded": 2, "failed": 1, "best": BEST},
    "best": BEST,
    "resumedFrom": {"run": "first", "uri": "file:///a"},
    "checkpoint": {
        "latest": {"uri": "file:///a/10", "iteration": 10, "time": TIME},
        "best": {"uri": "file:///a/best", "iteration": 7, "time": TIME},
    },
    "analysis": ANALYSIS,
    "failure": {
        "kind": "User",
        "reason": "InvalidConfiguration",
        "message": "unknown parameter",
        "field": "spec.algorithm.config.lrr",
        "exitCode": 2,
        "logTail": "last line",
    },
    "results": {"configMap": "run-abcde-2-results"},
}


def test_every_field_of_a_status_is_kept(runs: Runs) -> None:
    runs.create(SPEC)
    runs.patch_status(FULL)
    assert runs.get()["status"] == FULL


def test_the_operator_reads_and_writes_every_field_of_a_status() -> None:
    assert write_status(read_status(FULL)) == FULL


def test_the_full_status_of_these_tests_has_every_field_of_the_schema() -> None:
    (file,) = (ROOT / "manifests" / "crd").glob("*trainingruns.yaml")
    schema = yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert lacking(FULL, schema["properties"]["status"]) == []


def lacking(value: Any, schema: dict[str, Any], path: str = "status") -> list[str]:
    """Paths of the schema's fields that the value does not have."""
    if "items" in schema:
        return lacking(value[0], schema["items"], f"{path}[]")
    fields = schema.get("properties", {})
    missing = [f"{path}.{name}" for name in fields if name not in value]
    present = [name for name in fields if name in value]
    return missing + [m for name in present for m in lacking(value[name], fields[name], f"{path}.{name}")]


@pytest.mark.parametrize("number", [40, 40.0, 40.5])
def test_a_status_takes_whole_numbers_and_fractions_alike(number: float, runs: Runs) -> None:
    runs.create(SPEC)
    status = copy.deepcopy(FULL)
    status["activeSeconds"] = number
    status["resources"]["logicalCpus"] = number
    for key in ("percent", "envStepsPerSecond", "episodesPerSecond", "episodeReturnMean"):
        status["progress"][key] = number
    status["best"]["value"] = status["best"]["metrics"]["loss"] = number
    runs.patch_status(status)
    assert runs.get()["status"] == status


def test_a_negative_return_is_a_return(runs: Runs) -> None:
    runs.create(SPEC)
    runs.patch_status({"progress": {"episodeReturnMean": -200.5}})
    assert runs.get()["status"]["progress"] == {"episodeReturnMean": -200.5}


def test_the_largest_texts_of_the_operator_fit(runs: Runs) -> None:
    runs.create(SPEC)
    tail, message = "x" * 4096, "y" * 2048
    attempt = {**FULL["attempts"][0], "logTail": tail, "message": message}
    failure = {**FULL["failure"], "logTail": tail, "message": message}
    runs.patch_status({"attempts": [{**attempt, "number": n} for n in range(1, 6)], "failure": failure})
    assert len(runs.get()["status"]["attempts"]) == 5


@pytest.mark.parametrize(
    ("status", "fragment"),
    [
        ({"phase": "Done"}, 'status.phase: Unsupported value: "Done"'),
        ({"progress": {"percent": 101}}, "status.progress.percent"),
        ({"conditions": [{"type": "Ready", "status": "Yes"}]}, "status.conditions[0].status: Unsupported value"),
        ({"startTime": "yesterday"}, "status.startTime"),
    ],
    ids=["phase", "percent", "condition", "time"],
)
def test_a_status_that_no_operator_writes_is_refused(status: dict, fragment: str, runs: Runs) -> None:
    runs.create(SPEC)
    with pytest.raises(ApiException) as refusal:
        runs.patch_status(status)
    assert fragment in json.loads(refusal.value.body)["message"]


def test_writing_the_status_leaves_the_spec_and_its_generation(runs: Runs) -> None:
    created = runs.create(SPEC)
    run = runs.patch_status(FULL)
    assert run["spec"] == created["spec"]
    assert run["metadata"]["generation"] == 1


def test_writing_the_spec_leaves_the_status(runs: Runs) -> None:
    runs.create(SPEC)
    runs.patch_status({"phase": "Pending"})
    run = runs.patch({"spec": {"suspend": True}, "status": {"phase": "Succeeded"}})
    assert run["status"]["phase"] == "Pending"
    assert run["metadata"]["generation"] == 2


def test_a_status_written_from_a_stale_cache_is_a_conflict(runs: Runs) -> None:
    stale = runs.create(SPEC)["metadata"]["resourceVersion"]
    runs.patch_status({"phase": "Pending"}, resource_version=stale)
    with pytest.raises(ApiException) as refusal:
        runs.patch_status({"phase": "Running"}, resource_version=stale)
    assert refusal.value.status == 409
    assert runs.get()["status"]["phase"] == "Pending"


def test_a_status_that_changes_nothing_makes_no_new_version(runs: Runs) -> None:
    runs.create(SPEC)
    first = runs.patch_status(FULL)["metadata"]["resourceVersion"]
    assert runs.patch_status(FULL)["metadata"]["resourceVersion"] == first


def test_what_a_run_owns_goes_with_it(runs: Runs, api: client.ApiClient, namespace: str) -> None:
    uid = runs.create(SPEC)["metadata"]["uid"]
    owner = {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "TrainingRun",
        "name": "run",
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    core = client.CoreV1Api(api)
    metadata = {"name": "owned", "ownerReferences": [owner]}
    core.create_namespaced_secret(namespace, {"metadata": metadata})
    core.create_namespaced_config_map(namespace, {"metadata": metadata})
    runs.delete()
    eventually(lambda: not core.list_namespaced_config_map(namespace, field_selector="metadata.name=owned").items)
    eventually(lambda: not core.list_namespaced_secret(namespace, field_selector="metadata.name=owned").items)


def eventually(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def columns(table: str) -> dict[str, str]:
    """The single row of kubectl's table by its headers, cut at the headers' positions."""
    header, row = table.splitlines()
    starts = [0] + [i for i in range(1, len(header)) if header[i] != " " and header[i - 1] == " "]
    ends = [*starts[1:], None]
    return {header[a:b].strip(): row[a:b].strip() for a, b in zip(starts, ends, strict=True)}


def test_kubectl_prints_a_run_at_a_glance(runs: Runs, kubectl: Callable[..., str]) -> None:
    runs.create(SPEC)
    runs.patch_status(FULL)
    shown = columns(kubectl("get", "trainingruns"))
    assert list(shown) == ["NAME", "PHASE", "PROGRESS", "RETURN", "STEPS/S", "TRIALS", "AGE"]
    assert {key: shown[key] for key in ("NAME", "PHASE", "PROGRESS", "RETURN", "STEPS/S", "TRIALS")} == {
        "NAME": "run",
        "PHASE": "Running",
        "PROGRESS": "40%",
        "RETURN": "123.4",
        "STEPS/S": "1234.5",
        "TRIALS": "3/9",
    }


def test_kubectl_prints_more_when_asked(runs: Runs, kubectl: Callable[..., str]) -> None:
    runs.create(SPEC)
    runs.patch_status(FULL)
    shown = columns(kubectl("get", "trainingruns", "--output=wide"))
    assert {key: shown[key] for key in ("ATTEMPT", "FAILURES", "ITERATION", "CLUSTER", "REASON")} == {
        "ATTEMPT": "2",
        "FAILURES": "1",
        "ITERATION": "4",
        "CLUSTER": "run-abcde-2",
        "REASON": "Running",
    }


def test_kubectl_prints_a_run_that_nobody_has_seen(runs: Runs, kubectl: Callable[..., str]) -> None:
    runs.create(SPEC)
    assert kubectl("get", "trainingruns").splitlines()[1].startswith("run")


@pytest.mark.parametrize("name", ["trainingruns", "trainingrun", "trun", "trainyard", "all"])
def test_kubectl_knows_the_short_names(name: str, runs: Runs, kubectl: Callable[..., str]) -> None:
    runs.create(SPEC)
    assert "trainingrun.trainyard.dev/run" in kubectl("get", name, "--output=name")


def test_kubectl_wait_waits_for_a_condition(runs: Runs, kubectl: Callable[..., str]) -> None:
    runs.create(SPEC)
    complete = {**FULL["conditions"][0], "type": "Complete", "status": "True", "reason": "Succeeded"}
    with pytest.raises(CommandFailed):
        kubectl("wait", "trun/run", "--for=condition=Complete", "--timeout=1s")
    runs.patch_status({"conditions": [complete]})
    assert "condition met" in kubectl("wait", "trun/run", "--for=condition=Complete", "--timeout=10s")


def test_kubectl_wait_ignores_a_condition_of_an_older_generation(runs: Runs, kubectl: Callable[..., str]) -> None:
    runs.create(SPEC)
    complete = {**FULL["conditions"][0], "type": "Complete", "status": "True", "reason": "Succeeded"}
    runs.patch_status({"conditions": [complete]})
    runs.patch({"spec": {"suspend": True}})
    with pytest.raises(CommandFailed):
        kubectl("wait", "trun/run", "--for=condition=Complete", "--timeout=1s")


@pytest.mark.parametrize("path", ["spec.sampling.envRunners", "spec.search.parameters.grid", "status.progress"])
def test_kubectl_explain_explains(path: str, kubectl: Callable[..., str]) -> None:
    assert "DESCRIPTION" in kubectl("explain", f"trainingrun.{path}")


def test_kubectl_apply_can_be_repeated(kubectl: Callable[..., str]) -> None:
    document = json.dumps(
        {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "run"}, "spec": SPEC}
    )
    assert "created" in kubectl("apply", "--filename=-", stdin=document)
    assert "unchanged" in kubectl("apply", "--filename=-", stdin=document)
