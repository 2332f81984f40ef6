"""The same file, read by the training library and sent through the API server, is the same run."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from tests.apiserver.conftest import ROOT
from tests.apiserver.corpus import ACCEPTED, REFUSED, Case
from trainyard.errors import InvalidConfiguration
from trainyard.spec import document as manifest
from trainyard.spec import parsing, sections

SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
OPERATOR_FIELDS = {
    "image",
    "image_pull_policy",
    "ray_version",
    "cluster",
    "suspend",
    "backoff_limit",
    "active_deadline_seconds",
    "provisioning_deadline_seconds",
    "cluster_ttl_seconds_after_finished",
    "ttl_seconds_after_finished",
}
NUMBERS = """
apiVersion: trainyard.dev/v1alpha1
kind: TrainingRun
metadata:
  name: numbers
spec:
  seed: 1
  algorithm:
    name: PPO
    config:
      lr: 3e-4
      gamma: 1.0
      one: 1
      small: .5
      negative: -0.0
      large: 1e10
      octal: 0o17
      old_octal: 017
      hexadecimal: 0x1F
      binary: 0b101
      underscores: 1_000
      time: 1:30
      date: 2020-01-01
      version: "1.0"
      text: 1.2.3
      yes_text: "yes"
      on: true
      nothing: null
      nested: {lr: 1e-3, values: [1, 2.0, 3e2, "4"]}
  environment: {name: CartPole-v1}
  stop: {iterations: 10}
"""


@pytest.mark.parametrize("case", [c for c in ACCEPTED if c.library], ids=str)
def test_the_library_accepts_what_the_api_server_accepts(case: Case) -> None:
    document = manifest.check_kind(manifest.normalise_numbers(case.object))
    parsing.parse(document["spec"])


@pytest.mark.parametrize("case", [c for c in REFUSED if c.library], ids=str)
def test_the_library_refuses_what_the_api_server_refuses(case: Case) -> None:
    document = manifest.check_kind(manifest.normalise_numbers(case.object))
    with pytest.raises(InvalidConfiguration):
        parsing.parse(document["spec"])


@pytest.mark.parametrize("case", [c for c in REFUSED if not c.library], ids=str)
def test_what_only_the_api_server_judges_is_marked_so(case: Case) -> None:
    document = manifest.check_kind(manifest.normalise_numbers(case.object))
    parsing.parse(document["spec"])


def test_the_library_knows_the_fields_of_the_api_and_no_others() -> None:
    (file,) = (ROOT / "manifests" / "crd").glob("*trainingruns.yaml")
    schema = yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(paths_of_model(sections.Specification)) == set(paths_of_schema(schema["properties"]["spec"]))


def paths_of_schema(schema: dict, path: str = "") -> Iterator[str]:
    for name, field in schema.get("properties", {}).items():
        yield (here := f"{path}.{name}".lstrip("."))
        yield from paths_of_schema(field.get("items", field), here)


def paths_of_model(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield (here := f"{path}.{field.alias or name}".lstrip("."))
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from paths_of_model(part, here)


def through_the_api_server(text: str, kubectl: Callable[..., str]) -> dict:
    return json.loads(kubectl("create", "--dry-run=server", "--output=json", "--filename=-", stdin=text))["spec"]


def test_numbers_of_every_notation_are_read_alike(kubectl: Callable[..., str]) -> None:
    sent = through_the_api_server(NUMBERS, kubectl)["algorithm"]["config"]
    read = manifest.read_text(NUMBERS)["spec"]["algorithm"]["config"]
    assert typed(read) == typed(sent)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_the_same_run_either_way(path: Path, kubectl: Callable[..., str]) -> None:
    text = path.read_text()
    if "kind: TrainingRun" not in text:
        assert "created" in kubectl("create", "--dry-run=server", f"--filename={path}")
        return
    sent = parsing.parse(through_the_api_server(text, kubectl))
    read = parsing.parse(manifest.read_file(path)["spec"])
    assert read.model_dump(exclude=OPERATOR_FIELDS) == sent.model_dump(exclude=OPERATOR_FIELDS)


def typed(value: object) -> object:
    """The value with the type of every number and text beside it: 1 and 1.0, 1 and True are different."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, value
