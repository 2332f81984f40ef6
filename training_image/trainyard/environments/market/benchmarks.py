"""Benchmarks for a policy: buy and hold, and equal weight, on the same rows and at the same cost."""

from __future__ import annotations

import numpy as np

from trainyard.environments.market.portfolio import value_after_rebalancing


def buy_and_hold(close: np.ndarray, initial_value: float, cost: float) -> np.ndarray:
    """Value of a portfolio that buys the same value of every asset at the first row and keeps it.

    Args:
        close: prices, shape (rows, assets).
        initial_value: cash at the first row.
        cost: share of the traded value, paid once.

    Returns:
        Values, shape (rows,); the first is ``initial_value``, before the purchase.
    """
    assets = close.shape[1]
    # The purchase and its cost together take all the cash.
    units = initial_value / (1 + cost) / assets / close[0]
    values = close @ units
    values[0] = initial_value
    return values


def equal_weight(close: np.ndarray, initial_value: float, cost: float) -> np.ndarray:
    """Value of a portfolio that is brought back to equal weights (no cash) at every row.

    Arguments and result as for :func:`buy_and_hold`.
    """
    rows, assets = close.shape
    values = np.empty(rows)
    values[0] = initial_value
    weights = np.full((1, assets), 1 / assets)
    holdings = np.zeros((1, assets))
    for row in range(1, rows):
        after = value_after_rebalancing(holdings, weights, values[row - 1 : row], cost)
        holdings = weights * after[:, None] * (close[row] / close[row - 1])
        values[row] = holdings.sum()
    return values
