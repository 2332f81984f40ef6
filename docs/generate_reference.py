"""Writes docs/reference/trainingrun.md from the CRD; with --check it only fails when the page has drifted.

python docs/generate_reference.py [--check]
"""

import argparse
import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CRD = ROOT / "manifests" / "crd" / "trainyard.dev_trainingruns.yaml"
PAGE = ROOT / "docs" / "reference" / "trainingrun.md"
Schema = dict[str, Any]

INTRODUCTION = """\
<!-- Written by docs/generate_reference.py from manifests/crd/trainyard.dev_trainingruns.yaml: do not edit. -->
# TrainingRun

`apiVersion: {group}/{version}`, `kind: {kind}`, namespaced; `kubectl get {plural}`, short name `{short}`.

{description}

The same text is in the cluster: `kubectl explain {singular}.spec.stop`. A field marked *required* is so where its
section is given. Defaults are filled in by the API server. A map marked *free-form* holds any values. A *quantity*
is one of Kubernetes, greater than 0, for instance `2`, `500m`, `"0.5"` (a fraction needs its quotation marks) or `4Gi`.
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
    text = page(yaml.safe_load(CRD.read_text()))
    if not check:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)
        return 0
    written = PAGE.read_text() if PAGE.exists() else ""
    if written == text:
        return 0
    difference = difflib.unified_diff(written.splitlines(), text.splitlines(), str(PAGE), "generated", n=0, lineterm="")
    print("\n".join(difference))
    print(f"{PAGE} has drifted from {CRD}: run python docs/generate_reference.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
