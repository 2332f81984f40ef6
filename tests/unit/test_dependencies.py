"""What is imported and what pyproject.toml names are the same packages.

One that another package happens to bring along may be gone with its next version; one that nobody imports makes the
image larger.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN = {"trainyard", "trainyard_operator", "tests", "dev"}
USERS = {"CybORG"}
"""Installed by whoever wants the environment."""
WRITTEN_BY_TESTS = {"own_by_name", "own_by_path"}
BY_OTHERS = {"psycopg"}
"""SQLAlchemy imports it for PostgreSQL."""
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
DISTRIBUTIONS = packages_distributions()


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def named_in(*extras: str) -> set[str]:
    requirements = [requirement for extra in extras for requirement in EXTRAS[extra]]
    return {canonical(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def imported(folder: str) -> Iterator[tuple[str, Path]]:
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((alias.name.partition(".")[0], file) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.partition(".")[0], file


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("operator", ["operator"]),
        ("training_image", ["train"]),
        ("dev", ["dev"]),
        ("docs", ["dev"]),
        ("tests", ["operator", "train", "dev", "bench"]),
    ],
)
def test_an_import_is_of_a_package_that_is_named(folder: str, extras: list[str]) -> None:
    known = sys.stdlib_module_names | OWN | USERS | WRITTEN_BY_TESTS
    named = named_in(*extras)
    missing = {
        f"{module} in {file.relative_to(ROOT)}"
        for module, file in imported(folder)
        if module not in known and not named & {canonical(name) for name in DISTRIBUTIONS.get(module, ())}
    }
    assert missing == set()


@pytest.mark.parametrize(("folder", "extra"), [("operator", "operator"), ("training_image", "train")])
def test_a_package_that_is_named_is_used(folder: str, extra: str) -> None:
    used = {canonical(name) for module, _ in imported(folder) for name in DISTRIBUTIONS.get(module, ())}
    assert named_in(extra) - used - BY_OTHERS == set()
