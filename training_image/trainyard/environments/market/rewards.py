"""Rewards of the market environments, for a batch of environments at once. Pure numpy, no I/O."""

from __future__ import annotations

import numpy as np

REWARDS = ("log_return", "differential_sharpe", "mean_variance")


class DifferentialSharpe:
    """The differential Sharpe ratio: what one more return changes in an exponentially weighted Sharpe ratio.

    With A and B the moving first and second moments of the returns R, dA = R - A and dB = R^2 - B::

        D = (B dA - A dB / 2) / (B - A^2)^(3/2)

    Source: Moody and Saffell, "Learning to Trade via Direct Reinforcement", IEEE Transactions on Neural Networks
    12(4), 2001, equation 20. With initial moments of 0, or after a long time without a position, the variance B - A^2
    is almost 0, and one return would give a reward of thousands. So B starts at volatility^2, and the variance counts
    as at least a hundredth of that.

    Args:
        count: environments of the batch.
        rate: adaptation rate (eta), 0 to 1; 1/rate is about the number of returns remembered.
        volatility: usual standard deviation of one return.
    """

    def __init__(self, count: int, rate: float, volatility: float) -> None:
        self._rate = rate
        self._start = volatility**2
        self._first = np.zeros(count)
        self._second = np.full(count, self._start)

    def reset(self, mask: np.ndarray) -> None:
        self._first[mask] = 0.0
        self._second[mask] = self._start

    def update(self, returns: np.ndarray) -> np.ndarray:
        """Take one return of every environment, shape (count,); give D of that shape."""
        delta_first = returns - self._first
        delta_second = returns * returns - self._second
        variance = np.maximum(self._second - self._first**2, self._start / 100)
        value = (self._second * delta_first - 0.5 * self._first * delta_second) / variance**1.5
        self._first += self._rate * delta_first
        self._second += self._rate * delta_second
        return value


class Reward:
    """One of :data:`REWARDS`, by its name.

    ``log_return`` is ln(value after / value before); ``mean_variance`` takes risk_aversion / 2 times the squared
    simple return away from it; ``differential_sharpe`` see :class:`DifferentialSharpe`.
    """

    def __init__(
        self, name: str, count: int, *, sharpe_rate: float, sharpe_volatility: float, risk_aversion: float
    ) -> None:
        self._name = name
        self._risk_aversion = risk_aversion
        self._sharpe = DifferentialSharpe(count, sharpe_rate, sharpe_volatility)

    def reset(self, mask: np.ndarray) -> None:
        self._sharpe.reset(mask)

    def __call__(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Reward of one step from portfolio values ``before`` to ``after``, each of shape (count,), positive."""
        if self._name == "differential_sharpe":
            return self._sharpe.update(after / before - 1.0)
        log_return = np.log(after / before)
        if self._name == "mean_variance":
            return log_return - 0.5 * self._risk_aversion * (after / before - 1.0) ** 2
        return log_return
