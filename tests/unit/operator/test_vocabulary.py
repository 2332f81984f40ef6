"""Who writes which condition: the table beside ConditionType, held against the source of the operator."""

import ast
import re
from pathlib import Path

import trainyard_operator
from trainyard_operator.vocabulary import WRITERS, ConditionType, Reason

PACKAGE = Path(trainyard_operator.__file__).parent


def written(path: Path) -> set[ConditionType]:
    """The types that a module sets: given to `steps.condition` by name, or as `kind`, or keys of a mapping."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "steps.condition":
            named = [node.args[3]]
        elif isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["kind"]:
            named = [node.value]
        elif isinstance(node, ast.Dict) and path.parent.name == "policies":
            named = [key for key in node.keys if key is not None]
        else:
            continue
        for name in named:
            if isinstance(name, ast.Attribute) and ast.unparse(name.value) in ("ConditionType", "T"):
                found.add(ConditionType[name.attr])
    return found


def test_every_condition_has_its_writers_and_no_others() -> None:
    modules = {path: written(path) for path in PACKAGE.rglob("*.py")}
    outside = [path.name for path, kinds in modules.items() if kinds and path.parent.name != "policies"]
    assert outside == []
    for kind in ConditionType:
        assert {path.stem for path, kinds in modules.items() if kind in kinds} == set(WRITERS[kind]), kind


def test_reasons_are_words_that_the_schema_takes() -> None:
    for reason in Reason:
        assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", reason)
