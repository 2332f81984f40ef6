"""The API server's verdict without one: a document against the schema of the CRD.

`schema.json` is made from manifests/crd by docs/generate_reference.py. jsonschema judges by it, with two keywords of
Kubernetes added: the keys of a list of mappings, and CEL rules, by their twins in `trainyard.spec.rules`. Rules of the
whole spec are in `trainyard.spec.relations`. `python -m tests.apiserver.parity` compares the verdicts.
"""

import json
import reprlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from trainyard.errors import Fault, nearest
from trainyard.spec.rules import twin

Schema = dict[str, Any]

# Kubernetes makes a name of metadata.generateName: this much of it, and five characters more.
_GENERATED_FROM, _GENERATED = 58, "x7x7x"

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 120
_repr.maxlist = _repr.maxdict = 8


@cache
def schema() -> Schema:
    """The schema of a TrainingRun document, in JSON Schema's draft 4 with some keywords of Kubernetes."""
    text = resources.files("trainyard.spec").joinpath("schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def without_nulls(value: Any, of: Schema) -> Any:
    """Drop every field that is null and may not be, as the API server does: it was not given.

    Free-form maps and lists keep theirs.
    """
    if isinstance(value, list) and "items" in of:
        return [without_nulls(item, of["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    others = of.get("additionalProperties")
    fields = {name: of.get("properties", {}).get(name, others or None) for name in value}
    return {
        name: without_nulls(item, fields[name] or {})
        for name, item in value.items()
        if item is not None or fields[name] is None or fields[name].get("nullable") or "type" not in fields[name]
    }


def spec_faults(spec: Any) -> list[Fault]:
    """Faults of single fields and sections below `spec`."""
    return _faults(spec, schema()["properties"]["spec"], "spec")


def metadata_faults(document: Mapping[str, Any]) -> list[Fault]:
    """Faults of everything beside `spec`: unknown parts of the document, the name, labels, annotations."""
    parts = schema()["properties"]
    faults = [Fault(name, "is not a field", nearest(name, list(parts))) for name in document if name not in parts]
    metadata = document.get("metadata", {})
    faults += _faults(metadata, parts["metadata"], "metadata")
    if not isinstance(metadata, dict) or metadata.get("name"):
        return faults
    if not metadata.get("generateName"):
        return [*faults, Fault("metadata.name", "is required", "add it, for instance metadata: {name: cartpole-ppo}")]
    name = str(metadata["generateName"])[:_GENERATED_FROM] + _GENERATED
    generated = _faults({"name": name}, parts["metadata"], "metadata")
    return faults + [Fault("metadata.generateName", fault.problem, fault.remedy) for fault in generated]


def _faults(value: Any, of: Schema, name: str) -> list[Fault]:
    found = (fault for error in _validator_class()(of).iter_errors(value) for fault in _told(error, name))
    return list(dict.fromkeys(found))


@cache
def _validator_class() -> Any:
    # Imported here: it takes longer than everything else in this room, and `trainyard --help` needs none of it.
    from jsonschema import Draft4Validator, validators

    keywords = {"x-kubernetes-validations": _rules, "x-kubernetes-list-map-keys": _keys}
    return validators.extend(Draft4Validator, keywords)


def _rules(validator: Any, rules: list[Schema], value: Any, of: Schema) -> Iterator[Any]:
    """The rules that `value` breaks. Like the API server, it asks them only of what is of the right form."""
    from jsonschema import ValidationError

    form = {key: part for key, part in of.items() if key != "x-kubernetes-validations"}
    if value is None or not validator.evolve(schema=form).is_valid(value):
        return
    for rule in rules:
        if not twin(rule["rule"])(value):
            yield ValidationError(rule["message"], validator_value=rule)


def _keys(validator: Any, keys: list[str], items: Any, of: Schema) -> Iterator[Any]:
    """The items of a list that have the same keys as one before them."""
    from jsonschema import ValidationError

    if not isinstance(items, list):
        return
    seen = []
    for index, item in enumerate(items):
        values = [item.get(key) for key in keys] if isinstance(item, dict) else None
        if values is not None and values in seen:
            yield ValidationError(f"{values[0]!r} is given twice", path=[index, keys[0]], instance=item)
        seen.append(values)


def _told(error: Any, root: str) -> list[Fault]:
    """The faults of an error of jsonschema, which tells of all unknown fields in one, and of missing ones in many."""
    field = root + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    value, limit = error.instance, error.validator_value
    found = f"is {_repr.repr(value)}"
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            extra = [name for name in value if name not in known]
            return [Fault(f"{field}.{name}", "is not a field", nearest(name, known)) for name in extra]
        case "required":
            return [Fault(f"{field}.{name}", "is required", "add it") for name in limit if name not in value]
        case "x-kubernetes-validations":
            place = field + limit.get("fieldPath", "")
            if isinstance(value, dict):
                return [Fault(place, error.message)]
            return [Fault(place, found, error.message)]
        case "x-kubernetes-list-map-keys":
            return [Fault(field, error.message, "keep one")]
        case "type":
            return [Fault(field, found, _TYPES[str(limit)])]
        case "enum":
            return [Fault(field, found, _choice(value, limit))]
        case "minimum" | "maximum":
            return [Fault(field, found, f"must be {_bound(error.validator, error.schema)} {limit:g}")]
        case "minLength" | "minItems" | "minProperties":
            few = f"write {limit} or more" if value else "remove it, or write one or more"
            return [Fault(field, f"has {len(value)} {_PARTS[error.validator]}" if value else "is empty", few)]
        case "maxLength" | "maxItems" | "maxProperties":
            return [Fault(field, f"has {len(value)} {_PARTS[error.validator]}", f"write at most {limit}")]
        case _:
            return [Fault(field, error.message)]


_TYPES = {
    "integer": "write a whole number without quotes",
    "number": "write a number without quotes",
    "boolean": "write true or false",
    "string": "write a string; quote it if YAML reads it as something else",
    "object": "write a mapping (field: value)",
    "array": "write a list",
    "['string', 'null']": "write a string; quote it if YAML reads it as something else",
    "['integer', 'string']": "write a quantity such as 512Mi or 2; a fraction needs quotation marks",
}
_PARTS = {
    "minLength": "characters", "maxLength": "characters", "minItems": "items", "maxItems": "items",
    "minProperties": "keys", "maxProperties": "keys",
}  # fmt: skip


def _choice(value: Any, known: list[str]) -> str:
    near = nearest(value, known) if isinstance(value, str) and value else ""
    return near if near.startswith("did") else f"use {' or '.join(map(repr, known))}"


def _bound(keyword: str, of: Schema) -> str:
    if keyword == "maximum":
        return "at most"
    return "more than" if of.get("exclusiveMinimum") else "at least"
