"""Performance figures against closed forms."""

import math

import numpy as np
import pytest

from trainyard.environments.market.performance import performance


def test_a_path_by_hand():
    # returns +10 %, -50 %, +100 %
    figures = performance([100.0, 110.0, 55.0, 110.0], turnover=[1.0, 0.0, 0.5], periods_per_year=4)
    returns = np.array([0.1, -0.5, 1.0])
    mean, deviation = 0.2, math.sqrt(((returns - 0.2) ** 2).sum() / 2)
    assert figures["total_return"] == pytest.approx(0.1)
    assert figures["max_drawdown"] == pytest.approx(0.5)
    assert figures["sharpe"] == pytest.approx(mean / deviation * 2)
    assert figures["sortino"] == pytest.approx(mean / math.sqrt(0.25 / 3) * 2)
    assert figures["cagr"] == pytest.approx(1.1 ** (4 / 3) - 1)
    assert figures["calmar"] == pytest.approx((1.1 ** (4 / 3) - 1) / 0.5)
    assert figures["volatility"] == pytest.approx(deviation * 2)
    assert figures["turnover"] == pytest.approx(0.5 * 4)


def test_a_loss_in_the_first_period_is_a_drawdown():
    assert performance([100.0, 90.0, 95.0])["max_drawdown"] == pytest.approx(0.1)


def test_figures_without_a_value_are_nan():
    figures = performance([1.0, 1.0, 1.0])
    assert math.isnan(figures["sharpe"])
    assert math.isnan(figures["sortino"])
    assert math.isnan(figures["calmar"])
    assert figures["max_drawdown"] == 0


def test_a_year_of_one_percent_a_day_has_that_cagr():
    values = 1.01 ** np.arange(253)
    assert performance(values)["cagr"] == pytest.approx(1.01**252 - 1)


@pytest.mark.parametrize("values", [[1.0], [1.0, 0.0], [[1.0, 2.0]]])
def test_what_is_no_account_is_refused(values):
    with pytest.raises(ValueError, match="at least two positive values"):
        performance(values)


def test_growth_too_large_for_a_number_is_infinite():
    # +15 % in 100 steps, 525,600 periods a year: 1.15 ** 5256 is about 1e319
    figures = performance(100 * 1.15 ** (np.arange(101) / 100), periods_per_year=525_600)
    assert figures["cagr"] == math.inf
    assert figures["total_return"] == pytest.approx(0.15)
