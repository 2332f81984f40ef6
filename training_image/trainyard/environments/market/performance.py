"""Performance figures of a trading account or portfolio, computed by skfolio where it has them.

docs/environments.md has the definitions. skfolio is imported by the call, not with this module: it brings scikit-learn
and cvxpy, and only evaluations and reports need it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trainyard.metrics import finite, is_finite_number

logger = logging.getLogger(__name__)

PERIODS_PER_YEAR = 252.0

SHARPE = "sharpe"
SORTINO = "sortino"
MAX_DRAWDOWN = "max_drawdown"
CALMAR = "calmar"
CAGR = "cagr"
TOTAL_RETURN = "total_return"
VOLATILITY = "volatility"
TURNOVER = "turnover"


def performance(
    values: Sequence[float] | np.ndarray,
    turnover: Sequence[float] | np.ndarray | None = None,
    periods_per_year: float = PERIODS_PER_YEAR,
) -> dict[str, float]:
    """Compute the figures of one account.

    A figure that has no value is NaN: a Sharpe ratio without volatility, a Sortino ratio without losses, a Calmar
    ratio without a drawdown. A figure that is too large for a number is infinite, for instance the yearly growth
    computed from one lucky minute.

    Args:
        values: the account's value at the end of each period, the initial value first; at least two, positive.
        turnover: traded value of each period divided by the account's value before it; None leaves it out.
        periods_per_year: what one period is; 252 for trading days.

    Returns:
        ``sharpe``, ``sortino``, ``calmar``, ``max_drawdown`` (0 to 1), ``cagr``, ``total_return``, ``volatility``
        (annual) and ``turnover`` (per year).

    Raises:
        ValueError: fewer than two values, or one that is not positive and finite.
    """
    series = np.asarray(values, dtype=np.float64)
    if series.ndim != 1 or len(series) < 2 or not ((series > 0) & np.isfinite(series)).all():
        raise ValueError(f"needs at least two positive values in one dimension, all finite, got shape {series.shape}")
    with np.errstate(over="ignore", invalid="ignore"):
        return _figures(series, turnover, periods_per_year)


def _figures(
    series: np.ndarray, turnover: Sequence[float] | np.ndarray | None, periods_per_year: float
) -> dict[str, float]:
    from skfolio.measures import get_drawdowns, max_drawdown, mean, semi_deviation, standard_deviation

    returns = series[1:] / series[:-1] - 1.0
    average = float(mean(returns))
    deviation = float(standard_deviation(returns)) if len(returns) > 1 else np.nan
    # biased: the mean of squared shortfalls over all periods, as Sortino's downside deviation is defined
    downside = float(semi_deviation(returns, min_acceptable_return=0.0, biased=True))
    deepest = float(max_drawdown(get_drawdowns(returns, compounded=True)))
    growth = series[-1] / series[0]
    # In numpy's arithmetic what is too large becomes infinite, in Python's it raises.
    cagr = growth ** np.float64(periods_per_year / len(returns)) - 1.0
    annual = np.sqrt(periods_per_year)
    figures = {
        SHARPE: _ratio(average, deviation) * annual,
        SORTINO: _ratio(average, downside) * annual,
        CALMAR: _ratio(cagr, deepest),
        MAX_DRAWDOWN: deepest,
        CAGR: cagr,
        TOTAL_RETURN: growth - 1.0,
        VOLATILITY: deviation * annual,
    }
    if turnover is not None:
        figures[TURNOVER] = float(np.mean(turnover)) * periods_per_year
    return {name: float(value) for name, value in figures.items()}


def of_infos(infos: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Compute the figures of one whole episode from the infos of its reset and its steps.

    Returns:
        What :func:`of_account` returns; empty where the infos have no ``portfolio_value``.
    """
    if len(infos) < 2 or "portfolio_value" not in infos[-1]:
        return {}
    values = [info.get("portfolio_value") for info in infos]
    turnover = [info["turnover"] for info in infos[1:]] if all("turnover" in info for info in infos[1:]) else None
    return of_account(values, turnover, infos[-1].get("periods_per_year", PERIODS_PER_YEAR))


def of_account(values: Sequence[Any], turnover: Sequence[Any] | None, periods_per_year: Any) -> dict[str, float]:
    """Compute the finite figures of an account that an environment reports.

    An environment may report anything, and no report may end a run: an account that cannot be used (ruined, missing,
    not finite) has no figures, and the log says so. An account of a single value has none either.
    """
    if len(values) < 2:
        return {}
    if not all(is_finite_number(value) and value > 0 for value in [*values, periods_per_year]):
        wrong = next(value for value in [*values, periods_per_year] if not is_finite_number(value) or value <= 0)
        logger.warning("an account has no performance figures: %r among its values or periods per year", wrong)
        return {}
    if turnover is not None and not all(map(is_finite_number, turnover)):
        logger.warning("an account has no turnover figure: one of its periods has no finite turnover")
        turnover = None
    found = performance([float(value) for value in values], turnover, float(periods_per_year))
    return finite(found)


def _ratio(numerator: float, denominator: float) -> float:
    # Rounding leaves a constant return with a deviation of about 1e-19, which is none.
    return numerator / denominator if denominator > 1e-12 else np.nan
