"""One evaluated episode of an account as plain data: its value, trades and weights, and its benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainyard.environments.market import performance

Infos = Sequence[Mapping[str, Any]]
Record = dict[str, Any]

BUY_AND_HOLD = "buy_and_hold"
EQUAL_WEIGHT = "equal_weight"
POLICY = "policy"


def record(environment: str, config: Mapping[str, Any], infos: Infos) -> Record | None:
    """Make the record of one whole episode, given the infos of its reset and its steps.

    Args:
        environment: name of the environment; benchmarks are known for `trading` and `portfolio`.
        config: the environment's configuration in this evaluation.

    Returns:
        JSON-compatible: `date`, `value`, and if the infos have them `price`, `position`, `turnover`, `assets` and
        `weights` (a row per date, cash first), `trades` (of one asset; `row` counts from the reset); `benchmarks`
        (name to values) and `figures` (`policy` or a benchmark's name to performance figures). None if the infos
        have no `portfolio_value`.
    """
    if len(infos) < 2 or any("portfolio_value" not in info for info in infos):
        return None
    value = [float(info["portfolio_value"]) for info in infos]
    found: Record = {"value": value}
    for key in ("price", "position", "turnover"):
        if all(key in info for info in infos):
            found[key] = [float(info[key]) for info in infos]
    if all("date" in info for info in infos):
        found["date"] = [str(info["date"]) for info in infos]
    if all("weights" in info for info in infos):
        found["weights"] = [[round(float(weight), 6) for weight in info["weights"]] for info in infos]
    if "price" in found:
        found["trades"] = [
            {"row": row, "symbol": trade[0], "quantity": float(trade[1]), "price": float(trade[2])}
            for row, info in enumerate(infos)
            for trade in info.get("trades", ())
        ]
    found |= _benchmarks(environment, config, found)
    periods = float(infos[-1].get("periods_per_year", performance.PERIODS_PER_YEAR))
    turnover = found["turnover"][1:] if "turnover" in found else None
    found["figures"] = {POLICY: performance.of_account(value, turnover, periods)} | {
        name: performance.of_account(values, None, periods) for name, values in found["benchmarks"].items()
    }
    return found


def _benchmarks(environment: str, config: Mapping[str, Any], found: Record) -> Record:
    """Assets and benchmarks on the episode's own dates, at the environment's own cost."""
    if "date" not in found or environment not in ("trading", "portfolio"):
        return {"benchmarks": {}}
    from trainyard.environments.market.benchmarks import buy_and_hold, equal_weight
    from trainyard.environments.market.portfolio import PortfolioOptions
    from trainyard.environments.market.prices import load_prices
    from trainyard.environments.market.trading import TradingOptions
    from trainyard.environments.options import read_options

    dates = np.array(found["date"], dtype="datetime64[s]")
    if environment == "trading":
        options = read_options(TradingOptions, config)
        table = load_prices(options.data).select([options.asset] if options.asset else load_prices(options.data).assets)
        close = table.close[np.searchsorted(table.dates, dates)]
        # A purchase pays slippage and fee, as the environment's does.
        cost = (1 + options.slippage) * (1 + options.cost) - 1
        values = {BUY_AND_HOLD: buy_and_hold(close, options.initial_value, cost)}
        return {"assets": list(table.assets), "benchmarks": {name: series.tolist() for name, series in values.items()}}
    chosen = read_options(PortfolioOptions, config)
    table = load_prices(chosen.data)
    table = table.select(chosen.assets) if chosen.assets is not None else table
    close = table.close[np.searchsorted(table.dates, dates)]
    values = {
        EQUAL_WEIGHT: equal_weight(close, chosen.initial_value, chosen.cost),
        BUY_AND_HOLD: buy_and_hold(close, chosen.initial_value, chosen.cost),
    }
    return {"assets": list(table.assets), "benchmarks": {name: series.tolist() for name, series in values.items()}}
