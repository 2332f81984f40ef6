"""Reading a TrainingRun document so that a file read here and the same file sent through an API server are one run.

`kubectl` turns YAML into JSON with Go's YAML reader (go.yaml.in/yaml/v2 under sigs.k8s.io/yaml), and the API server
stores numbers as JSON does. Where PyYAML differs from that, this module follows Kubernetes:

- `3e-4` is a number (PyYAML: a string), `1:30` and `2020-01-01` are strings (PyYAML: 90 and a date), and so is `1e400`,
  which no float can hold;
- an unquoted `y` or `n` is a boolean as `yes` and `no` are, also as a key, and a key becomes a string: `n: 4` is
  `"false": 4`;
- `1.0` and `1` are the same number, and come out as the integer;
- aliases that unfold to too much are refused.

Some files are refused here although `kubectl` takes them, because what it makes of them is hardly what was meant:
repeated keys (the last one wins there), a key written before a merge `<<` that has it, too (the merged one wins
there), keys that are fractions (rounded there to 32 bits), and tags of one's own (dropped there).
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trainyard.errors import Fault, InvalidConfiguration
from trainyard.spec.schema import schema, without_nulls

API_VERSION = "trainyard.dev/v1alpha1"
KIND = "TrainingRun"

# The tables and patterns of resolve.go. Underscores are dropped first; after a leading point only between digits.
_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_NULL = ("", "~", "null", "Null", "NULL")
_INTEGER = re.compile(r"[-+]?(0[bB][01]+|0[oO]?[0-7]+|0[xX][0-9a-fA-F]+|[1-9][0-9]*|0)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_STRAY_UNDERSCORE = re.compile(r"^\.(.*[^0-9])?_|^\..*_([^0-9]|$)", re.ASCII)
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_SMALLEST_INTEGER, _LARGEST_INTEGER, _LARGEST_UNSIGNED = -(2**63), 2**63 - 1, 2**64 - 1

_TAG = "tag:yaml.org,2002:"
_BOOLEAN, _NUMBER, _MERGE = f"{_TAG}bool", "!number", f"{_TAG}merge"
_SURROGATE = re.compile("[\ud800-\udfff]")
_HALF_A_CHARACTER = "half a character (a \\u escape from D800 to DFFF): write the character itself"
# Of decimal digits; more than any number of 64 bits has, and what Python converts without complaint.
_LONGEST_INTEGER = 4000


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars, merges and limits of Kubernetes' YAML reader."""

    def get_data(self) -> Any:
        node = self.get_node()
        assert node is not None  # load_all() has asked whether there is one
        _check_aliases(node)
        return self.construct_document(node)

    def fetch_value(self) -> None:
        """Refuse `[a:, b]`, where `a:` is a text for Go and a key for PyYAML."""
        key = self.tokens[-1] if self.tokens else None
        if self.flow_level and self.peek(1) in ",[]{}" and isinstance(key, yaml.ScalarToken) and key.plain:
            raise yaml.scanner.ScannerError(None, None, "a ':' needs a space behind it", self.get_mark())
        super().fetch_value()


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(f"^(?:{'|'.join(_NULL)})$"), ["", "~", "n", "N"])
_Loader.add_implicit_resolver(_BOOLEAN, re.compile(f"^(?:{'|'.join(_TRUE + _FALSE)})$"), list("yYnNtTfFoO"))
_Loader.add_implicit_resolver(_MERGE, re.compile("^<<$"), ["<"])
_Loader.add_implicit_resolver(_NUMBER, re.compile(""), list("-+.0123456789"))


def _refusal(problem: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _construct_number(loader: _Loader, node: yaml.ScalarNode) -> int | float | str:
    """What starts like a number, and may be a text after all."""
    if _NON_FINITE.fullmatch(node.value):
        raise _refusal(f"{node.value} has no JSON form, so Kubernetes cannot store it", node)
    plain = node.value if _STRAY_UNDERSCORE.search(node.value) else node.value.replace("_", "")
    if (integer := _integer(plain)) is not None:
        return integer
    if _FLOAT.fullmatch(plain) and math.isfinite(float(plain)):
        return float(plain)
    return str(node.value)


def _integer(plain: str) -> int | None:
    if not _INTEGER.fullmatch(plain) or len(plain) > _LONGEST_INTEGER:
        return None
    unsigned = plain.lstrip("+-")
    if re.fullmatch("0[0-7]+", unsigned):
        unsigned = "0o" + unsigned[1:]
    number = -int(unsigned, 0) if plain.startswith("-") else int(unsigned, 0)
    largest = _LARGEST_INTEGER if plain.startswith("+") else _LARGEST_UNSIGNED
    return number if _SMALLEST_INTEGER <= number <= largest else None


def _construct_tagged_number(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    number = _construct_number(loader, node)
    if isinstance(number, str) or (node.tag == f"{_TAG}int" and isinstance(number, float)):
        raise _refusal(f"{node.value!r} is no {node.tag.removeprefix(_TAG)}", node)
    return number


def _construct_boolean(loader: _Loader, node: yaml.ScalarNode) -> bool:
    if node.value not in _TRUE + _FALSE:
        raise _refusal(f"{node.value!r} is no boolean", node)
    return node.value in _TRUE


def _refuse_tag(loader: _Loader, node: yaml.Node) -> None:
    raise _refusal(f"the tag {node.tag} is not known: leave it out", node)


def _construct_null(loader: _Loader, node: yaml.ScalarNode) -> None:
    if node.value not in _NULL:
        raise _refusal(f"{node.value!r} is no null", node)


def _construct_text(loader: _Loader, node: yaml.ScalarNode) -> str:
    if _SURROGATE.search(node.value):
        raise _refusal(_HALF_A_CHARACTER, node)
    return str(node.value)


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    own: set[str] = set()
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            merged = _merged(loader, value_node)
            if early := sorted(own & merged.keys()):
                problem = f"the key {early[0]!r} stands before a << that has it, too, and kubectl would take that of <<"
                raise _refusal(f"{problem}: write << first", key_node)
            mapping |= merged
            continue
        key = _key(loader, key_node)
        if key in own:
            raise _refusal(f"the key {key!r} is given twice", key_node)
        own.add(key)
        mapping[key] = loader.construct_object(value_node, deep=True)
    return mapping


def _merged(loader: _Loader, node: yaml.Node) -> dict[str, Any]:
    """What `<<` brings in: a mapping, or several of which an earlier one goes before a later one."""
    nodes = reversed(node.value) if isinstance(node, yaml.SequenceNode) else [node]
    merged: dict[str, Any] = {}
    for item in nodes:
        if not isinstance(item, yaml.MappingNode):
            raise _refusal("<< needs a mapping or a list of mappings", item)
        merged |= loader.construct_object(item, deep=True)
    return merged


def _key(loader: _Loader, node: yaml.Node) -> str:
    """The key as JSON has it, which has only strings."""
    key = loader.construct_object(node, deep=True)
    if isinstance(key, str):
        return key
    if isinstance(key, bool) or (isinstance(key, int) and key <= _LARGEST_INTEGER):
        return json.dumps(key)
    shown = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
    raise _refusal(f"{shown or 'null'} is no key: quote it", node)


for _tag in [*yaml.SafeLoader.yaml_constructors]:  # only those below, and sequences
    if _tag != f"{_TAG}seq":
        _Loader.add_constructor(_tag, _refuse_tag)
for _tag in ("int", "float"):
    _Loader.add_constructor(f"{_TAG}{_tag}", _construct_tagged_number)
_Loader.add_constructor(_NUMBER, _construct_number)
_Loader.add_constructor(_BOOLEAN, _construct_boolean)
_Loader.add_constructor(f"{_TAG}null", _construct_null)
for _tag in (f"{_TAG}str", _MERGE):  # << is a merge only as a key
    _Loader.add_constructor(_tag, _construct_text)
_Loader.add_constructor(f"{_TAG}map", _construct_mapping)


def _check_aliases(root: yaml.Node) -> None:
    """Refuse what decode.go refuses: a node inside itself, and a document of which aliases unfold almost everything.

    The limits are its own: from 100 unfolded nodes and 1,000 nodes on, a share of 99 %; less, down to 10 %, when there
    are more than 400,000 nodes.
    """
    unfolded = 0
    for nodes, (node, by_alias) in enumerate(_unfold(root, set(), set(), by_alias=False), start=1):
        unfolded += by_alias
        allowed = 0.99 - 0.89 * min(max(nodes - 400_000, 0) / 3_600_000, 1.0)
        if unfolded > 100 and nodes > 1000 and unfolded > allowed * nodes:
            raise _refusal("aliases unfold to too much", node)


def _unfold(node: yaml.Node, seen: set[int], path: set[int], *, by_alias: bool) -> Iterator[tuple[yaml.Node, bool]]:
    """Every node as often as it is decoded, and whether an alias led to it. An alias counts beside its node."""
    yield node, by_alias
    if id(node) in path:
        raise _refusal("an anchor's value contains itself", node)
    if id(node) in seen:
        by_alias = True
        yield node, by_alias
    seen.add(id(node))
    path.add(id(node))
    children = node.value if isinstance(node, yaml.SequenceNode) else ()
    if isinstance(node, yaml.MappingNode):
        children = [part for key, value in node.value for part in ((key, value) if key.tag != _MERGE else (value,))]
    for child in children:
        yield from _unfold(child, seen, path, by_alias=by_alias)
    path.remove(id(node))


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


def _documents(text: str) -> Iterator[Any]:
    """The documents of a file. One that is JSON is read as JSON, as kubectl does: its escapes are others."""
    if text.lstrip().startswith("{"):
        try:
            document = json.loads(
                text, object_pairs_hook=_object, parse_float=_finite, parse_int=_finite, parse_constant=_finite
            )
        except json.JSONDecodeError:
            return yaml.load_all(text, Loader=_Loader)  # a flow mapping of YAML
        if _SURROGATE.search(json.dumps(document, ensure_ascii=False)):
            raise yaml.YAMLError(_HALF_A_CHARACTER)
        return iter([document])
    return yaml.load_all(text, Loader=_Loader)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise yaml.YAMLError(f"the key {next(name for name in names if names.count(name) > 1)!r} is given twice")
    return found


def _finite(text: str) -> int | float:
    """A number of JSON."""
    number = float(text)
    if not math.isfinite(number):
        raise yaml.YAMLError(f"{text[:20]} is beyond what Kubernetes can store as a number")
    return int(text) if text.lstrip("-").isdigit() else number


def read_text(text: str, source: str = "document") -> dict[str, Any]:
    """Parse one YAML or JSON document.

    Raises:
        InvalidConfiguration: not YAML, several documents, not a mapping, not a TrainingRun of this version.
    """
    try:
        documents = [document for document in _documents(text) if document is not None]
    except (yaml.YAMLError, RecursionError) as error:
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
    """Return `document`, without fields that are null, when it is a TrainingRun of a version that this package reads.

    Raises:
        InvalidConfiguration: it is not. What is in the TrainingRun is judged by `trainyard.spec.parsing`.
    """
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
    if faults:
        raise InvalidConfiguration(faults)
    return without_nulls(document, schema())


def read_file(path: Path) -> dict[str, Any]:
    """Read one TrainingRun from a YAML or JSON file; see `read_text` for the errors."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidConfiguration([Fault(str(path), f"cannot be read: {error}", "check the path")]) from error
    return read_text(text, source=str(path))
