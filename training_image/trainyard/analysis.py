"""What a run's curves say: has it converged, does it generalise, does it overfit. Pure functions of numbers.

Every verdict comes with the numbers behind it, and with a word for not knowing. A rise or a fall counts when it is
larger than noise: its least-squares slope is at least :data:`SIGNIFICANT` standard errors from zero, and what it
amounts to over the part that was looked at is at least :data:`RELEVANT` of the curve's whole range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np

SIGNIFICANT = 2.0
RELEVANT = 0.05

# The early and the late part of a curve are its first and its last third, of at least this many points.
FEWEST_POINTS = 4

Mode = Literal["max", "min"]
Curve = Sequence[tuple[float, float]]


class Trend(StrEnum):
    """How the late part of a curve goes."""

    IMPROVING = "Improving"
    CONVERGED = "Converged"
    WORSENING = "Worsening"
    TOO_SHORT = "TooShort"


class Overfitting(StrEnum):
    """Whether the policy gets better on what it trains on and worse on what it does not."""

    NO = "No"
    SUSPECTED = "Suspected"
    YES = "Yes"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Line:
    """A least-squares line: its slope per unit of x, and the slope's standard error (0 for points on a line)."""

    slope: float
    standard_error: float

    @property
    def significance(self) -> float:
        """The slope in standard errors; infinite for an exact slope, 0 for a constant."""
        if self.slope == 0:
            return 0.0
        return math.copysign(math.inf, self.slope) if self.standard_error == 0 else self.slope / self.standard_error


@dataclass(frozen=True)
class Convergence:
    """How a curve ends.

    Attributes:
        slope: improvement per unit of x over the late part; positive is better, whatever the mode.
        slope_standard_error: of that slope.
        late_gain: what the slope amounts to over the late part, as a share of the curve's whole range.
        diminishing_returns: late slope / early slope; below 1: progress slows down; NaN without an early rise.
        points: finite values of the curve.
    """

    trend: Trend
    slope: float
    slope_standard_error: float
    late_gain: float
    diminishing_returns: float
    points: int


@dataclass(frozen=True)
class Generalisation:
    """A metric on the data of training against the same metric on other data.

    Attributes:
        gap: how much better training is; negative where the other data is.
        relative_gap: gap / |training value|; NaN when that is 0.
    """

    train: float
    other: float
    gap: float
    relative_gap: float


@dataclass(frozen=True)
class OverfittingVerdict:
    """The verdict of :func:`overfitting` and its numbers.

    Attributes:
        best_iteration: x of the best validation.
        fall: how much worse validation's late mean is than its best, as a share of its whole range.
        train_change: change of the training curve from there to its end, as a share of its range; positive is better.
        validation_slope: late slope of validation; positive is better.
    """

    verdict: Overfitting
    best_iteration: float
    fall: float
    train_change: float
    validation_slope: float


def fit_line(x: np.ndarray, y: np.ndarray) -> Line:
    """Fit y = a + slope * x by least squares; the standard error is sqrt(RSS / (n - 2) / sum((x - mean x)^2))."""
    centred = x - x.mean()
    spread = float((centred**2).sum())
    slope = float((centred * (y - y.mean())).sum() / spread)
    residuals = y - y.mean() - slope * centred
    square_sum = float((residuals**2).sum())
    scale = float((y**2).sum())
    if len(x) < 3 or square_sum <= 1e-24 * scale:
        # Points on a line, up to rounding.
        return Line(slope if abs(slope) > 1e-15 * math.sqrt(scale) else 0.0, 0.0)
    return Line(slope, math.sqrt(square_sum / (len(x) - 2) / spread))


def convergence(curve: Curve, mode: Mode = "max") -> Convergence:
    """Judge the late part of a curve of (x, value) points; values that are not finite are left out.

    With fewer than twice :data:`FEWEST_POINTS` points the trend is ``TooShort`` and every number NaN.
    """
    x, y = _columns(curve, mode)
    if len(x) < 2 * FEWEST_POINTS:
        return Convergence(Trend.TOO_SHORT, math.nan, math.nan, math.nan, math.nan, len(x))
    part = max(FEWEST_POINTS, len(x) // 3)
    late, early = fit_line(x[-part:], y[-part:]), fit_line(x[:part], y[:part])
    whole = float(np.ptp(y))
    gain = late.slope * float(x[-1] - x[-part]) / whole if whole else 0.0
    trend = Trend.CONVERGED
    if abs(late.significance) >= SIGNIFICANT and abs(gain) >= RELEVANT:
        trend = Trend.IMPROVING if gain > 0 else Trend.WORSENING
    returns = late.slope / early.slope if early.slope > 0 else math.nan
    return Convergence(trend, late.slope, late.standard_error, gain, returns, len(x))


def generalisation(train: float, other: float, mode: Mode = "max") -> Generalisation:
    """Compare one metric on two sets of data. Only a metric of the same meaning on both (a Sharpe ratio, a return of
    episodes of equal length) makes the gap mean anything.
    """
    gap = train - other if mode == "max" else other - train
    return Generalisation(train, other, gap, gap / abs(train) if train else math.nan)


def overfitting(train: Curve, validation: Curve, mode: Mode = "max") -> OverfittingVerdict:
    """Judge whether training went on to improve while validation fell.

    - ``Yes``: validation worsens in its late part (:func:`convergence`), and training has improved since validation
      was at its best.
    - ``Suspected``: one of the signs alone: validation ends more than half of its range below its best while training
      has improved, or worsens while training has not.
    - ``No``: neither. ``Unknown``: too few points of validation.

    The curves may be of different metrics: only their directions are compared.
    """
    x, y = _columns(validation, mode)
    train_x, train_y = _columns(train, mode)
    if len(x) < FEWEST_POINTS or len(train_x) < FEWEST_POINTS:
        return OverfittingVerdict(Overfitting.UNKNOWN, math.nan, math.nan, math.nan, math.nan)
    best = int(np.argmax(y))
    part = max(2, len(y) // 3)
    fall = _share(float(y[best] - y[-part:].mean()), y)
    train_change = _share(float(_late_mean(train_y) - _value_at(train_x, train_y, x[best])), train_y)
    trend = convergence(validation, mode)
    worsens, rises = trend.trend is Trend.WORSENING, train_change >= RELEVANT
    if worsens and rises:
        verdict = Overfitting.YES
    elif worsens or (fall >= 0.5 and rises):
        verdict = Overfitting.SUSPECTED
    else:
        verdict = Overfitting.NO
    return OverfittingVerdict(verdict, float(x[best]), fall, train_change, trend.slope)


def as_numbers(prefix: str, found: Any) -> dict[str, float | str]:
    """Flatten one of the results above to ``prefix/name`` entries, without what is NaN."""
    flat = {f"{prefix}/{name}": value for name, value in asdict(found).items()}
    return {name: value for name, value in flat.items() if isinstance(value, str) or math.isfinite(value)}


def _columns(curve: Curve, mode: Mode) -> tuple[np.ndarray, np.ndarray]:
    """x and y in order of x, finite, with y turned so that larger is better."""
    points = sorted((x, y) for x, y in curve if math.isfinite(x) and math.isfinite(y))
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1] if mode == "max" else -table[:, 1]


def _share(change: float, values: np.ndarray) -> float:
    whole = float(np.ptp(values))
    return change / whole if whole else 0.0


def _late_mean(values: np.ndarray) -> float:
    return float(values[-max(2, len(values) // 3) :].mean())


def _value_at(x: np.ndarray, y: np.ndarray, where: float) -> float:
    return float(np.interp(where, x, y))
