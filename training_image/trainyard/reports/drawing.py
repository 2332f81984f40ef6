"""The one style of all figures, and a figure as SVG for the page and as PNG for the folder.

Colours are written into the SVG as CSS variables, so that the page's own rules make them light or dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from trainyard.reports import wording

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Drawing = Figure

WIDTH = 8.6  # inches; the page shows 100 pixels of its column for each
DPI = 150

# Colour in light mode and the name of its CSS variable.
INK = "#1f2430"
MUTED = "#5f6875"
GRID = "#e3e6ea"
BLUE = "#1560bd"
ORANGE = "#c2560c"
GREEN = "#1b7f4f"
PURPLE = "#7d4cc9"
GREY = "#8a929e"
RED = "#c0304f"
VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", BLUE: "blue", ORANGE: "orange", GREEN: "green", PURPLE: "purple",
    GREY: "grey", RED: "red",
}  # fmt: skip
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, GREY)

_STYLE: dict[str, Any] = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelsize": 9,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "savefig.facecolor": "white",
}


@contextmanager
def style(salt: str = "trainyard") -> Iterator[None]:
    """Drawings that are made and saved inside have the style; `salt` makes the identifiers in the SVG reproducible."""
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": salt}):  # type: ignore[arg-type]
        yield


def drawing(height: float) -> Drawing:
    """An empty drawing of the page's width, `height` inches high."""
    figure = Drawing(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def as_svg(figure: Drawing, name: str) -> str:
    """The `<svg>` element alone, transparent, its identifiers prefixed with `name`, its colours CSS variables."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'^<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text)
    # Several drawings share a page: matplotlib's own identifiers (figure_1, axes_1) repeat.
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'(xlink:href|href)="#([^"]+)"', rf'href="#{name}-\2"', text)
    return re.sub("|".join(VARIABLES), lambda found: f"var(--{VARIABLES[found.group()]})", text)


def save_png(figure: Drawing, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def thousands(axis: Any) -> None:
    """10 k, 2 M on an axis of counts."""
    axis.set_major_formatter(EngFormatter(sep="\N{THIN SPACE}"))


def whole_numbers(axis: Any) -> None:
    axis.set_major_locator(MaxNLocator(integer=True, nbins=8))


def percent_axis(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %".replace("-", wording.MINUS)))


def in_unit_of(metric: str, axis: Any) -> None:
    """Percent for shares, plain numbers for all other metrics."""
    if wording.is_share(metric):
        percent_axis(axis)


def end_labels(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Write each line's name at its end, in its colour, moved apart where they would overlap.

    Args:
        labels: x (data), y (data), text, colour of each; all share the rightmost x.
    """
    if not labels:
        return
    low, high = axes.get_ylim()
    to_share = axes.transLimits if axes.get_yscale() == "linear" else axes.transScale + axes.transLimits
    heights = {text: float(to_share.transform((x, y))[1]) for x, y, text, _ in labels}
    # Inches of this axes, roughly: the layout is not computed yet.
    inches = 0.85 * axes.get_position().height / 0.77 * axes.get_figure(root=True).get_figheight()  # type: ignore[union-attr]
    smallest = 0.19 / inches
    placed = -1.0
    for x, y, text, colour in sorted(labels, key=lambda item: heights[item[2]]):
        placed = max(heights[text], placed + smallest)
        offset = (placed - heights[text]) * inches * 72
        axes.annotate(
            text, (x, y), xytext=(6, offset), textcoords="offset points", color=colour, va="center", fontsize=9,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_ylim(low, high)
