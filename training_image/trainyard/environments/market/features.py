"""Price features without look-ahead: row t of every feature is a function of prices up to and including row t.

All are scale-free, so that a policy trained at one price level can act at another: returns are divided by the trailing
volatility. Definitions for users are in docs/environments.md. Pure numpy, no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

VOLATILITY_ROWS = 60
# Below any real daily volatility; keeps a constant price from dividing by zero.
VOLATILITY_FLOOR = 1e-6
CLIP = 10.0


@dataclass(frozen=True)
class Feature:
    """``compute`` maps log prices, shape (rows, assets), to a feature of that shape; ``warm_up`` rows of it are NaN."""

    warm_up: int
    compute: Callable[[np.ndarray], np.ndarray]


def _lagged_difference(values: np.ndarray, rows: int) -> np.ndarray:
    result = np.full_like(values, np.nan)
    result[rows:] = values[rows:] - values[:-rows]
    return result


def _rolling(values: np.ndarray, rows: int, reduce: Callable[..., np.ndarray]) -> np.ndarray:
    """Reduce the last ``rows`` rows up to each row; NaN where there are fewer."""
    result = np.full_like(values, np.nan)
    if len(values) >= rows:
        result[rows - 1 :] = reduce(sliding_window_view(values, rows, axis=0), axis=-1)
    return result


def _volatility(log_prices: np.ndarray, rows: int = VOLATILITY_ROWS) -> np.ndarray:
    """Standard deviation of the last ``rows`` one-row log returns."""
    return np.maximum(_rolling(_lagged_difference(log_prices, 1), rows, np.std), VOLATILITY_FLOOR)


def _scaled_return(rows: int) -> Callable[[np.ndarray], np.ndarray]:
    def compute(log_prices: np.ndarray) -> np.ndarray:
        return _lagged_difference(log_prices, rows) / (_volatility(log_prices) * np.sqrt(rows))

    return compute


def _trend(log_prices: np.ndarray, rows: int = 50) -> np.ndarray:
    distance = log_prices - _rolling(log_prices, rows, np.mean)
    return distance / (_volatility(log_prices) * np.sqrt(rows))


def _volatility_change(log_prices: np.ndarray, rows: int = 10) -> np.ndarray:
    return np.log(_volatility(log_prices, rows) / _volatility(log_prices))


def _relative_strength(log_prices: np.ndarray, rows: int = 14) -> np.ndarray:
    """Cutler's relative strength index (simple averages), moved from 0..100 to -1..1."""
    change = _lagged_difference(np.exp(log_prices - log_prices[:1]), 1)
    gain = _rolling(np.maximum(change, 0), rows, np.mean)
    loss = _rolling(np.maximum(-change, 0), rows, np.mean)
    total = gain + loss
    flat = total < VOLATILITY_FLOOR * 1e-6
    return np.where(flat, 0.0, (gain - loss) / np.where(flat, 1.0, total))


def _drawdown(log_prices: np.ndarray, rows: int = 250) -> np.ndarray:
    return np.expm1(log_prices - _rolling(log_prices, rows, np.max))


FEATURES: dict[str, Feature] = {
    "return_1": Feature(VOLATILITY_ROWS, _scaled_return(1)),
    "return_5": Feature(VOLATILITY_ROWS, _scaled_return(5)),
    "return_20": Feature(VOLATILITY_ROWS, _scaled_return(20)),
    "trend": Feature(VOLATILITY_ROWS, _trend),
    "volatility": Feature(VOLATILITY_ROWS, _volatility_change),
    "relative_strength": Feature(14, _relative_strength),
    "drawdown": Feature(249, _drawdown),
}


def warm_up(names: Sequence[str]) -> int:
    """Rows at the beginning of the data in which one of these features is not yet defined."""
    return max(FEATURES[name].warm_up for name in names)


def feature_table(close: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Compute features of prices.

    Args:
        close: prices, shape (rows, assets), positive.
        names: keys of :data:`FEATURES`.

    Returns:
        float32, shape (rows, assets * len(names)), asset by asset; clipped to +-:data:`CLIP`; the first
        ``warm_up(names)`` rows hold NaN.
    """
    log_prices = np.log(close)
    stacked = np.stack([FEATURES[name].compute(log_prices) for name in names], axis=-1)
    table = np.clip(stacked, -CLIP, CLIP).astype(np.float32)
    return np.ascontiguousarray(table.reshape(len(close), -1))
