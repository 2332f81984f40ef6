"""Figures of the training itself: learning, validation and test, throughput, a trainable's metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trainyard import metrics as names
from trainyard.reports import wording
from trainyard.reports.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    Drawing,
    drawing,
    end_labels,
    in_unit_of,
    thousands,
    whole_numbers,
)
from trainyard.reports.findings import stopped_early
from trainyard.reports.folder import Columns, RunFolder, finite_points, last_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MINUTE, _HOUR = 60.0, 3600.0
MOST_PANELS = 6


def learning(run: RunFolder) -> Drawing | None:
    """Mean return over environment steps, with the spread of the window's episodes; None below two points."""
    x, y = finite_points(run.curves, names.TIME_ENV_STEPS, names.TRAIN_RETURN_MEAN)
    if len(x) < 2:
        return None
    figure = drawing(3.2)
    axes = figure.add_subplot()
    low_x, low = finite_points(run.curves, names.TIME_ENV_STEPS, names.TRAIN_RETURN_MIN)
    high_x, high = finite_points(run.curves, names.TIME_ENV_STEPS, names.TRAIN_RETURN_MAX)
    if np.array_equal(low_x, x) and np.array_equal(high_x, x):
        axes.fill_between(x, low, high, color=BLUE, alpha=0.14, linewidth=0)
    axes.plot(x, y, color=BLUE, marker="o" if len(x) <= 30 else None, markersize=3.5)
    axes.set(xlabel="environment steps", ylabel="episode return")
    thousands(axes.xaxis)
    return figure


def validation(run: RunFolder, metric: str) -> Drawing | None:
    """One metric of the validation over iterations: the best checkpoint, the test, and an early stop marked."""
    x, y = finite_points(run.curves, names.TIME_ITERATION, names.VALIDATION + metric)
    if len(x) < 2:
        return None
    figure = drawing(3.2)
    axes = figure.add_subplot()
    labels = [(x[-1], y[-1], "validation", BLUE)]
    train_x, train_y = finite_points(run.curves, names.TIME_ITERATION, "train/" + metric)
    if len(train_x) > 1:
        axes.plot(train_x, train_y, color=GREY, linewidth=1.4)
        labels.append((train_x[-1], train_y[-1], "training", MUTED))
    _spread(axes, run.curves, metric)
    axes.plot(x, y, color=BLUE, marker="o" if len(x) <= 40 else None, markersize=3.5)
    best = run.facts.get("best") if run.facts.get("selection", {}).get("metric") == names.VALIDATION + metric else None
    if best is not None:
        axes.plot(
            best["iteration"], best["value"], "o", markersize=10, markerfacecolor="none", markeredgecolor=ORANGE,
            markeredgewidth=2,
        )  # fmt: skip
    test = last_value(run.curves, names.TEST + metric)
    if test is not None:
        axes.hlines(test, x[0], x[-1], color=GREEN, linewidth=1.2, linestyle=(0, (4, 3)))
        labels.append((x[-1], test, "test", GREEN))
    if stopped_early(run):
        axes.axvline(run.facts["iterations"], color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        axes.annotate(
            "stopped early", (run.facts["iterations"], 0), xycoords=("data", "axes fraction"), xytext=(-4, 5),
            textcoords="offset points", ha="right", color=MUTED, fontsize=8.5,
        )  # fmt: skip
    axes.set(xlabel="iteration", ylabel=wording.label(metric))
    whole_numbers(axes.xaxis)
    in_unit_of(metric, axes.yaxis)
    if best is not None:
        _note(axes, best["iteration"], best["value"], "best checkpoint", ORANGE)
    end_labels(axes, labels)
    return figure


def _spread(axes: Axes, curves: Columns, metric: str) -> None:
    """Lowest and highest episode of each evaluation, for the return."""
    if metric != "return_mean":
        return
    x, low = finite_points(curves, names.TIME_ITERATION, "validation/return_min")
    other, high = finite_points(curves, names.TIME_ITERATION, "validation/return_max")
    if np.array_equal(x, other):
        axes.fill_between(x, low, high, color=BLUE, alpha=0.12, linewidth=0)


def _note(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """Write above a point, with room for it."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, max(high, y + 0.15 * (high - low)))
    axes.annotate(
        text, (x, y), xytext=(0, 9), textcoords="offset points", ha="center", va="bottom", color=colour, fontsize=9
    )


def panels(columns: Columns, x_name: str, x_label: str, metrics: list[str]) -> Drawing | None:
    """Small panels, one for each metric that has at least two values; None without any."""
    shown = [metric for metric in metrics if len(finite_points(columns, x_name, metric)[0]) > 1][:MOST_PANELS]
    if not shown:
        return None
    width = min(3, len(shown))
    height = -(-len(shown) // width)
    figure = drawing(0.4 + 1.8 * height)
    for index, metric in enumerate(shown):
        axes = figure.add_subplot(height, width, index + 1)
        x, y = finite_points(columns, x_name, metric)
        axes.plot(x, y, color=BLUE, linewidth=1.5)
        axes.set_title(wording.label(metric), loc="left", fontsize=9.5, color=INK)
        axes.set_xlabel(x_label if index >= len(shown) - width else "")
        whole_numbers(axes.xaxis)
        axes.locator_params(axis="x", nbins=5)
        axes.locator_params(axis="y", nbins=4)
        in_unit_of(metric, axes.yaxis)
    return figure


def throughput(run: RunFolder) -> Drawing | None:
    """Environment steps per second over the time of training; None below two iterations."""
    x, y = finite_points(run.curves, names.TIME_SECONDS, names.ENV_STEPS_PER_SECOND)
    if len(x) < 2:
        return None
    unit, name = _unit_of(float(x[-1]))
    figure = drawing(2.4)
    axes = figure.add_subplot()
    edges = np.concatenate([[0.0 if len(x) == len(run.curves[names.TIME_SECONDS]) else x[0]], x]) / unit
    axes.stairs(y, edges, color=BLUE, fill=True, alpha=0.14, linewidth=0)
    axes.stairs(y, edges, color=BLUE, linewidth=1.5, baseline=None)
    median = float(np.median(y))
    axes.axhline(median, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    end_labels(axes, [(edges[-1], median, "median", MUTED)])
    axes.set(xlabel=f"time of training ({name})", ylabel="environment steps per second", ylim=(0, 1.1 * y.max()))
    axes.margins(x=0)
    thousands(axes.yaxis)
    return figure


def _unit_of(seconds: float) -> tuple[float, str]:
    if seconds < 3 * _MINUTE:
        return 1.0, "seconds"
    return (_MINUTE, "minutes") if seconds < 3 * _HOUR else (_HOUR, "hours")
