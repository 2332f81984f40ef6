"""A file read here and the same file sent through an API server are one run."""

import json
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


def test_the_document_that_an_api_server_gives_back_is_the_document_of_the_file():
    document = read_text(f"{HEAD}spec: {{a: 1.0, b: [3e-4, 2e0], c: {{d: 0.1}}}}")
    assert normalise_numbers(json.loads(json.dumps(document))) == document


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("spec: {}", "kind: is None; write TrainingRun", id="no kind"),
        pytest.param("apiVersion: trainyard.dev/v9\nkind: TrainingRun\nspec: {}", "'trainyard.dev/v9'", id="newer"),
        pytest.param(HEAD, "spec: is missing", id="no spec"),
        pytest.param(f"{HEAD}metadata: {{name: ../a}}\nspec: {{}}", "metadata.name: is '../a'; write", id="a path"),
        pytest.param(f"{HEAD}metadata: {{name: 5}}\nspec: {{}}", "metadata.name: is 5; write", id="a number as name"),
        pytest.param(
            f"{HEAD}metadata: {{name: {'a' * 260}}}\nspec: {{}}",
            "metadata.name: has 260 characters; write at most 200",
            id="a name that no folder can have",
        ),
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
