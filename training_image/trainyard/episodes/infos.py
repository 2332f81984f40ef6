"""What is recorded of the infos that an environment gave. Imports neither Ray nor SQLAlchemy: env runners use it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np

from trainyard.episodes.records import TradeValues


class InfoFields(TypedDict, total=False):
    """The fields of a `Chunk` that come from infos."""

    episode_index: int | None
    context: list[float] | None
    dates: list[str] | None
    values: np.ndarray | None
    trades: list[TradeValues]


def fields_of(infos: Sequence[dict[str, Any]], *, start: int, with_steps: bool) -> InfoFields:
    """Read consecutive infos of one episode.

    Args:
        infos: that before the first step and that of every step; without the steps the first and the last are enough.
        start: `t` of the first step.
    """
    first, last = infos[0] or {}, infos[-1] or {}
    context = first.get("context", last.get("context")) if start == 0 else None
    market = with_steps and "portfolio_value" in last
    return {
        "episode_index": None if "episode_index" not in first else int(first["episode_index"]),
        "context": None if context is None else [float(number) for number in context],
        "dates": [info["date"] for info in infos[1:]] if market and "date" in last else None,
        "values": np.array([info["portfolio_value"] for info in infos[1:]], dtype=np.float64) if market else None,
        "trades": _trades(infos, start) if with_steps else [],
    }


def _trades(infos: Sequence[dict[str, Any]], start: int) -> list[TradeValues]:
    """The trades of each step, dated with the row on which they were made: that of the info before it."""
    trades: list[TradeValues] = []
    for index in [index for index, info in enumerate(infos) if index and info and "trades" in info]:
        date = (infos[index - 1] or {}).get("date")
        for number, trade in enumerate(infos[index]["trades"]):
            trades.append((start + index - 1, number, date, trade.symbol, trade.quantity, trade.price, trade.cost))
    return trades
