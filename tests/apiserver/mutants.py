"""Files that somebody might write: good ones of the corpus with one thing, or two, changed.

Every kind of change knows the schema of the CRD, so that it reaches bounds, patterns and keys. A seed draws them.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tests.apiserver.corpus import ACCEPTED

Schema = dict[str, Any]
Path = tuple[str | int, ...]

NOTHING: Any = object()
TYPES: list[Any] = [None, True, False, 0, 1, -1, 1.5, "", "x", "5", "true", [], [1], [None], {}, {"a": 1}, [{}], [[]]]
NUMBERS: list[Any] = [0, -1, 0.5, -0.5, 1e-9, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30, 1e300, -1e300]
TEXTS = [
    "",
    " ",
    "a b",
    "\u00e9",
    "\U0001f600",
    "a\n",
    "\ta",
    "a/../b",
    "/a",
    "..",
    "a:b",
    "a.b:c",
    "-a",
    "a-",
    "_",
    "A",
]
QUANTITIES: list[Any] = [
    4, 0, -3, 512, 2**26 - 1, 2**26, 2**40, 4.5, True, "0", "4", "0.5", ".5Gi", "5.", "5.Gi", ".", "+5Gi", "-1Gi",
    "1e9", "1E9", "1E", "1Ei", "1gi", "1GB", "1G B", " 1Gi", "1Gi\n", "63Mi", "64Mi", "65535Ki", "0Gi", "0.0", "512m",
    "1n", "1u", "1k", "100k", "100001", "100.1k", "1Pi", "9" * 31, "9" * 33, "\u0665Gi",
]  # fmt: skip
DURATIONS: list[Any] = [
    "0s", "00m", "0.0ms", "1.5h", "1h30m", "1h30", "90", "1d", "1H", ".5s", "1.s", "-1s", "1s ", "1s\n", "1us",
    90, "\u0661s",
]  # fmt: skip
NAMES_OF_LABELS = [
    "a", "A.b_c-d", "a/b", "x.y/z", "x..y/z", "X/y", "-a", "a-", "a b", "", "/a", "a/", "a/b/c", "a" * 63, "a" * 64,
    "kueue.x-k8s.io/queue-name", f"{'d' * 253}/{'n' * 63}", f"{'d' * 254}/{'n' * 63}", "\u00e9", "a\n",
]  # fmt: skip
VALUES_OF_LABELS: list[Any] = ["", "a", "A_b.c", "-a", "a-", "a b", "a" * 63, "a" * 64, "a\n", 1, None, True, ["a"]]
NAMES: list[Any] = [
    NOTHING, None, "", 5, "a", "run-1", "Run", "1run", "run.1", "run-", "a" * 40, "a" * 41, "a b", "../a", "\u00e9",
    "run\n",
]  # fmt: skip
# What YAML 1.1 reads otherwise than it looks.
TRAPS = """on off y n yes No ~ null 0x1F 017 0o17 0b11 1_000 1e3 .5 1:30 2020-01-01 1.0 +1 -0 1e400 '1' "on"
""".split()  # noqa: SIM905


_HOLDS: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}


@dataclass(frozen=True)
class Mutant:
    """`kinds` say what was changed, `path` where."""

    kinds: tuple[str, ...]
    path: str
    document: dict[str, Any]


class Mutants:
    """A source of mutants of the corpus, drawn from a seed.

    Args:
        schema: openAPIV3Schema of the CRD.
    """

    def __init__(self, schema: Schema, seed: int) -> None:
        self._random = random.Random(seed)
        self._spec = schema["properties"]["spec"]
        self._bases = [copy.deepcopy(case.object) for case in ACCEPTED]
        # Every good value of the corpus by its place in the schema, to be put where it does not belong.
        self._values: dict[tuple[str, ...], list[Any]] = {}
        for base in self._bases:
            for path, _, value in places(base["spec"], self._spec):
                self._values.setdefault(_shape(path), []).append(value)
        # Which files have a field: drawn by field, or else what every file has is all that is changed.
        self._having: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for base in self._bases:
            for shape in {_shape(path) for path, _, _ in places(base["spec"], self._spec)}:
                self._having.setdefault(shape, []).append(base)

    def draw(self, count: int) -> Iterator[Mutant]:
        """The next `count` mutants; one in four has two changes."""
        for _ in range(count):
            shape, document = self._file()
            changes = [self._change(document, shape)]
            if self._random.random() < 0.25:
                changes.append(self._change(document, None))
            kinds, paths = zip(*changes, strict=True)
            yield Mutant(kinds, ", ".join(paths), document)

    def traps(self, count: int) -> Iterator[tuple[Mutant, str]]:
        """Mutants as YAML, in which one value is a scalar as written; `{name}` stands for the name of the run."""
        for number in range(count):
            shape, document = self._file()
            document["metadata"] = {"name": "mutant-name"}
            path, _, _ = self._random.choice([place for place in self._places(document) if _shape(place[0]) == shape])
            trap = TRAPS[number % len(TRAPS)]
            _set(document["spec"], path or ("seed",), "trapped-value")
            text = yaml.safe_dump(document).replace("trapped-value", trap).replace("mutant-name", "{name}")
            yield Mutant(("trap of YAML",), _shown(path), document), text

    def _file(self) -> tuple[tuple[str, ...], dict[str, Any]]:
        """A field, and a good file that has it."""
        shape = self._random.choice(sorted(self._having))
        return shape, copy.deepcopy(self._random.choice(self._having[shape]))

    def _places(self, document: dict[str, Any]) -> list[tuple[Path, Schema, Any]]:
        spec = document.get("spec")
        return list(places(spec, self._spec)) if isinstance(spec, dict) else []

    def _change(self, document: dict[str, Any], shape: tuple[str, ...] | None) -> tuple[str, str]:
        """Change one thing of `document`, at a field of this shape or anywhere; what it was, and where."""
        found = [place for place in self._places(document) if shape is None or _shape(place[0]) == shape]
        if self._random.random() < 0.06 or not found:
            return self._change_head(document)
        if self._random.random() < 0.2:
            return self._graft(document)
        path, schema, value = self._random.choice(found)
        kind, change = self._random.choice(self._kinds(schema, value))
        changed = change(schema, copy.deepcopy(value))
        if not path:
            document["spec"] = {} if changed is NOTHING else changed
        else:
            _set(document["spec"], path, changed)
        return kind, _shown(path)

    def _kinds(self, schema: Schema, value: Any) -> list[tuple[str, Callable[[Schema, Any], Any]]]:
        """The kinds of change that a field of this schema can have, if it holds what it should."""
        of_all = [("wrong type", self._wrong_type), ("null", lambda *_: None), ("removed", lambda *_: NOTHING)]
        if not isinstance(value, _HOLDS.get(schema.get("type", ""), object)):
            return of_all
        if schema.get("x-kubernetes-int-or-string"):
            return [*of_all, ("quantity", lambda *_: self._random.choice(QUANTITIES))] * 2
        match schema.get("type"):
            case "integer" | "number":
                return [*of_all, ("bound", self._bound), ("bound", self._bound)]
            case "string":
                return [*of_all, *[("text", self._text)] * 3]
            case "array":
                return [*of_all, *[("list", self._list)] * 2]
            case "object" if "properties" in schema:
                return [*of_all, ("unknown key", self._unknown_key), ("added", self._added), ("added", self._added)]
            case "object":
                return [*of_all, *[("map", self._map)] * 2]
            case _:
                return of_all

    def _wrong_type(self, schema: Schema, value: Any) -> Any:
        return copy.deepcopy(self._random.choice(TYPES))

    def _bound(self, schema: Schema, value: Any) -> Any:
        bounds = [schema[name] for name in ("minimum", "maximum") if name in schema]
        near = [bound + step for bound in bounds for step in (-1, 0, 1, 0.5)]
        return self._random.choice([*near, *near, *NUMBERS])

    def _text(self, schema: Schema, value: Any) -> Any:
        if "enum" in schema:
            return self._random.choice([*schema["enum"], *schema["enum"], str(value).lower(), f"{value} ", "", "Other"])
        longest = schema.get("maxLength", 253)
        if "duration" in schema["description"] or "1h30m" in schema["description"]:
            return self._random.choice(DURATIONS)
        return self._random.choice([
            self._random.choice(TEXTS), self._disturbed(value), self._disturbed(value), f"{value}\n",
            "a" * longest, "a" * (longest + 1), "\U0001f600" * longest, f"m.{'a' * (longest - 4)}:b",
        ])  # fmt: skip

    def _disturbed(self, value: Any) -> str:
        """The text with one character inserted, replaced or left out."""
        text, at = str(value), self._random.randrange(len(str(value)) + 1)
        character = self._random.choice(
            ["", ".", ":", "/", "-", " ", "@", "_", "7", "Z", "=", "[", ";", "\u00fc", "\n"]
        )
        return text[:at] + character + text[at + self._random.randrange(2) :]

    def _list(self, schema: Schema, value: Any) -> Any:
        items = list(value or [])
        most = schema.get("maxItems", 64)
        return self._random.choice([
            [], [*items, *copy.deepcopy(items[:1])], [*items, None], [*items, {}], [*items, ""], [*items, 5],
            copy.deepcopy(items[:1] * (most + 1)), items[:1] * most, {"0": items},
        ])  # fmt: skip

    def _map(self, schema: Schema, value: Any) -> Any:
        given = dict(value or {})
        if schema["additionalProperties"].get("type") == "string":
            name = self._random.choice(NAMES_OF_LABELS)
            return {**given, name: self._random.choice(VALUES_OF_LABELS)}
        most = schema.get("maxProperties", 64)
        many = {f"k{index}": index for index in range(most + self._random.randrange(2) - len(given))}
        return self._random.choice([{**given, **many}, {**given, "a": None}, {**given, "": 1}, {}, [given]])

    def _unknown_key(self, schema: Schema, value: Any) -> Any:
        known = self._random.choice(sorted(schema["properties"]))
        name = self._random.choice([known + "s", known.upper(), known[:-1], f" {known}", "", "unknown", known.lower()])
        return {**value, name: self._random.choice([1, None, {}])}

    def _added(self, schema: Schema, value: Any) -> Any:
        name = self._random.choice(sorted(schema["properties"]))
        field = schema["properties"][name]
        example: Any = {"object": {}, "array": [], "string": "a"}.get(field.get("type", ""), 1)
        _, change = self._random.choice(self._kinds(field, example))
        changed = change(field, example)
        return value if changed is NOTHING else {**value, name: changed}

    def _graft(self, document: dict[str, Any]) -> tuple[str, str]:
        """Put a good value of another file where it may not go with the rest; what rules between fields are about."""
        spec = document["spec"]
        shapes = [shape for shape in self._values if shape and "[]" not in shape and _has(spec, shape[:-1])]
        shape = self._random.choice(shapes)
        _set(spec, shape, copy.deepcopy(self._random.choice(self._values[shape])))
        return "graft", _shown(shape)

    def _change_head(self, document: dict[str, Any]) -> tuple[str, str]:
        metadata = document["metadata"] = dict(document["metadata"] or {})
        kind = self._random.choice(["name", "generateName", "labels", "annotations", "unknown", "top", "spec"])
        match kind:
            case "name":
                _set(metadata, ("name",), self._random.choice(NAMES))
            case "generateName":
                prefixes = ["run-", "r", "1-", "R-", "", "a" * 35, "a" * 36, "a" * 70, 5]
                metadata |= {"name": None, "generateName": self._random.choice(prefixes)}
            case "labels" | "annotations":
                entry = {self._random.choice(NAMES_OF_LABELS): self._random.choice(VALUES_OF_LABELS)}
                metadata[kind] = self._random.choice([entry, entry, entry, None, [], "a", {}])
            case "unknown":
                metadata[self._random.choice(["label", "Name", "foo"])] = self._random.choice(["a", {}])
            case "top":
                document[self._random.choice(["Spec", "specs", "data"])] = self._random.choice([{}, 1, "a"])
            case _:
                document["spec"] = self._random.choice([None, {}, [], "a", {"algorithm": None}])
        return f"metadata {kind}", "metadata" if kind not in ("top", "spec") else ""


def places(value: Any, schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema, Any]]:
    """Every place below `value` that the schema describes."""
    yield path, schema, value
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if name in value:
                yield from places(value[name], field, (*path, name))
    elif isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from places(item, schema["items"], (*path, index))


def _shape(path: Path) -> tuple[str, ...]:
    return tuple("[]" if isinstance(part, int) else part for part in path)


def _shown(path: Path) -> str:
    return ".".join(map(str, ("spec", *path)))


def _has(value: Any, path: Path) -> bool:
    for part in path:
        if not isinstance(value, dict) or not isinstance(value.get(part), dict):
            return False
        value = value[part]
    return isinstance(value, dict)


def _set(value: Any, path: Path, new: Any) -> None:
    for part in path[:-1]:
        value = value[part]
    if new is not NOTHING:
        value[path[-1]] = new
    elif isinstance(value, list):
        del value[int(path[-1])]
    else:
        value.pop(path[-1], None)
