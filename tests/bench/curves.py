"""Learning curves over seeds: kept as CSV by tests.bench.presets, drawn from it by `python -m tests.bench.curves`."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.bench.measure import REPOSITORY

FOLDER = REPOSITORY / "docs" / "presets"
SMALL_PNG = 60_000


@dataclass(frozen=True, order=True)
class Point:
    """A check of one run: seconds and cpu_seconds are of training alone, up to here."""

    variant: str
    check: str
    seed: int
    env_steps: int
    seconds: float
    cpu_seconds: float
    score: float


def keep(path: Path, points: Sequence[Point]) -> None:
    """Write points into the table; those of the same variants and seeds give way to them."""
    new = {(point.variant, point.seed) for point in points}
    old = [point for point in read(path) if (point.variant, point.seed) not in new] if path.exists() else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Point))
        for point in sorted([*old, *points]):
            times = (f"{point.seconds:.2f}", f"{point.cpu_seconds:.2f}")
            writer.writerow([point.variant, point.check, point.seed, point.env_steps, *times, f"{point.score:.5g}"])


def read(path: Path) -> list[Point]:
    with path.open(newline="") as file:
        return [
            Point(
                row["variant"], row["check"], int(row["seed"]), int(row["env_steps"]), float(row["seconds"]),
                float(row["cpu_seconds"]), float(row["score"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def over_seeds(points: Iterable[Point], steps: np.ndarray) -> np.ndarray:
    """Scores of each seed at `steps`, between its checks on the straight line: shape (seeds, steps)."""
    runs: dict[int, list[Point]] = {}
    for point in sorted(points):
        runs.setdefault(point.seed, []).append(point)
    return np.array([np.interp(steps, [p.env_steps for p in run], [p.score for p in run]) for run in runs.values()])


def draw(preset: str, points: Sequence[Point], path: Path) -> None:
    """The median over seeds of each variant with the range from the worst to the best, and the goal."""
    from tests.bench.preset_tasks import TASKS
    from trainyard.reports.drawing import MUTED, SERIES, drawing, end_labels, style, thousands

    task = TASKS[preset]
    groups: dict[str, list[Point]] = {}
    for point in points:
        groups.setdefault(", ".join(filter(None, (point.variant, point.check))), []).append(point)
    with style():
        figure = drawing(3.4)
        axes = figure.add_subplot()
        labels, last = [], max(point.env_steps for point in points)
        for (name, group), colour in zip(sorted(groups.items()), SERIES, strict=False):
            # A curve ends where its first seed does, and begins where all have one.
            begin = max(min(p.env_steps for p in group if p.seed == seed) for seed in {p.seed for p in group})
            end = min(max(p.env_steps for p in group if p.seed == seed) for seed in {p.seed for p in group})
            steps = np.linspace(begin, end, 120)
            scores = over_seeds(group, steps)
            axes.fill_between(steps, scores.min(axis=0), scores.max(axis=0), color=colour, alpha=0.14, linewidth=0)
            middle = np.median(scores, axis=0)
            axes.plot(steps, middle, color=colour)
            labels.append((float(last), float(middle[-1]), name, colour))
        if task.goal is not None:
            axes.axhline(task.goal, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.set(xlabel="environment steps", ylabel=task.score_label, xlim=(0, last))
        thousands(axes.xaxis)
        end_labels(axes, labels)
        save_small(figure, path)


def save_small(figure: Any, path: Path) -> None:
    """As PNG with a palette, which takes a quarter of full colour."""
    full = io.BytesIO()
    figure.savefig(full, format="png", dpi=100)
    Image.open(full).convert("RGB").quantize(48).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the curves of presets from their tables")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the tables; the pictures go beside them")
    folder = parser.parse_args().folder
    for table in sorted(folder.glob("*.csv")):
        picture = table.with_suffix(".png")
        draw(table.stem, read(table), picture)
        size = picture.stat().st_size
        print(f"{picture}: {size / 1000:.0f} kB" + ("  (too large for the repository)" if size > SMALL_PNG else ""))


if __name__ == "__main__":
    main()
