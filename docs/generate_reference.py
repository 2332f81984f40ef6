"""Writes what follows from the CRD: docs/reference/trainingrun.md, and the schema that the training library judges
files by. With --check it only fails when one of them has drifted.

python docs/generate_reference.py [--check]
"""

import argparse
import difflib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CRD = ROOT / "manifests" / "crd" / "trainyard.dev_trainingruns.yaml"
PAGE = ROOT / "docs" / "reference" / "trainingrun.md"
SCHEMA = ROOT / "training_image" / "trainyard" / "spec" / "schema.json"
Schema = dict[str, Any]

INTRODUCTION = """\
<!-- Written by docs/generate_reference.py from manifests/crd/trainyard.dev_trainingruns.yaml: do not edit. -->
# TrainingRun

`apiVersion: {group}/{version}`, `kind: {kind}`, namespaced; `kubectl get {plural}`, short name `{short}`.

{description}

The same text is in the cluster: `kubectl explain {singular}.spec.stop`. A field marked *required* is so where its
section is given. Defaults are filled in by the API server. A map marked *free-form* holds any values. A *quantity*
is one of Kubernetes, greater than 0, for instance `2`, `500m`, `"0.5"` (a fraction needs its quotation marks) or `4Gi`:
at most 100000 CPUs, at least `64Mi` of memory.
"""


def page(crd: Schema) -> str:
    """The whole page as Markdown."""
    names, (version, *_) = crd["spec"]["names"], crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    introduction = INTRODUCTION.format(
        group=crd["spec"]["group"],
        version=version["name"],
        kind=names["kind"],
        plural=names["plural"],
        singular=names["singular"],
        short=names["shortNames"][0],
        description=schema["description"],
    )
    parts = [introduction, *_rules(naming(schema), "Rules for the name")]
    for section in ("spec", "status"):
        parts += _sections(section, schema["properties"][section], level=2)
    parts += _columns(version["additionalPrinterColumns"])
    return "\n".join(parts).rstrip() + "\n"


def library_schema(crd: Schema) -> str:
    """The schema of what people write, as JSON Schema (draft 4) with the API server's own keywords kept.

    Left out is what only an API server needs: descriptions, rules between an old and a new object, the status. The
    rules of the whole spec are in `trainyard.spec.relations`, in the words of a single file.
    """
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    spec = _judged({**schema["properties"]["spec"], "x-kubernetes-validations": []})
    labels = spec["properties"]["cluster"]["properties"]["labels"]
    annotations = spec["properties"]["cluster"]["properties"]["annotations"]
    names = [
        {**rule, "rule": rule["rule"].replace("self.metadata.name", "self")}
        for rule in naming(schema)["x-kubernetes-validations"]
    ]
    text_or_null = {"type": ["string", "null"], "nullable": True}
    # What Kubernetes asks of every object's metadata, as far as people write it.
    metadata: Schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "x-kubernetes-validations": names},
            **{name: {"type": "string"} for name in ("generateName", "namespace", "uid", "resourceVersion")},
            **{name: {"type": "string"} for name in ("selfLink", "creationTimestamp", "deletionTimestamp")},
            **{name: {"type": "integer"} for name in ("generation", "deletionGracePeriodSeconds")},
            **{name: {"type": "array"} for name in ("finalizers", "ownerReferences", "managedFields")},
            "labels": {
                "type": "object",
                "additionalProperties": {**labels["additionalProperties"], **text_or_null},
                "x-kubernetes-validations": labels["x-kubernetes-validations"],
            },
            "annotations": {
                "type": "object",
                "additionalProperties": text_or_null,
                "x-kubernetes-validations": annotations["x-kubernetes-validations"],
            },
        },
        "additionalProperties": False,
    }
    document = {
        "$comment": "Written by docs/generate_reference.py from manifests/crd: do not edit.",
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": metadata,
            "spec": spec,
            "status": {},
        },
        "additionalProperties": False,
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _judged(schema: Schema) -> Schema:
    """The schema of one field without what does not judge, and closed: a field that it has not is an error."""
    kept = {key: value for key, value in schema.items() if key not in _OF_THE_API_SERVER}
    if schema.get("x-kubernetes-int-or-string"):
        kept["type"] = ["integer", "string"]
    if not kept.get("x-kubernetes-validations", True):
        del kept["x-kubernetes-validations"]
    if "properties" in schema:
        kept["properties"] = {name: _judged(field) for name, field in schema["properties"].items()}
        kept["additionalProperties"] = False
    elif "additionalProperties" in schema:
        kept["additionalProperties"] = _judged(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = _judged(schema["items"])
    return kept


_OF_THE_API_SERVER = {
    "description", "default", "format", "x-kubernetes-int-or-string", "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def naming(schema: Schema) -> Schema:
    """The rules of the whole object but those that freeze single fields, which the introduction of the spec covers."""
    rules = [rule for rule in schema["x-kubernetes-validations"] if "oldSelf" not in rule["rule"]]
    return {"x-kubernetes-validations": rules}


def _sections(path: str, schema: Schema, level: int) -> Iterator[str]:
    """A section for the object, then one for each object in it."""
    yield f"{'#' * level} {path}\n"
    yield f"{schema['description']}\n"
    yield "| field | type | description |"
    yield "|---|---|---|"
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        yield f"| `{name}`{' *required*' if name in required else ''} | {_type(field)} | {_description(field)} |"
    yield ""
    yield from _rules(schema, "Rules")
    for name, field in schema["properties"].items():
        inner, suffix = (field["items"], "[]") if field.get("type") == "array" else (field, "")
        if "properties" in inner:
            yield from _sections(f"{path}.{name}{suffix}", inner, min(level + 1, 3))


def _rules(schema: Schema, title: str) -> Iterator[str]:
    if rules := schema.get("x-kubernetes-validations"):
        yield f"{title}:\n"
        yield from (f"- {_cell(rule['message'])}" for rule in rules)
        yield ""


def _type(field: Schema) -> str:
    if field.get("x-kubernetes-int-or-string"):
        return "quantity"
    match field.get("type"):
        case "array":
            return f"list of {_plural(field['items'])}"
        case "object" if "additionalProperties" in field:
            values = field["additionalProperties"]
            return f"map of {values['type']}s" if "type" in values else "map, *free-form*"
        case "string" if field.get("format") == "date-time":
            return "time"
        case "string" if "enum" in field:
            return " \\| ".join(f"`{value}`" for value in field["enum"])
        case None:
            return "any"
        case kind:
            return str(kind)


def _plural(items: Schema) -> str:
    return "values of any kind" if "type" not in items else f"{items['type']}s"


def _description(field: Schema) -> str:
    """The description with what the schema says in numbers, and the rules of a single value."""
    words = [_cell(field["description"])]
    if "default" in field and not isinstance(field["default"], dict):
        words.append(f"Default: `{_literal(field['default'])}`.")
    if (bounds := _bounds(field)) is not None:
        words.append(bounds)
    if "properties" not in field and _type(field) != "quantity":
        words += [f"Rule: {_cell(rule['message'])}." for rule in field.get("x-kubernetes-validations", ())]
    return " ".join(words)


def _bounds(field: Schema) -> str | None:
    if _type(field) == "quantity":
        return None
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        more = "More than " if field.get("exclusiveMinimum") else ""
        return f"{more}{least} to {most}." if not more else f"{more}{least}, at most {most}."
    if least is not None:
        return f"At least {least}."
    for key, noun in (("maxItems", "items"), ("maxProperties", "keys"), ("maxLength", "characters")):
        if key in field and "enum" not in field:
            return f"At most {field[key]} {noun}."
    return None


def _literal(value: Any) -> str:
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _cell(text: str) -> str:
    """Text for a cell of a table: on one line, bars and angle brackets escaped."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _columns(columns: list[Schema]) -> Iterator[str]:
    yield "## What kubectl prints\n"
    yield "| column | field | when |"
    yield "|---|---|---|"
    for column in columns:
        when = "with `-o wide`" if column.get("priority") else "always"
        yield f"| {column['name'].upper()} | `{column['jsonPath'].removeprefix('.')}` | {when} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail when the page is not what the CRD gives")
    check = parser.parse_args().check
    crd = yaml.safe_load(CRD.read_text())
    drifted = [
        written
        for written, text in ((PAGE, page(crd)), (SCHEMA, library_schema(crd)))
        if not _same(written, text, check)
    ]
    for written in drifted:
        print(f"{written} has drifted from {CRD}: run python docs/generate_reference.py", file=sys.stderr)
    return 1 if drifted else 0


def _same(file: Path, text: str, check: bool) -> bool:
    """Whether the file holds the text; where it need only be checked, the difference is shown, else it is written."""
    written = file.read_text() if file.exists() else ""
    if written == text:
        return True
    if not check:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return True
    difference = difflib.unified_diff(written.splitlines(), text.splitlines(), str(file), "generated", n=0, lineterm="")
    print("\n".join(difference))
    return False


if __name__ == "__main__":
    raise SystemExit(main())
