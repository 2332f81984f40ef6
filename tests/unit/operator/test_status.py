from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from tests.unit.operator.builders import NOW, ago, failed_attempt, running
from trainyard_operator.status import FailureStatus, Status, tail, with_condition
from trainyard_operator.status_form import merge_patch, read_status, write_status
from trainyard_operator.vocabulary import Phase

CRD = yaml.safe_load((Path(__file__).parents[3] / "manifests" / "crd" / "trainyard.dev_trainingruns.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]

FULL = running(
    attempts=(failed_attempt(log_tail="x"),),
    completion_time=NOW,
    active_seconds=3.5,
    cluster_ready_time=NOW,
    progress_time=NOW,
    provisioning_steps=4,
    provisioning_step_time=NOW,
    next_attempt_time=NOW,
    resources={"logicalCpus": 1.5, "head": {"replicas": 1, "cpu": "1", "memory": "1Gi"}},
    progress={"percent": 50.0, "summary": "50%"},
    trials={"total": 1, "summary": "0/1"},
    best={"metric": "m", "value": 1.0},
    checkpoint={"latest": {"uri": "x", "iteration": 1}},
    analysis={"convergence": {"trend": "TooShort", "points": 3}},
    failure=FailureStatus("User", "Bad", "m", "log", 2, "spec.image"),
    results={"configMap": "x"},
    resumed_from={"run": "first", "uri": "s3://b/team/first/u"},
    conditions=with_condition(Status(), "Ready", False, "Running", "m", NOW, 3).conditions,
)


def test_what_is_written_is_read_back() -> None:
    assert read_status(write_status(FULL)) == FULL


def test_every_field_is_one_of_the_schema() -> None:
    form = write_status(FULL)
    assert set(form) <= set(SCHEMA)
    assert set(form["attempts"][0]) <= set(SCHEMA["attempts"]["items"]["properties"])
    assert set(form["conditions"][0]) == set(SCHEMA["conditions"]["items"]["properties"])
    assert set(form["failure"]) <= set(SCHEMA["failure"]["properties"])
    assert len(form) == len(fields(Status)), "nothing that the operator knows is lost in writing"


def test_the_phases_are_those_of_the_schema() -> None:
    assert {str(p) for p in Phase} == set(SCHEMA["phase"]["enum"])


@pytest.mark.parametrize("form", [None, {}, {"observedGeneration": -1}])
def test_a_new_run_has_an_empty_status(form) -> None:
    assert read_status(form) == Status()


def test_a_status_of_a_newer_version_does_not_disturb() -> None:
    assert read_status({"phase": "Running", "somethingNew": {"x": 1}}).phase == Phase.RUNNING


def test_a_status_that_nobody_could_have_written_is_refused() -> None:
    with pytest.raises(ValueError, match="Dancing"):
        read_status({"phase": "Dancing"})


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "z": 3}}, {"a": {"y": None, "z": 3}}),
        ({"a": [1, 2]}, {"a": [1]}, {"a": [1]}),
        ({}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {}, {"a": None}),
    ],
)
def test_the_patch_holds_the_difference_alone(old, new, patch) -> None:
    assert merge_patch(old, new) == patch


@pytest.mark.parametrize(
    ("text", "limit", "kept"),
    [
        ("short", 10, "short"),
        ("first line\nlast line\n", 12, "last line\n"),
        ("no newline in here", 6, "n here"),
        ("äöü" * 10, 5, "öü"),
    ],
)
def test_the_tail_is_the_end_in_whole_lines_and_characters(text, limit, kept) -> None:
    assert tail(text, limit) == kept


def test_active_time_is_closed_periods_and_the_open_one() -> None:
    assert Status(active_seconds=10).active_for(NOW) == 10
    assert Status(active_seconds=10, attempt_start_time=ago(5)).active_for(NOW) == 15
