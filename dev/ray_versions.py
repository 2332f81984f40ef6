"""The training tests with other versions of Ray than the pinned one: `python -m dev.ray_versions 2.54.1 2.59.0`.

Each version has a virtual environment of its own in the cache folder (`ray/<version>`), made on first use: Ray and what
Ray requires in the versions that this Ray takes, everything else as constraints.txt says. At the end a table, one row
per version, for docs/ray-versions.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from dev.cluster.paths import REPOSITORY, cache

# Those that are not about a lean path.
TESTS = (
    "tests/training/test_driver.py",
    "tests/training/test_command.py",
    "tests/training/test_search.py",
    "tests/training/test_asynchronous.py",
    "tests/training/test_parameters.py",
    "tests/training/test_recording.py",
)
OUTCOMES = ("passed", "failed", "skipped")
_FACTS = """
import json
from importlib.metadata import version
from trainyard.rllib import compat
missing = {name: reason for name in compat.NAMES if (reason := compat.why_not(name))}
print(json.dumps({"gymnasium": version("gymnasium"), "missing": missing}))
"""


def main() -> int:
    """Return 1 where a test failed with any of the versions."""
    parser = argparse.ArgumentParser(description="The training tests with other versions of Ray")
    parser.add_argument("versions", nargs="+", metavar="VERSION", help="of Ray, for instance 2.54.1")
    parser.add_argument("--tests", nargs="+", default=TESTS, metavar="FILE", help="instead of the usual ones")
    options = parser.parse_args()
    rows, failed = [], 0
    for version in options.versions:
        python = environment(version)
        found = facts(python)
        for group, reason in found["missing"].items():
            print(f"Ray {version}, {group}: {reason}", flush=True)
        counts = sum((run(python, test) for test in options.tests), Counter())
        failed += counts["failed"]
        rows.append(row(version, found, counts))
    print("\n".join(["| Ray | Gymnasium | Passed | Failed | Skipped | Without |", "|---|---|---|---|---|---|", *rows]))
    return 1 if failed else 0


def environment(version: str) -> Path:
    """The Python of this version's virtual environment."""
    folder = cache() / "ray" / version
    python, done = folder / "bin" / "python", folder / "installed"
    if done.exists():
        return python
    print(f"==> installing Ray {version} into {folder} (some minutes)", flush=True)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if uv is None:
        raise SystemExit("uv is not installed; run `make venv` first")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
    (folder / "constraints.txt").write_text(
        constraints((REPOSITORY / "constraints.txt").read_text(), required_by_ray())
    )
    (folder / "overrides.txt").write_text(f"ray[default,rllib,tune]=={version}\n")
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(python), "--constraint", str(folder / "constraints.txt"),
         "--override", str(folder / "overrides.txt"), "--editable", f"{REPOSITORY}[train,dev]"],
        check=True,
    )  # fmt: skip
    done.touch()
    return python


def required_by_ray() -> set[str]:
    """The distributions that the installed Ray names in its requirements, whatever the extra."""
    return {normal(re.split(r"[^A-Za-z0-9._-]", line)[0]) for line in metadata.requires("ray") or ()}


def constraints(text: str, free: set[str]) -> str:
    """Lines of constraints.txt without Ray and the distributions that are `free`."""
    lines = [line for line in text.splitlines() if "==" in line]
    return "".join(f"{line}\n" for line in lines if normal(line.partition("==")[0]) not in free | {"ray"})


def normal(name: str) -> str:
    """A distribution's name as PEP 503 has it, without extras."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0].strip()).lower()


def facts(python: Path) -> dict:
    """gymnasium: its version; missing: group of names in trainyard.rllib.compat -> what this Ray lacks of it."""
    done = subprocess.run([python, "-c", _FACTS], env=_environ(), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def run(python: Path, test: str) -> Counter[str]:
    """Run a file of tests in a process of its own; how many had which outcome."""
    report = python.parents[1] / "report.xml"
    report.unlink(missing_ok=True)
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", test]
    subprocess.run(command, cwd=REPOSITORY, env=_environ(), check=False)
    if not report.exists():
        raise SystemExit(f"pytest could not run {test}")
    return outcomes(report.read_text())


def outcomes(report: str) -> Counter[str]:
    """Of the tests in a JUnit report; an error counts as a failure."""
    found: Counter[str] = Counter()
    for suite in ElementTree.fromstring(report).iter("testsuite"):
        total, failed, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "skipped"))
        failed += int(suite.get("errors", 0))
        found += Counter(passed=total - failed - skipped, failed=failed, skipped=skipped)
    return found


def row(version: str, found: dict, counts: Counter[str]) -> str:
    """One line of the table."""
    without = ", ".join(found["missing"]) or "nothing"
    return " | ".join([f"| {version}", found["gymnasium"], *(str(counts[name]) for name in OUTCOMES), f"{without} |"])


def _environ() -> dict[str, str]:
    """This repository's code, one thread for networks this small, and compiled modules kept."""
    paths: Sequence[Path] = (REPOSITORY / "training_image", REPOSITORY / "operator", REPOSITORY)
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return given | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    sys.exit(main())
