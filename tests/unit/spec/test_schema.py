"""The schema of the CRD as the library applies it: words, nulls, names, twins of rules."""

import json
import subprocess
import sys

import pytest
import yaml

from tests.unit.charts.conftest import ROOT
from trainyard.errors import InvalidConfiguration
from trainyard.spec.document import read_text
from trainyard.spec.parsing import parse_document, parse_submitted
from trainyard.spec.rules import twin

(CRD,) = (ROOT / "manifests" / "crd").glob("*trainingruns.yaml")
SPEC = yaml.safe_load(CRD.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
GOOD = {"trainable": {"function": "module:name"}}


def read(spec=None, **changes):
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "metadata": {"name": "run"}}
    return read_text(json.dumps(document | {"spec": GOOD if spec is None else spec} | changes))


def refused(spec=None, **changes):
    with pytest.raises(InvalidConfiguration) as error:
        parse_document(read(spec, **changes))
    return {fault.field: f"{fault.problem}; {fault.remedy}" for fault in error.value.faults}


def rules(schema, path=""):
    """Every rule below `schema`, with the place that it is for."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}".lstrip(".")
        for part in (field, field.get("items", {}), field.get("additionalProperties", {})):
            yield from ((here, rule["rule"]) for rule in part.get("x-kubernetes-validations", ()))
        yield from rules(field.get("items", field), here)


@pytest.mark.parametrize(("place", "rule"), list(rules(SPEC)))
def test_every_rule_of_a_field_or_section_has_its_twin(place, rule):
    assert callable(twin(rule))


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        (GOOD | {"cluster": {"head": {"memory": 4}}}, "spec.cluster.head.memory", "is 4; write at least 64Mi"),
        (GOOD | {"cluster": {"worker": {"memory": "512m"}}}, "spec.cluster.worker.memory", "did you mean Gi"),
        (GOOD | {"cluster": {"head": {"memory": "63Mi"}}}, "spec.cluster.head.memory", "with the unit"),
        (GOOD | {"cluster": {"head": {"cpu": "2Gi"}}}, "spec.cluster.head.cpu", "did you mean memory?"),
        (GOOD | {"cluster": {"head": {"cpu": 0.5}}}, "spec.cluster.head.cpu", "a fraction needs quotation marks"),
        (GOOD | {"cluster": {"spread": "Nodes"}}, "spec.cluster.spread", "use 'Preferred' or 'Required'"),
        (GOOD | {"cluster": {"spread": "preferred"}}, "spec.cluster.spread", "did you mean Preferred?"),
        (GOOD | {"cluster": {"labels": {"a": 1}}}, "spec.cluster.labels.a", "quote it"),
        (GOOD | {"cluster": {"labels": {"a b": "c"}}}, "spec.cluster.labels", "example.com/team"),
        (GOOD | {"suspend": "yes"}, "spec.suspend", "write true or false"),
        (GOOD | {"backoffLimit": 101}, "spec.backoffLimit", "at most 100"),
        (GOOD | {"image": ""}, "spec.image", "is empty"),
        (GOOD | {"rayVersion": "2.60"}, "spec.rayVersion", 'the full version of Ray 2, for instance "2.60.0"'),
        (GOOD | {"cluster": {"workers": 2}}, "spec.cluster.workers", "did you mean worker?"),
    ],
)
def test_a_field_of_the_operator_is_judged_without_a_cluster(spec, field, words):
    assert words in refused(spec)[field]


def test_a_rule_is_told_in_the_words_of_the_api_server():
    messages = {rule["message"] for rule in SPEC["properties"]["storage"]["x-kubernetes-validations"]}
    assert refused(GOOD | {"storage": {}})["spec.storage"].removesuffix("; ") in messages


@pytest.mark.parametrize(
    ("metadata", "field", "words"),
    [
        ({"name": "a" * 41}, "metadata.name", "at most 40 characters"),
        ({"name": "../a"}, "metadata.name", "start with a lower-case letter"),
        ({"name": 5}, "metadata.name", "quote it"),
        ({"name": "run\n"}, "metadata.name", "start with a lower-case letter"),
        ({}, "metadata.name", "is required"),
        ({"generateName": "a" * 36}, "metadata.generateName", "at most 40 characters"),
        ({"name": "run", "label": {}}, "metadata.label", "did you mean labels?"),
        ({"name": "run", "labels": {"team": 1}}, "metadata.labels.team", "quote it"),
        ({"name": "run", "labels": {"team": "r l"}}, "metadata.labels.team", "the value of a label"),
        ({"name": "run", "annotations": {"a/b/c": ""}}, "metadata.annotations", "as Kubernetes does"),
        ("run", "metadata", "write a mapping"),
    ],
)
def test_metadata_is_judged_as_kubernetes_does(metadata, field, words):
    assert words in refused(metadata=metadata)[field]


def test_an_unknown_part_of_the_document_is_refused():
    assert "did you mean spec?" in refused(specs={})["specs"]


def test_a_field_that_is_null_was_not_given():
    document = read(GOOD | {"seed": None, "stop": {"iterations": 3, "duration": None}, "search": None})
    assert document["spec"] == GOOD | {"stop": {"iterations": 3}}
    assert parse_document(document).seed == 0


def test_a_null_in_a_free_form_map_is_a_value():
    spec = {"trainable": {"function": "module:name", "config": {"a": None, "b": [None, {"c": None}]}}}
    assert read(spec)["spec"] == spec


def test_the_command_line_answers_without_the_library_of_schemas():
    code = "import sys, trainyard.cli; sys.exit('jsonschema' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_an_api_server_has_judged_is_parsed_without_the_library_of_schemas():
    document = json.dumps(read())
    code = (
        "import sys; from trainyard.launch.reading import read_document;"
        f"read_document({document!r}); sys.exit('jsonschema' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("spec", [GOOD | {"seed": "x"}, GOOD | {"test": {}}, GOOD | {"extra": 1}])
def test_a_submitted_document_that_is_wrong_all_the_same_is_refused_in_the_same_words(spec):
    document = read(spec)
    with pytest.raises(InvalidConfiguration) as submitted:
        parse_submitted(document)
    with pytest.raises(InvalidConfiguration) as whole:
        parse_document(document)
    assert submitted.value.faults == whole.value.faults
