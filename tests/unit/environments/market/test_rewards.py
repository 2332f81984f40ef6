import numpy as np
import pytest

from trainyard.environments.market.rewards import DifferentialSharpe


def test_differential_sharpe_is_the_derivative_of_the_moving_sharpe_ratio():
    # D is dS/d(eta) at eta = 0 of S = A / sqrt(B - A^2) after one more return, with A and B moving at rate eta.
    returns = np.random.default_rng(0).normal(0.001, 0.01, 30)
    sharpe = DifferentialSharpe(1, 0.05, 0.01)
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


def test_the_first_return_counts_in_usual_returns():
    assert DifferentialSharpe(2, 0.1, 0.01).update(np.array([0.02, -0.01])) == pytest.approx([2.0, -1.0])


@pytest.mark.parametrize("quiet", [0, 1, 1000])
def test_a_return_after_a_quiet_time_is_bounded(quiet):
    sharpe = DifferentialSharpe(1, 0.01, 0.01)
    for _ in range(quiet):
        sharpe.update(np.array([-1e-5]))
    assert 0 < sharpe.update(np.array([0.02]))[0] < 20


def test_reset_forgets_only_the_environments_of_the_mask():
    sharpe = DifferentialSharpe(2, 0.1, 0.01)
    sharpe.update(np.array([0.1, 0.1]))
    sharpe.reset(np.array([True, False]))
    values = sharpe.update(np.array([0.2, 0.2]))
    assert values[0] == pytest.approx(20)
    assert values[1] < 20
