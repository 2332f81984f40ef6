"""Reading a TrainingRun document so that a file read here and the same file sent through an API server are one run.

`kubectl` turns YAML into JSON with Go's YAML reader, and the API server stores numbers as JSON does. Where PyYAML
differs from that, this module follows Kubernetes:

- `3e-4` is a number (PyYAML: a string), `1:30` and `2020-01-01` are strings (PyYAML: 90 and a date);
- `1.0` and `1` are the same number, and come out as the integer;
- infinities and NaN have no JSON form and are refused; so are repeated keys, which Go's reader would let win silently.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

from trainyard.errors import Fault, InvalidConfiguration

API_VERSION = "trainyard.dev/v1alpha1"
KIND = "TrainingRun"

_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|[1-9][0-9_]*|0)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*", re.ASCII)
# Of a Kubernetes object's name with room for the time in a folder's name, of which file systems take 255 bytes.
MAX_NAME_LENGTH = 200
_LARGEST_INTEGER = 2**63 - 1


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of Kubernetes' YAML reader."""


_REPLACED = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "!number",
    re.compile(rf"^(?:{_INTEGER.pattern}|{_FLOAT.pattern}|{_NON_FINITE.pattern})$", re.ASCII),
    list("-+.0123456789"),
)


def _construct_number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    text = node.value.replace("_", "")
    if _NON_FINITE.fullmatch(text):
        raise yaml.constructor.ConstructorError(
            None, None, f"{text} has no JSON form, so Kubernetes cannot store it", node.start_mark
        )
    if _INTEGER.fullmatch(text):
        unsigned = text.lstrip("+-")
        if re.fullmatch(r"0[0-7]+", unsigned):
            unsigned = "0o" + unsigned[1:]
        number = int(unsigned, 0)
        return -number if text.startswith("-") else number
    return float(text)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            key = _json_key(key)
        if key in mapping:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _json_key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)


_Loader.add_constructor("!number", _construct_number)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def normalise_numbers(value: Any) -> Any:
    """Return `value` with every number in the form that an API server gives back (1.0 as 1)."""
    if isinstance(value, dict):
        return {key: normalise_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [normalise_numbers(item) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value.is_integer() and abs(value) <= _LARGEST_INTEGER:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_INTEGER:
        return float(value)
    return value


def read_text(text: str, source: str = "document") -> dict[str, Any]:
    """Parse one YAML or JSON document.

    Raises:
        InvalidConfiguration: not YAML, several documents, not a mapping, not a TrainingRun of this version.
    """
    try:
        documents = [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidConfiguration([Fault(source, f"is not readable: {error}", "correct the YAML")]) from error
    if len(documents) != 1:
        raise InvalidConfiguration(
            [Fault(source, f"holds {len(documents)} documents, 1 expected", "keep one TrainingRun in the file")]
        )
    (document,) = documents
    if not isinstance(document, dict):
        raise InvalidConfiguration([Fault(source, "is not a mapping", f"start with apiVersion: {API_VERSION}")])
    return check_kind(normalise_numbers(document))


def check_kind(document: dict[str, Any]) -> dict[str, Any]:
    """Return `document` when it is a TrainingRun of a version that this package reads; raise otherwise."""
    faults = []
    if document.get("kind") != KIND:
        faults.append(Fault("kind", f"is {document.get('kind')!r}", f"write {KIND}"))
    if document.get("apiVersion") != API_VERSION:
        faults.append(
            Fault(
                "apiVersion",
                f"is {document.get('apiVersion')!r}; this version of Trainyard reads {API_VERSION}",
                f"write {API_VERSION}, or use an image of the version that the file was written for",
            )
        )
    if not isinstance(document.get("spec"), dict):
        faults.append(Fault("spec", "is missing or not a mapping", "describe the run under spec"))
    metadata = document.get("metadata", {})
    if not isinstance(metadata, dict):
        faults.append(Fault("metadata", "is not a mapping", "write metadata: {name: ...}"))
    elif (name := metadata.get("name")) is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        # The API server is stricter; here it becomes the name of a folder.
        remedy = "write lower-case letters, digits and '-', for instance cartpole-ppo; a number needs quotation marks"
        faults.append(Fault("metadata.name", f"is {name!r}", remedy))
    elif isinstance(name, str) and len(name) > MAX_NAME_LENGTH:
        remedy = f"write at most {MAX_NAME_LENGTH}; a cluster takes 40"
        faults.append(Fault("metadata.name", f"has {len(name)} characters", remedy))
    if faults:
        raise InvalidConfiguration(faults)
    return document


def read_file(path: Path) -> dict[str, Any]:
    """Read one TrainingRun from a YAML or JSON file; see `read_text` for the errors."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration([Fault(str(path), f"cannot be read: {error}", "check the path")]) from error
    return read_text(text, source=str(path))
