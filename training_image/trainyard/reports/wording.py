"""How the report writes names and numbers."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
SPACE = "\N{NO-BREAK SPACE}"

_LABELS = {
    "return_mean": "episode return",
    "return_min": "lowest episode return",
    "return_max": "highest episode return",
    "episode_length_mean": "episode length",
    "sharpe": "Sharpe ratio",
    "sortino": "Sortino ratio",
    "calmar": "Calmar ratio",
    "max_drawdown": "maximum drawdown",
    "cagr": "annual growth (CAGR)",
    "total_return": "total return",
    "volatility": "volatility per year",
    "turnover": "turnover per year",
    "episode_turnover": "turnover per episode",
    "env_steps_per_s": "environment steps per second",
    "policy_lag": "policy lag",
    "loss": "loss",
}
_SHARES = frozenset({"max_drawdown", "cagr", "total_return", "volatility"})
BENCHMARKS = {"policy": "policy", "buy_and_hold": "buy and hold", "equal_weight": "equal weight"}


def bare(metric: str) -> str:
    """`sharpe` of `validation/sharpe`."""
    return metric.rsplit("/", 1)[-1]


def label(metric: str) -> str:
    """A metric in words, without the place where it was measured; an unknown metric by its name."""
    return _LABELS.get(bare(metric), bare(metric).replace("_", " "))


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def uncapital(text: str) -> str:
    return text[:1].lower() + text[1:]


def value(metric: str, number: float | None) -> str:
    """A metric's value in its unit."""
    if number is None or not math.isfinite(number):
        return DASH
    if is_share(metric):
        return percent(number, signed=bare(metric) in ("cagr", "total_return"))
    return plain(number)


def is_share(metric: str) -> bool:
    """Whether the metric is a share, shown in percent."""
    return bare(metric) in _SHARES


def plain(number: float | None) -> str:
    """Three significant digits, or more if the whole part has more: 0.0312, 1.23, 187, 12,345."""
    if number is None or not math.isfinite(number):
        return DASH
    size = abs(number)
    if number == int(number) and size < 1e6:
        text = f"{number:,.0f}"
    elif size >= 1e6 or size < 1e-3:
        text = f"{number:.3g}"
    elif size >= 1000:
        text = f"{number:,.0f}"
    elif size >= 100:
        text = f"{number:.1f}"
    else:
        text = f"{number:#.3g}"
    return text.replace("-", MINUS)


def percent(number: float, *, signed: bool = False) -> str:
    if not math.isfinite(number):
        return DASH
    digits = 0 if abs(number) >= 1 else 1
    return f"{100 * number:{'+' if signed else ''}.{digits}f}{SPACE}%".replace("-", MINUS)


def difference(metric: str, size: float) -> str:
    """The size of a difference between two values of a metric."""
    return f"{100 * size:.1f}{SPACE}percentage points" if is_share(metric) else plain(size)


def count(number: float, one: str, many: str = "") -> str:
    """`1 iteration`, `3 iterations`."""
    return f"{number:,.0f} {one if number == 1 else many or one + 's'}"


def listed(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
