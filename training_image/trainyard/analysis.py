"""Judges a run's curves: has it converged, does it generalise, does it overfit? Pure functions of numbers.

Every verdict has the numbers that it is based on, and there is a word for an unknown result. A rise or a fall counts if
it is larger than noise (at the level :data:`LEVEL`, both directions together) and if it amounts to at least
:data:`RELEVANT` of the curve's whole range over the examined part. docs/analysis.md has the rates of false findings.

Neighbouring points of a curve may depend on each other (a moving average, a policy that drifts), so a least-squares
line's own standard error does not hold. Errors here come from the noise's variogram, that of an autoregressive process
of order one up to and including a random walk:

- size: half the mean squared difference of successive points. It sees no slow trend (von Neumann, Kent, Bellinson and
  Hart 1941, The Mean Square Successive Difference).
- persistence: how fast the variance of differences grows with their distance (Lo and MacKinlay 1988, Stock Market
  Prices Do Not Follow Random Walks), with an allowance for the error of that estimate, which takes what is close to a
  random walk for one (as Perron and Yabu 2009 do, Estimating Deterministic Trends with an Integrated or Stationary
  Noise Component).
- Student's t with the degrees of freedom of as many independent points as carry the same information,
  (1 - persistence) / (1 + persistence) of them (Bayley and Hammersley 1946, The Effective Number of Independent
  Observations in an Autocorrelated Time Series).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np

from trainyard.metrics import is_finite_number

LEVEL = 0.04
"""The nominal share of curves without a finding that get one; measured, it is at most 5 % (docs/analysis.md)."""
RELEVANT = 0.05
SETTLED = 0.15
"""Converged: the late part surely changes by less than this share of the range, about half of a straight line's."""

# The early and the late part of a curve are its first and its last third, of at least this many points.
FEWEST_POINTS = 4

# The allowance for the error of the persistence p found in k differences: (_CAUTION + _STEEPNESS * p^2) / k. Chosen on
# the null curves of tests/bench/verdict_rates.py.
_CAUTION, _STEEPNESS = 2.0, 50.0
# The fewest degrees of freedom, even for very persistent noise: there are still as many differences as points.
_FEWEST_DEGREES = 2.2
# Below this share of its size a curve's noise is rounding.
_ROUNDING = 1e-12

Mode = Literal["max", "min"]
Curve = Sequence[tuple[float, float]]


class Trend(StrEnum):
    """The trend of the late part of a curve."""

    IMPROVING = "Improving"
    CONVERGED = "Converged"
    WORSENING = "Worsening"
    UNCLEAR = "Unclear"
    TOO_SHORT = "TooShort"


class Overfitting(StrEnum):
    """Whether the policy becomes better on its training data and worse on other data."""

    NO = "No"
    SUSPECTED = "Suspected"
    YES = "Yes"
    UNKNOWN = "Unknown"


class Gap(StrEnum):
    """Whether the policy is better on training data than on other data; `Unclear` if chance explains the gap."""

    BETTER = "Better"
    WORSE = "Worse"
    UNCLEAR = "Unclear"


@dataclass(frozen=True)
class Estimate:
    """A sum of weighted values, its standard error under autocorrelated noise, and the error's degrees of freedom."""

    value: float
    standard_error: float
    degrees: float

    def exceeds(self, level: float) -> bool:
        """Whether the value is above 0: noise alone says so in a share `level` of all cases."""
        return self.value > self.margin(level)

    def margin(self, level: float) -> float:
        """The value that noise alone exceeds in a share `level` of all cases."""
        from scipy.special import stdtrit  # takes long to import, and only the end of a run needs it

        return -float(stdtrit(self.degrees, level)) * self.standard_error


@dataclass(frozen=True)
class Convergence:
    """How a curve ends.

    Attributes:
        trend: `Improving` or `Worsening` where the late part's change is larger than noise and relevant; `Converged`
            where it is surely small; else `Unclear`.
        slope: improvement per unit of x over the late part; positive is better, whatever the mode.
        slope_standard_error: of that slope.
        late_gain: the gain over the late part at this slope, as a share of the curve's whole range.
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
    """A metric on training data compared with the same metric on other data.

    Attributes:
        train, other: means over the episodes.
        gap: how much better training is; negative if the other data is better.
        relative_gap: gap / |training value|; NaN when that is 0.
    """

    train: float
    other: float
    gap: float
    relative_gap: float
    verdict: Gap


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


def convergence(curve: Curve, mode: Mode = "max") -> Convergence:
    """Judge the late part of a curve of (x, value) points; values that are not finite are left out.

    Use points of each iteration's own episodes: the verdict on a moving average is as reliable, but averaging hides
    changes. With fewer than twice :data:`FEWEST_POINTS` points the trend is ``TooShort`` and every number NaN.
    """
    x, y, unit = _columns(curve, mode)
    if len(x) < 2 * FEWEST_POINTS:
        return Convergence(Trend.TOO_SHORT, math.nan, math.nan, math.nan, math.nan, len(x))
    part, whole = _late_points(y), float(np.ptp(y))
    late = contrast(_slope_weights(x[-part:]), y[-part:], persistence(y))
    early = float(_slope_weights(x[:part]) @ y[:part])
    span = float(x[-1] - x[-part]) / whole if whole else 0.0
    returns = late.value / early if early > 0 else math.nan
    trend = _trend(late, span)
    return Convergence(trend, late.value * unit, late.standard_error * unit, late.value * span, returns, len(x))


def _trend(late: Estimate, span: float) -> Trend:
    """`span` turns a slope into the gain over the late part, as a share of the curve's range."""
    gain = late.value * span
    if abs(late.value) > late.margin(LEVEL / 2) and abs(gain) >= RELEVANT:
        return Trend.IMPROVING if gain > 0 else Trend.WORSENING
    # Two one-sided tests (Schuirmann 1987): not to find a change is no proof that there is none.
    surely = abs(gain) + late.margin(LEVEL) * span <= SETTLED
    return Trend.CONVERGED if surely else Trend.UNCLEAR


def generalisation(train: Sequence[float], other: Sequence[float], mode: Mode = "max") -> Generalisation:
    """Compare one metric on two sets of data, of each the values of its episodes (finite ones count).

    The gap has a meaning only if the metric means the same on both (a Sharpe ratio, a return of episodes of equal
    length). The verdict comes from a rank test (Mann and Whitney 1947), which is valid for every distribution of the
    episodes. It is ``Unclear`` with fewer than two episodes of either, and if the means say the opposite.
    """
    mine, theirs = _finite(train), _finite(other)
    if not len(mine) or not len(theirs):
        return Generalisation(_mean(mine), _mean(theirs), math.nan, math.nan, Gap.UNCLEAR)
    turn = 1 if mode == "max" else -1
    means = _mean(mine), _mean(theirs)
    gap = turn * (means[0] - means[1])
    higher = turn * _higher(mine, theirs)
    verdict = Gap.UNCLEAR
    if higher * gap > 0:
        verdict = Gap.BETTER if gap > 0 else Gap.WORSE
    return Generalisation(*means, gap, gap / abs(means[0]) if means[0] else math.nan, verdict)


def overfitting(train: Curve, validation: Curve, mode: Mode = "max") -> OverfittingVerdict:
    """Judge whether training continued to improve while validation fell.

    - ``Yes``: validation worsens in its late part (:func:`convergence`), and training has improved since validation
      was at its best.
    - ``Suspected``: one of the signs alone: validation ends more than half of its range below its best, more than noise
      explains, while training has improved; or it worsens while training has not.
    - ``No``: neither was found. ``Unknown``: too few points of either to find it.

    Worsening and falling share :data:`LEVEL`, as either makes a finding. The curves may be of different metrics: only
    their directions are compared.
    """
    x, y, _ = _columns(validation, mode)
    train_x, train_y, _ = _columns(train, mode)
    if min(len(x), len(train_x)) < 2 * FEWEST_POINTS:
        return OverfittingVerdict(Overfitting.UNKNOWN, math.nan, math.nan, math.nan, math.nan)
    best, part = int(np.argmax(y)), _late_points(y)
    fall = _share(float(y[best] - y[-part:].mean()), y)
    late = convergence(validation, mode)
    worsens = late.trend is Trend.WORSENING
    risen, rises = _rise_since(train_x, train_y, float(x[best]))
    if worsens and rises:
        verdict = Overfitting.YES
    elif worsens or (rises and fall >= 0.5 and _fell(y)):
        verdict = Overfitting.SUSPECTED
    else:
        verdict = Overfitting.NO
    return OverfittingVerdict(verdict, float(x[best]), fall, risen, late.slope)


def _fell(y: np.ndarray) -> bool:
    """Whether the late part is below the best stretch before it, which is chosen among as many as there is room for."""
    part = _late_points(y)
    width = part // 2
    stretches = np.convolve(y[:-part], np.ones(width), mode="valid")
    weights = np.zeros(len(y))
    weights[int(np.argmax(stretches)) :][:width] = 1 / width
    weights[-part:] = -1 / part
    # Bonferroni over stretches that overlap by half.
    choices = 2 * (len(y) - part) / width
    return contrast(weights, y, persistence(y)).exceeds(LEVEL / 2 / choices)


def _rise_since(x: np.ndarray, y: np.ndarray, since: float) -> tuple[float, bool]:
    """The rise from the value at `since` to the late mean, as a share of its range, and whether it exceeds noise."""
    part = _late_points(y)
    width = part // 2
    start = min(max(int(np.searchsorted(x, since)) - width // 2, 0), len(y) - width)
    weights = np.zeros(len(y))
    weights[-part:] = 1 / part
    weights[start : start + width] -= 1 / width
    share = _share(float(y[-part:].mean() - np.interp(since, x, y)), y)
    return share, share >= RELEVANT and contrast(weights, y, persistence(y)).exceeds(LEVEL)


def contrast(weights: np.ndarray, values: np.ndarray, persistence: float) -> Estimate:
    """The sum of weights * values, for weights that sum to 0, with its standard error under noise of a persistence.

    With V(k) half the mean squared difference of values k apart, its variance is -sum over i, j of
    w_i w_j V(|i - j|); an autoregressive noise has V(k) = V(1) (1 - p^k) / (1 - p), a random walk V(1) k.
    """
    steps = np.diff(values)
    size = float(((steps - steps.mean()) ** 2).sum()) / 2 / max(1, len(steps) - 1)
    if size <= (_ROUNDING * float(np.abs(values).max())) ** 2:
        size = 0.0
    count = len(values)
    # The autocorrelation of the weights, by way of the Fourier transform: sums of w_i w_(i + k).
    overlap = np.fft.irfft(np.abs(np.fft.rfft(weights, 2 * count)) ** 2)[1:count]
    distance = np.arange(1, count, dtype=np.float64)
    growth = distance if persistence >= 1 else (1 - persistence**distance) / (1 - persistence)
    variance = max(0.0, -2 * size * float(overlap @ growth))
    degrees = (count - 2) * (1 - persistence) / (1 + persistence)
    value = float(weights @ values)
    if size == 0 and abs(value) <= _ROUNDING * float(np.abs(weights) @ np.abs(values)):
        value = 0.0
    return Estimate(value, math.sqrt(variance), max(degrees, min(_FEWEST_DEGREES, 2 / 3 * (count - 2))))


def persistence(values: np.ndarray) -> float:
    """How much of a point's noise the next one keeps, 0 (none) to 1 (a random walk), estimated with caution.

    Each of the last two thirds gives 1 + 2 r, r the correlation of successive differences about their mean: 0 for
    independent points, whose r is -1/2, and 1 for a random walk. The first third is left out, because there curves
    rise, and a rise that bends looks persistent.
    """
    part = _late_points(values)
    found, count = [], 0
    for third in (values[-2 * part : len(values) - part + 1], values[-part:]):
        steps = np.diff(third)
        steps = steps - steps.mean()
        size = float(steps @ steps)
        if size > len(steps) * (_ROUNDING * float(np.abs(third).max())) ** 2:
            found.append(1 + 2 * float(steps[1:] @ steps[:-1]) / size)
            count += len(steps)
    if not found:
        return 0.0
    estimate = max(0.0, sum(found) / len(found))
    # Taking the mean out makes a random walk's steps look opposed: by one part in as many as there are.
    estimate += 2 * min(1.0, estimate) * len(found) / count
    return min(1.0, estimate + (_CAUTION + _STEEPNESS * estimate**2) / count)


def _slope_weights(x: np.ndarray) -> np.ndarray:
    """Weights of the values for the slope of their least-squares line; 0 if all x are the same."""
    from_first = x - x[0]  # sums of large values overflow
    centred = from_first - from_first.mean()
    spread = float(centred @ centred)
    return centred / spread if spread > 0 else np.zeros(len(x))


def _higher(mine: np.ndarray, theirs: np.ndarray) -> int:
    """1 if the first values are higher by rank than chance explains, -1 if they are lower, otherwise 0."""
    if min(len(mine), len(theirs)) < 2:
        return 0
    from scipy.stats import mannwhitneyu

    found = mannwhitneyu(mine, theirs)
    if not found.pvalue <= LEVEL:
        return 0
    return 1 if found.statistic > len(mine) * len(theirs) / 2 else -1


def as_numbers(prefix: str, found: Any) -> dict[str, float | str]:
    """Flatten one of the results above to ``prefix/name`` entries, without NaN values."""
    flat = {f"{prefix}/{name}": value for name, value in asdict(found).items()}
    return {name: value for name, value in flat.items() if isinstance(value, str) or math.isfinite(value)}


def _columns(curve: Curve, mode: Mode) -> tuple[np.ndarray, np.ndarray, float]:
    """x and y in order of x, finite, with y turned so that larger is better, in units of its largest size (returned
    last), so that no square overflows.
    """
    points = sorted((float(x), float(y)) for x, y in curve if is_finite_number(x) and is_finite_number(y))
    table = np.array(points, dtype=np.float64).reshape(-1, 2)
    unit = float(np.abs(table[:, 1]).max(initial=0.0)) or 1.0
    y = table[:, 1] / unit
    return table[:, 0], y if mode == "max" else -y, unit


def _late_points(values: np.ndarray) -> int:
    return max(FEWEST_POINTS, len(values) // 3)


def _share(change: float, values: np.ndarray) -> float:
    whole = float(np.ptp(values))
    return change / whole if whole else 0.0


def _finite(values: Sequence[float]) -> np.ndarray:
    return np.array([value for value in values if is_finite_number(value)], dtype=np.float64)


def _mean(values: np.ndarray) -> float:
    """NaN without values; divided first, so that a sum of large values does not overflow."""
    return float((values / len(values)).sum()) if len(values) else math.nan
