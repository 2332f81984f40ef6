"""Figures of a search: parallel coordinates of its trials, and the trials' curves."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve

from trainyard import metrics as names
from trainyard.reports import wording
from trainyard.reports.drawing import BLUE, GRID, INK, MUTED, ORANGE, Drawing, drawing, whole_numbers
from trainyard.reports.findings import best_trial, search_metric, trial_value
from trainyard.reports.folder import RunFolder, as_number, finite_points

# Up to this many different values each have a tick; with more values the axis has a scale.
_WRITTEN_OUT = 8


class _Scale:
    """Heights 0 to 1 of one axis's values, and its ticks. Numbers in order; words in order of appearance."""

    def __init__(self, texts: list[str]) -> None:
        numbers = [as_number(text) for text in texts]
        different = sorted(dict.fromkeys(texts), key=texts.index)
        self._numeric = all(math.isfinite(number) for number in numbers)
        self._logarithmic = self._numeric and min(numbers) > 0 and max(numbers) / min(numbers) >= 50
        if self._numeric:
            self._low, self._high = self._place(min(numbers)), self._place(max(numbers))
            different.sort(key=float)
        self._order = different
        # A few values of a grid are drawn at equal distances; many values are drawn at their numbers.
        self._by_order = len(different) <= _WRITTEN_OUT or not self._numeric
        self.ticks = different if self._by_order else [different[0], different[-1]]

    def _place(self, number: float) -> float:
        return math.log10(number) if self._logarithmic else number

    def height(self, text: str) -> float:
        if self._by_order:
            return self._order.index(text) / (len(self._order) - 1) if len(self._order) > 1 else 0.5
        return (self._place(float(text)) - self._low) / (self._high - self._low)


def parallel_coordinates(run: RunFolder) -> Drawing | None:
    """A line per trial through its parameters to its value of the metric; None with fewer than two such trials."""
    metric = search_metric(run)
    valued = [(trial, value) for trial in run.trials if (value := trial_value(run, trial)) is not None]
    if metric is None or len(valued) < 2 or not run.trials[0].parameters:
        return None
    parameters = list(run.trials[0].parameters)
    scales = [_Scale([trial.parameters[name] for trial, _ in valued]) for name in parameters]
    values = np.array([value for _, value in valued])
    low, whole = values.min(), np.ptp(values) or 1.0
    heights = (values - low) / whole if np.ptp(values) else np.full(len(values), 0.5)
    worse = heights if run.spec.get("search", {}).get("mode", "max") == "max" else 1 - heights
    best = best_trial(run)
    figure = drawing(3.4)
    axes = figure.add_subplot()
    axes.axis("off")
    axes.set(xlim=(-0.25, len(parameters) + 0.35), ylim=(-0.1, 1.16))
    for (trial, _), height, quality in sorted(
        zip(valued, heights, worse, strict=True), key=lambda item: (item[0][0] is best, item[2])
    ):
        points = [scale.height(trial.parameters[name]) for scale, name in zip(scales, parameters, strict=True)]
        first = trial is best
        axes.add_patch(
            PathPatch(
                _through([*points, float(height)]), fill=False, capstyle="round",
                edgecolor=ORANGE if first else BLUE, linewidth=2.6 if first else 1.4,
                alpha=1.0 if first else 0.2 + 0.6 * float(quality),
            )
        )  # fmt: skip
    for index, (name, scale) in enumerate(zip(parameters, scales, strict=True)):
        _axis(axes, index, name, [(text, scale.height(text)) for text in scale.ticks])
    _axis(axes, len(parameters), wording.label(metric),
          [(wording.value(metric, low), 0.0), (wording.value(metric, low + whole), 1.0)] if np.ptp(values)
          else [(wording.value(metric, low), 0.5)])  # fmt: skip
    return figure


def _axis(axes, x: int, name: str, ticks: list[tuple[str, float]]) -> None:  # type: ignore[no-untyped-def]
    axes.plot([x, x], [0, 1], color=GRID, linewidth=1.2, zorder=0)
    axes.text(x, 1.09, name, ha="center", va="bottom", color=INK, fontsize=9.5)
    for text, height in ticks:
        axes.plot(x, height, "o", color=MUTED, markersize=2.5, zorder=0)
        axes.annotate(text, (x, height), xytext=(6, 6), textcoords="offset points", color=MUTED, fontsize=8.5)


def _through(heights: list[float]) -> Curve:
    """A smooth curve through one point on each axis."""
    vertices: list[tuple[float, float]] = [(0.0, heights[0])]
    codes = [Curve.MOVETO]
    for x, (left, right) in enumerate(pairwise(heights)):
        vertices += [(x + 0.4, left), (x + 0.6, right), (x + 1.0, right)]
        codes += [Curve.CURVE4] * 3
    return Curve(vertices, codes)


def trial_curves(run: RunFolder) -> Drawing | None:
    """The metric of every trial over its iterations; None without two trials that have a curve."""
    metric = search_metric(run)
    if metric is None:
        return None
    best, shown = best_trial(run), []
    for trial in run.trials:
        x_name = next((name for name in ("training_iteration", names.TIME_ITERATION) if name in trial.history), "")
        x, y = finite_points(trial.history, x_name, metric)
        if len(x) > 1:
            shown.append((trial, x, y))
    if len(shown) < 2:
        return None
    figure = drawing(3.0)
    axes = figure.add_subplot()
    for trial, x, y in sorted(shown, key=lambda item: item[0] is best):
        first = trial is best
        axes.plot(
            x, y, color=ORANGE if first else BLUE, linewidth=2.2 if first else 1.0,
            alpha=1.0 if first else max(0.15, min(0.6, 12 / len(shown))),
        )  # fmt: skip
    axes.set(xlabel="iteration of the trial", ylabel=wording.label(metric))
    whole_numbers(axes.xaxis)
    return figure
