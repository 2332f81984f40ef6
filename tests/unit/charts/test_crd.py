"""The CRD as a text: every field described, everything bounded, free-form maps in the form that can be frozen."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.unit.charts.conftest import ROOT
from trainyard_operator.status import KEPT_ATTEMPTS

(FILE,) = (ROOT / "manifests" / "crd").glob("*trainingruns.yaml")
VERSION = yaml.safe_load(FILE.read_text())["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
Schema = dict[str, Any]


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every field below the schema, with its path."""
    for name, field in schema.get("properties", {}).items():
        yield (here := f"{path}.{name}".lstrip(".")), field
        yield from fields(field, here)
        if "items" in field:
            yield f"{here}[]", field["items"]
            yield from fields(field["items"], f"{here}[]")


ALL = dict(fields(SCHEMA))
FIELDS = {path: field for path, field in ALL.items() if path != "metadata"}
"""metadata is described by Kubernetes; a CRD may not."""


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_is_described(path: str) -> None:
    description = FIELDS[path].get("description", "")
    assert description.endswith("."), "a description is one or more sentences"


@pytest.mark.parametrize("path", FIELDS)
def test_every_field_of_the_spec_is_bounded(path: str) -> None:
    field = FIELDS[path]
    if not path.startswith("spec"):
        return
    if field.get("type") == "array":
        assert "maxItems" in field
    if "additionalProperties" in field:
        assert "maxProperties" in field
    if field.get("type") == "string":
        assert "maxLength" in field or "enum" in field
    if field.get("type") == "integer":
        assert {"minimum", "maximum"} <= set(field)


@pytest.mark.parametrize("path", [path for path, field in FIELDS.items() if field.get("type") == "array"])
def test_every_list_says_how_it_is_merged(path: str) -> None:
    field = FIELDS[path]
    assert field["x-kubernetes-list-type"] in ("map", "atomic")
    for key in field.get("x-kubernetes-list-map-keys", ()):
        assert key in field["items"]["required"]


@pytest.mark.parametrize("path", [path for path, field in FIELDS.items() if field.get("type") == "object"])
def test_no_object_preserves_unknown_fields_itself(path: str) -> None:
    assert "x-kubernetes-preserve-unknown-fields" not in FIELDS[path]


def test_every_rule_says_what_is_wrong() -> None:
    rules = [rule for field in [SCHEMA, *ALL.values()] for rule in field.get("x-kubernetes-validations", ())]
    assert len(rules) > 40
    for rule in rules:
        assert len(rule["message"]) > 20
        assert "\n" not in rule["message"]


def test_the_columns_are_those_that_people_expect() -> None:
    shown = [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Phase", "Progress", "Return", "Steps/s", "Trials", "Age"]


def test_every_column_shows_a_field_that_exists() -> None:
    for column in VERSION["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".").split("[")[0]
        assert path == "metadata.creationTimestamp" or path in FIELDS


def test_the_status_has_room_for_the_attempts_that_are_kept_and_no_more() -> None:
    assert FIELDS["status.attempts"]["maxItems"] == KEPT_ATTEMPTS


# Where each part of a progress line is shown in the status; None: in the metrics and results alone.
SHOWN = {
    "schemaVersion": None,
    "jobId": "status.jobId",
    "seq": None,
    "time": None,
    "final": None,
    "startedIteration": "status.progress.startedIteration",
    "lostIterations": "status.progress.lostIterations",
    "progress.percent": "status.progress.percent",
    "progress.estimatedSecondsLeft": "status.progress.estimatedCompletionTime",
    "progress.iteration": "status.progress.iteration",
    "progress.envSteps": "status.progress.envSteps",
    "progress.envStepsPerSecond": "status.progress.envStepsPerSecond",
    "progress.episodes": "status.progress.episodes",
    "progress.episodesPerSecond": "status.progress.episodesPerSecond",
    "progress.episodesPerIteration": "status.progress.episodesPerIteration",
    "progress.episodeReturnMean": "status.progress.episodeReturnMean",
    "metrics": None,
    "trials.total": "status.trials.total",
    "trials.pending": "status.trials.pending",
    "trials.running": "status.trials.running",
    "trials.succeeded": "status.trials.succeeded",
    "trials.failed": "status.trials.failed",
    "trials.items": None,
    "trials.best": "status.trials.best",
    "best": "status.best",
    **{
        f"analysis.{figure}": f"status.analysis.{figure}"
        for figure in (
            "convergence.trend",
            "convergence.points",
            "convergence.slope",
            "convergence.slopeStandardError",
            "convergence.lateGain",
            "convergence.diminishingReturns",
            "overfitting.verdict",
            "overfitting.bestIteration",
            "overfitting.fall",
            "overfitting.trainChange",
            "overfitting.validationSlope",
            "generalisation.metric",
            "generalisation.validationGap",
            "generalisation.testGap",
            "generalisation.validationVerdict",
            "generalisation.testVerdict",
        )
    },
    "checkpoint.latest": "status.checkpoint.latest",
    "checkpoint.best": "status.checkpoint.best",
    "conditions": "status.conditions",
    "failure.kind": "status.failure.kind",
    "failure.reason": "status.failure.reason",
    "failure.message": "status.failure.message",
    "failure.field": "status.failure.field",
    "summary": None,
    "nonFinite": None,
}
LINE = json.loads((ROOT / "manifests" / "contract" / "progress.schema.json").read_text())


def test_everything_in_a_progress_line_has_its_place() -> None:
    assert set(leaves(LINE)) == set(SHOWN)


def leaves(source: Schema, path: str = "") -> Iterator[str]:
    if "properties" not in source:
        yield path
    for name, field in source.get("properties", {}).items():
        yield from leaves(field, f"{path}.{name}" if path else name)


@pytest.mark.parametrize(("line", "status"), [(k, v) for k, v in SHOWN.items() if v], ids=str)
def test_the_place_takes_what_the_line_holds(line: str, status: str) -> None:
    source: Any = LINE["properties"]
    for part in line.split("."):
        source = source[part] if part in source else source["properties"][part]
    target = FIELDS[status]
    if "$ref" in source:
        definition = LINE["$defs"][source["$ref"].rpartition("/")[2]]
        assert set(target["properties"]) == set(definition["properties"])
        for name, field in definition["properties"].items():
            assert fits(field, target["properties"][name]), name
    elif line not in ("progress.estimatedSecondsLeft", "conditions"):
        assert fits(source, target)


def fits(source: Schema, target: Schema) -> bool:
    """Whether every value of the source is one of the target."""
    if target.get("format") == "date-time":
        return source["type"] == "number"
    if "enum" in source:
        return set(source["enum"]) <= set(target["enum"])
    same = source["type"] == target["type"]
    bound = target.get("maxLength", target.get("maxProperties", float("inf")))
    return same and source.get("maxLength", source.get("maxProperties", 0)) <= bound
