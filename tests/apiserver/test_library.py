"""The same file, read by the training library and sent through the API server, is the same run."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from textwrap import indent
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from dev.cluster.commands import CommandFailed
from tests.apiserver.conftest import ROOT
from tests.apiserver.corpus import ACCEPTED, REFUSED, Case
from trainyard.errors import InvalidConfiguration
from trainyard.spec import document as manifest
from trainyard.spec import sections
from trainyard.spec.parsing import parse, parse_document

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


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_the_library_accepts_what_the_api_server_accepts(case: Case) -> None:
    parse_document(manifest.read_text(json.dumps(case.object)))


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_the_library_refuses_what_the_api_server_refuses(case: Case) -> None:
    with pytest.raises(InvalidConfiguration):
        parse_document(manifest.read_text(json.dumps(case.object)))


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


# What stands under `spec.environment.config`, and what becomes of it: the same run, no run either way, or a file that
# kubectl takes and the library refuses, because what kubectl makes of it is hardly what was meant.
ALIKE, REFUSED_BY_BOTH, REFUSED_HERE = "alike", "refused by both", "refused by the library"
WORDS = "y Y yes n No true FALSE on Off oN tRue ~ null Null nUll"
KEYS = "n y on off yes No true 5 017 0x1F 1_000 2020-01-01 1:30 'n' \"5\""
SCALARS = """
1e400 -1e400 .5e400 1e300 0.1e-400 .5 -.5 +.5 ._5 .5_0 .5_ 1. . 1_000 1__0 1_ _1 1e3 1E+3 1e 0e0 -0 -0.0
0x_F 0X1F -0x1F 0x 0x1p3 0o17 0O17 017 +017 019 0b101 0b2 1:30 190:20:30 1.2.3 2Gi 500m inf nan
9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809
0xFFFFFFFFFFFFFFFF 0xFFFFFFFFFFFFFFFFF 0777777777777777777777777 123456789012345678901234567890 1e18 1e19 1e21
2020-01-01 2020-1-2 2001-12-14t21:59:43.10-05:00
"""
SNIPPETS = [
    *[(f"x: {scalar}", ALIKE) for scalar in f"{WORDS} {SCALARS}".split()],
    *[(f"{key}: 4", ALIKE) for key in KEYS.split()],
    ("x: !!str 5", ALIKE),
    ("x: !!int '5'", ALIKE),
    ("x: !!float 1", ALIKE),
    ("x: !!bool yes", ALIKE),
    ("x: <<", ALIKE),
    ('x: "\\U0001F600 \\x41"', ALIKE),
    ("a: &m {start: 1, end: 2}\nb: {<<: *m, start: 3}", ALIKE),
    ("a: &m {s: 1}\nb: &n {s: 2, u: 3}\nc: {<<: [*m, *n]}\nd: {<<: *m, <<: *n}", ALIKE),
    ("a: &m {n: 1}\nb: {<<: *m, off: 2}", ALIKE),
    ("b: {'<<': 1}", ALIKE),
    ("a: &a [x, x]\nb: [*a, *a]", ALIKE),
    ("a: {<<: 1}", REFUSED_BY_BOTH),
    ("x: .inf", REFUSED_BY_BOTH),
    ("x: -.inf", REFUSED_BY_BOTH),
    ("x: .nan", REFUSED_BY_BOTH),
    ("x: !!int 1:30", REFUSED_BY_BOTH),
    ("x: !!null x", REFUSED_BY_BOTH),
    ("? [a]\n: 1", REFUSED_BY_BOTH),
    ("~: 1", REFUSED_BY_BOTH),
    ("18446744073709551615: 1", REFUSED_BY_BOTH),
    ("a: &a [*a]", REFUSED_BY_BOTH),
    ("a: *nothing", REFUSED_BY_BOTH),
    ('x: "\\ud83d"', REFUSED_BY_BOTH),
    (
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "\n".join(f"{name}: &{name} [{','.join([f'*{of}'] * 9)}]" for of, name in pairwise("abcdefgh")),
        REFUSED_BY_BOTH,
    ),
    ("a: 1\na: 2", REFUSED_HERE),
    ("1: a\n'1': b", REFUSED_HERE),
    ("a: &m {s: 1}\nb: {s: 2, <<: *m}", REFUSED_HERE),
    ("1.5: a", REFUSED_HERE),
    ("1e3: a", REFUSED_HERE),
    ("x: !mine 5", REFUSED_HERE),
    ("x: !!timestamp 2020-01-01", REFUSED_HERE),
    ("x: [a:, b]", REFUSED_HERE),
]
SNIPPET = """
apiVersion: trainyard.dev/v1alpha1
kind: TrainingRun
metadata: {name: snippet}
spec:
  algorithm: {name: PPO}
  stop: {iterations: 10}
  environment:
    name: CartPole-v1
    config:
"""


@pytest.fixture
def namespace(shared: str) -> str:
    """Everything here is a dry run."""
    return shared


def through_the_api_server(text: str, kubectl: Callable[..., str]) -> dict:
    """What a driver gets: it normalises numbers, too, of which the API server writes whole ones without a point."""
    sent = json.loads(kubectl("create", "--dry-run=server", "--output=json", "--filename=-", stdin=text))
    return manifest.normalise_numbers(sent["spec"])


def test_numbers_of_every_notation_are_read_alike(kubectl: Callable[..., str]) -> None:
    sent = through_the_api_server(NUMBERS, kubectl)["algorithm"]["config"]
    read = manifest.read_text(NUMBERS)["spec"]["algorithm"]["config"]
    assert typed(read) == typed(sent)


@pytest.mark.parametrize(("snippet", "expected"), SNIPPETS)
def test_a_snippet_is_the_same_run_either_way_or_refused(
    snippet: str, expected: str, kubectl: Callable[..., str]
) -> None:
    text = SNIPPET + indent(snippet, " " * 6) + "\n"
    try:
        sent = typed(through_the_api_server(text, kubectl)["environment"]["config"])
    except CommandFailed:
        sent = None
    try:
        read = typed(manifest.read_text(text)["spec"]["environment"]["config"])
    except InvalidConfiguration:
        read = None
    assert (sent is None) == (expected == REFUSED_BY_BOTH)
    assert read == (None if expected == REFUSED_HERE else sent)


def test_json_is_read_as_json_either_way(kubectl: Callable[..., str]) -> None:
    config = {"text": "\U0001f600", "number": 1e22, "whole": 1.0, "n": [True, None, 2**63]}
    document = yaml.safe_load(SNIPPET)
    document["spec"]["environment"]["config"] = config
    text = json.dumps(document)
    sent = through_the_api_server(text, kubectl)["environment"]["config"]
    assert typed(manifest.read_text(text)["spec"]["environment"]["config"]) == typed(sent)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
def test_a_sample_is_the_same_run_either_way(path: Path, kubectl: Callable[..., str]) -> None:
    text = path.read_text()
    if "kind: TrainingRun" not in text:
        assert "created" in kubectl("create", "--dry-run=server", f"--filename={path}")
        return
    sent = parse(through_the_api_server(text, kubectl))
    read = parse(manifest.read_file(path)["spec"])
    assert read.model_dump(exclude=OPERATOR_FIELDS) == sent.model_dump(exclude=OPERATOR_FIELDS)


def typed(value: object) -> object:
    """The value with the type of every number and text beside it: 1 and 1.0, 1 and True are different."""
    if isinstance(value, dict):
        return {key: typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [typed(item) for item in value]
    return type(value).__name__, value
