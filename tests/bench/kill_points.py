"""The table of kill points of a checkpoint: what a driver that is killed at one operation leaves, and what comes of it.

    python -m tests.bench.kill_points [--kinds local remote local-twice remote-twice]

`local` kills at every system call that changes the run's folder (strace must be there), `remote` at every request to a
storage that behaves as object stores do, and `...-twice` kills the attempt after, too, at each operation before it has
started.
Exits with 1 when a best checkpoint is worse than one before it, a checkpoint is lost, or something is left behind.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from tests import kill_points
from tests.kill_points import Point

KINDS = {
    "local": kill_points.points_of_system_calls,
    "remote": partial(kill_points.points, "remote"),
    "local-twice": partial(kill_points.points_of_two_kills, "local"),
    "remote-twice": partial(kill_points.points_of_two_kills, "remote"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    logging.disable(logging.INFO)
    wrong: list[Point] = []
    for kind in parser.parse_args().kinds:
        with tempfile.TemporaryDirectory() as folder:
            points = list(KINDS[kind](folder=Path(folder) / "place"))
        wrong += [point for point in points if point.problems]
        print(f"\n**{kind}**: {len(points)} points\n\n" + "\n".join(table(points)), flush=True)
    for point in wrong:
        print(f"{point.operation}: {'; '.join(point.problems)}", file=sys.stderr)
    return 1 if wrong else 0


def table(points: list[Point]) -> Iterator[str]:
    """A row for each place that is written, in the order of their first appearance."""
    yield "| killed before an operation on | points | best is then | latest is then | worse, lost or left behind |"
    yield "|---|---|---|---|---|"
    rows: dict[str, list[Point]] = {}
    for point in points:
        rows.setdefault(point.operation.partition(": ")[2], []).append(point)
    for place, found in rows.items():
        operations = _counted(point.operation.partition(": ")[0] for point in found)
        best, latest = _counted(point.best for point in found), _counted(point.latest for point in found)
        wrong = sum(bool(point.problems) for point in found)
        yield f"| `{place}`: {operations} | {len(found)} | {best} | {latest} | {wrong} |"


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{word} {count}" for word, count in Counter(words).items())


if __name__ == "__main__":
    sys.exit(main())
