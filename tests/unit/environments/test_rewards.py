import numpy as np
import pytest

from trainyard.environments.rewards import DifferentialSharpe


def test_differential_sharpe_is_the_derivative_of_the_moving_sharpe_ratio():
    # D is dS/d(eta) at eta = 0 of S = A / sqrt(B - A^2) after one more return, with A and B moving at rate eta.
    returns = np.random.default_rng(0).normal(0.001, 0.01, 30)
    sharpe = DifferentialSharpe(1, 0.05)
    for value in returns[:-1]:
        sharpe.update(np.array([value]))
    first, second = float(sharpe._first[0]), float(sharpe._second[0])
    last = returns[-1]

    def moved(eta):
        a, b = first + eta * (last - first), second + eta * (last**2 - second)
        return a / np.sqrt(b - a * a)

    step = 1e-6
    derivative = (moved(step) - moved(-step)) / (2 * step)
    assert sharpe.update(np.array([last]))[0] == pytest.approx(derivative, rel=1e-5)


def test_the_first_return_has_no_differential_sharpe():
    assert DifferentialSharpe(2, 0.1).update(np.array([0.1, -0.1])).tolist() == [0.0, 0.0]


def test_reset_forgets_only_the_environments_of_the_mask():
    sharpe = DifferentialSharpe(2, 0.1)
    sharpe.update(np.array([0.1, 0.1]))
    sharpe.reset(np.array([True, False]))
    values = sharpe.update(np.array([0.2, 0.2]))
    assert values[0] == 0
    assert values[1] != 0
