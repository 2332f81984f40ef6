"""A file read here and the same file sent through an API server are one run."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from trainyard.errors import InvalidConfiguration
from trainyard.spec.document import normalise_numbers, read_file, read_text

HEAD = "apiVersion: trainyard.dev/v1alpha1\nkind: TrainingRun\n"


def value_of(scalar: str):
    return read_text(f"{HEAD}spec: {{x: {scalar}}}")["spec"]["x"]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        pytest.param("3e-4", 0.0003, id="exponent without a point (PyYAML: a string)"),
        pytest.param("1e6", 1_000_000, id="exponent that makes a whole number"),
        pytest.param("1.0", 1, id="whole float"),
        pytest.param("-2.50", -2.5, id="negative float"),
        pytest.param("1_000", 1000, id="underscores"),
        pytest.param("0x1F", 31, id="hexadecimal"),
        pytest.param("0o17", 15, id="octal"),
        pytest.param("017", 15, id="octal of YAML 1.1"),
        pytest.param("08", 8, id="a leading zero that is no octal"),
        pytest.param("1:30", "1:30", id="no base 60 (PyYAML: 90)"),
        pytest.param("2020-01-01", "2020-01-01", id="no dates (PyYAML: a date)"),
        pytest.param("'3e-4'", "3e-4", id="quoted stays a string"),
        pytest.param("yes", True, id="boolean of YAML 1.1"),
        pytest.param("y", True, id="y, a boolean of YAML 1.1 (PyYAML: a string)"),
        pytest.param("N", False, id="N"),
        pytest.param("'y'", "y", id="a quoted y is a string"),
        pytest.param("oN", "oN", id="mixed case is no boolean"),
        pytest.param("1e400", "1e400", id="beyond every float is a string"),
        pytest.param("0xFFFFFFFFFFFFFFFFF", "0xFFFFFFFFFFFFFFFFF", id="hexadecimal beyond 64 bits is a string"),
        pytest.param("0X1F", 31, id="hexadecimal with a capital"),
        pytest.param("._5", "._5", id="an underscore behind the point is no number"),
        pytest.param("1.2.3", "1.2.3", id="a version is a string"),
        pytest.param("2Gi", "2Gi", id="a quantity is a string"),
        pytest.param("[0.5, 1.0]", [0.5, 1], id="inside a list"),
        pytest.param("18446744073709551616", 2.0**64, id="beyond 64 bits"),
    ],
)
def test_a_scalar_is_read_as_kubernetes_reads_it(written, read):
    value = value_of(written)
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize("scalar", [".inf", "-.inf", ".nan"])
def test_a_number_without_a_json_form_is_refused(scalar):
    with pytest.raises(InvalidConfiguration, match="no JSON form"):
        value_of(scalar)


def test_a_key_given_twice_is_refused_with_its_line():
    with pytest.raises(InvalidConfiguration, match=r"'seed' is given twice(.|\n)*line 5"):
        read_text(f"{HEAD}spec:\n  seed: 1\n  seed: 2\n")


def test_keys_that_are_no_strings_become_what_json_makes_of_them():
    assert read_text(f"{HEAD}spec: {{1: a, true: b}}")["spec"] == {"1": "a", "true": "b"}


def test_a_key_that_kubectl_takes_for_a_boolean_is_the_text_that_it_makes_of_it():
    assert read_text(f"{HEAD}spec: {{n: 4, on: 1, 'y': 2}}")["spec"] == {"false": 4, "true": 1, "y": 2}


def test_a_key_of_its_own_goes_before_one_that_is_merged_in():
    spec = read_text(f"{HEAD}spec:\n  a: &market {{start: 1, end: 2}}\n  b: {{<<: *market, start: 3}}\n")["spec"]
    assert spec["b"] == {"start": 3, "end": 2}


def test_of_several_merged_mappings_the_first_goes_before_the_others():
    spec = read_text(f"{HEAD}spec: {{a: &a {{x: 1}}, b: &b {{x: 2, y_: 3}}, c: {{<<: [*a, *b]}}}}")["spec"]
    assert spec["c"] == {"x": 1, "y_": 3}


def test_json_is_read_with_the_escapes_of_json():
    document = {"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "spec": {"text": "\U0001f600"}}
    text = json.dumps(document)
    assert "\\ud83d\\ude00" in text
    assert read_text(text) == document


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param("{a: &m {x: 1}, b: {x: 2, <<: *m}}", "write << first", id="merged in behind a key of its own"),
        pytest.param("{b: {<<: 1}}", "needs a mapping", id="a merge of a number"),
        pytest.param("{1.5: a}", "1.5 is no key: quote it", id="a fraction as key"),
        pytest.param("{~: a}", "~ is no key: quote it", id="null as key"),
        pytest.param("{[a]: b}", "a list or mapping is no key", id="a list as key"),
        pytest.param("{a: &a [*a]}", "contains itself", id="a list in itself"),
        pytest.param("{a: !!timestamp 2020-01-01}", "is not known: leave it out", id="a date by its tag"),
        pytest.param("{a: !!int 1:30}", "'1:30' is no int", id="base 60 by its tag"),
        pytest.param('{a: "\\ud83d"}', "half a character", id="half a character"),
        pytest.param("{a: [b:, c]}", "needs a space", id="a colon without a space in a list"),
        pytest.param("[" * 5000, "is not readable", id="nested beyond all sense"),
    ],
)
def test_what_two_readers_would_read_differently_is_refused(spec, words):
    with pytest.raises(InvalidConfiguration) as error:
        read_text(f"{HEAD}spec: {spec}")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "spec", ['{"a": 1e400}', '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "\\ud83d"}', '{"a": ' + "9" * 400 + "}"]
)
def test_json_that_an_api_server_would_store_otherwise_is_refused(spec):
    with pytest.raises(InvalidConfiguration, match="is not readable"):
        read_text(f'{{"apiVersion": "trainyard.dev/v1alpha1", "kind": "TrainingRun", "spec": {spec}}}')


def test_aliases_that_unfold_to_billions_are_refused_at_once():
    lists = "".join(f"  {name}: &{name} [{', '.join([f'*{of}'] * 9)}]\n" for of, name in pairwise("abcdefghijk"))
    with pytest.raises(InvalidConfiguration, match="aliases unfold to too much"):
        read_text(f"{HEAD}spec:\n  a: &a [x, x, x, x, x, x, x, x, x]\n{lists}")


def test_the_document_that_an_api_server_gives_back_is_the_document_of_the_file():
    document = read_text(f"{HEAD}spec: {{a: 1.0, b: [3e-4, 2e0], c: {{d: 0.1}}}}")
    assert normalise_numbers(json.loads(json.dumps(document))) == document


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("spec: {}", "kind: is None; write TrainingRun", id="no kind"),
        pytest.param("apiVersion: trainyard.dev/v9\nkind: TrainingRun\nspec: {}", "'trainyard.dev/v9'", id="newer"),
        pytest.param(HEAD, "spec: is missing", id="no spec"),
        pytest.param("- 1", "is not a mapping", id="a list"),
        pytest.param(f"{HEAD}spec: {{}}\n---\n{HEAD}spec: {{}}", "holds 2 documents", id="two documents"),
        pytest.param("", "holds 0 documents", id="empty"),
        pytest.param("a: [", "is not readable", id="no YAML"),
    ],
)
def test_what_is_no_training_run_is_refused_in_words(text, fault):
    with pytest.raises(InvalidConfiguration) as error:
        read_text(text)
    assert fault in str(error.value)


def test_a_missing_file_is_the_users_error(tmp_path: Path):
    with pytest.raises(InvalidConfiguration, match="cannot be read"):
        read_file(tmp_path / "none.yaml")
