"""Figures of one evaluated account: value and drawdown against benchmarks, trades on the price, weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from trainyard.reports import wording
from trainyard.reports.account_episodes import BUY_AND_HOLD, EQUAL_WEIGHT
from trainyard.reports.drawing import (
    BLUE,
    GREEN,
    GREY,
    MUTED,
    ORANGE,
    PURPLE,
    RED,
    SERIES,
    Drawing,
    drawing,
    end_labels,
    percent_axis,
)
from trainyard.reports.folder import is_drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]

LARGEST_WEIGHTS = 5
# Above this ratio of highest to lowest value, equal percentages are shown at equal heights.
_LOG_ABOVE = 5.0
_BENCHMARK_COLOURS = {BUY_AND_HOLD: ORANGE, EQUAL_WEIGHT: PURPLE}


def not_drawable(record: Record) -> list[str]:
    """Which of the record's series cannot be drawn: `value` (with its benchmarks), `price`, `weights`."""
    series = {"value": [record["value"], *record["benchmarks"].values()]}
    series |= {name: [record[name]] for name in ("price", "weights") if name in record}
    return [name for name, tables in series.items() if not all(is_drawable(np.asarray(t)).all() for t in tables)]


def account(record: Record) -> Drawing:
    """The account's value beside its benchmarks, and every one's drawdown below."""
    figure = drawing(4.4)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    x = _dates(record)
    series = [("policy", np.asarray(record["value"]), BLUE)]
    series += [
        (wording.BENCHMARKS.get(name, name), np.asarray(values), _BENCHMARK_COLOURS.get(name, MUTED))
        for name, values in record["benchmarks"].items()
    ]
    for name, values, colour in reversed(series):
        width = 1.8 if name == "policy" else 1.2
        top.plot(x, values, color=colour, linewidth=width)
        below.plot(x, values / np.maximum.accumulate(values) - 1, color=colour, linewidth=width * 0.7)
    mine = series[0][1]
    below.fill_between(x, mine / np.maximum.accumulate(mine) - 1, 0, color=BLUE, alpha=0.14, linewidth=0)
    everything = np.concatenate([values for _, values, _ in series])
    if everything.max() > _LOG_ABOVE * everything.min() > 0:
        top.set_yscale("log")
    top.set_ylabel("value of the account")
    top.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    below.set_ylabel("drawdown")
    percent_axis(below.yaxis)
    end_labels(top, [(x[-1], float(values[-1]), name, colour) for name, values, colour in series])
    _date_axis(below, record)
    return figure


def trades(record: Record) -> Drawing | None:
    """The price with every purchase and sale, and the time spent long and short; None without a price."""
    if "price" not in record:
        return None
    figure = drawing(3.0)
    axes = figure.add_subplot()
    x, price = _dates(record), np.asarray(record["price"])
    axes.plot(x, price, color=GREY, linewidth=1.1)
    for trade_sign, marker, colour in ((1, "^", GREEN), (-1, "v", RED)):
        rows = [trade["row"] for trade in record["trades"] if np.sign(trade["quantity"]) == trade_sign]
        prices = [trade["price"] for trade in record["trades"] if np.sign(trade["quantity"]) == trade_sign]
        # A trade belongs to the close before the row that tells of it.
        axes.plot(
            x[np.maximum(np.array(rows, dtype=int) - 1, 0)],
            prices,
            marker,
            color=colour,
            markersize=_size(record),
            linestyle="none",
        )
    if "position" in record:
        held = np.asarray(record["position"])
        for sign, colour in ((1, GREEN), (-1, RED)):
            # The position of a row was held since the row before.
            inside = np.append(held[1:] == sign, False)
            axes.fill_between(
                x, 0, 1, where=inside, step="post", transform=axes.get_xaxis_transform(), color=colour, alpha=0.10,
                linewidth=0,
            )  # fmt: skip
    asset = record.get("assets", ["price"])[0]
    axes.set_ylabel(f"price of {asset}" if "assets" in record else "price")
    _date_axis(axes, record)
    return figure


def weights(record: Record) -> Drawing:
    """The largest weights over time, the rest together, and cash."""
    table = np.asarray(record["weights"])[1:]
    x = _dates(record)[1:]
    order = np.argsort(-table[:, 1:].mean(axis=0))[:LARGEST_WEIGHTS]
    bands = [(record["assets"][asset], table[:, 1 + asset]) for asset in order]
    if len(record["assets"]) > LARGEST_WEIGHTS:
        rest = 1 - table[:, 0] - sum(values for _, values in bands)
        bands.append((f"{len(record['assets']) - LARGEST_WEIGHTS} others", rest))
    bands.append(("cash", table[:, 0]))
    colours = [*SERIES[: len(bands) - 2], GREY, MUTED]
    figure = drawing(3.0)
    axes = figure.add_subplot()
    axes.stackplot(x, *(values for _, values in bands), colors=colours, alpha=0.75, linewidth=0)
    axes.set(ylim=(0, 1), ylabel="share of the portfolio")
    percent_axis(axes.yaxis)
    _date_axis(axes, record)
    ends = np.cumsum([values[-1] for _, values in bands])
    middles = ends - np.array([values[-1] for _, values in bands]) / 2
    # Grey is too light for text.
    texts = [MUTED if colour == GREY else colour for colour in colours]
    names = [name for name, _ in bands]
    end_labels(axes, [(x[-1], float(y), *label) for y, *label in zip(middles, names, texts, strict=True)])
    return figure


def _dates(record: Record) -> np.ndarray:
    if "date" in record:
        return np.array(record["date"], dtype="datetime64[s]")
    return np.arange(len(record["value"]))


def _date_axis(axes: Axes, record: Record) -> None:
    axes.margins(x=0.01)
    if "date" not in record:
        axes.set_xlabel("step")
        return
    locator = AutoDateLocator(minticks=4, maxticks=9)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))


def _size(record: Record) -> float:
    return 6.0 if len(record["trades"]) <= 60 else 3.5
