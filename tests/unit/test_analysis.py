"""Verdicts on curves whose answer is known in closed form."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from trainyard.analysis import (
    Gap,
    Overfitting,
    Trend,
    as_numbers,
    contrast,
    convergence,
    generalisation,
    overfitting,
    persistence,
)


def curve(function, count=30):
    return [(float(x), float(function(x))) for x in range(count)]


def noise(count=30, seed=0, size=1.0):
    return np.random.default_rng(seed).normal(0, size, count)


def test_independent_noise_gives_the_textbook_error():
    # The weights' squares sum to 1/4 + 1/4, so the error of a noise of standard deviation 3 is 3 * sqrt(1/2).
    values = np.random.default_rng(0).normal(0, 3, 4000)
    weights = np.zeros(4000)
    weights[[100, 200, 3000, 3900]] = 0.5, -0.5, 0.0, 0.0
    found = contrast(weights, values, 0.0)
    assert found.value == pytest.approx((values[100] - values[200]) / 2)
    assert found.standard_error == pytest.approx(3 * math.sqrt(0.5), rel=0.05)
    assert found.degrees == 3998


def test_a_random_walk_moves_by_the_root_of_the_distance():
    values = np.cumsum(np.random.default_rng(0).normal(0, 3, 4000))
    weights = np.zeros(4000)
    weights[[100, 500]] = -1.0, 1.0
    assert contrast(weights, values, 1.0).standard_error == pytest.approx(3 * math.sqrt(400), rel=0.05)


def test_an_autoregressive_noise_spreads_by_its_variance():
    # stationary variance 1 / (1 - 0.8^2); points far apart are independent, so their difference has twice that
    values = lfilter([1.0], [1.0, -0.8], np.random.default_rng(0).normal(size=20_000))
    weights = np.zeros(20_000)
    weights[[5_000, 15_000]] = -1.0, 1.0
    assert contrast(weights, values, 0.8).standard_error == pytest.approx(math.sqrt(2 / (1 - 0.64)), rel=0.05)


@pytest.mark.parametrize(("keeps", "expected"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_persistence_is_what_a_point_keeps_of_the_one_before(keeps, expected):
    values = lfilter([1.0], [1.0, -keeps], np.random.default_rng(1).normal(size=30_000))
    assert persistence(values) == pytest.approx(expected, abs=0.03)


class TestConvergence:
    def test_a_straight_rise_is_still_improving_and_does_not_slow_down(self):
        found = convergence(curve(lambda x: 2 * x))
        assert found.trend is Trend.IMPROVING
        assert found.slope == pytest.approx(2.0)
        assert found.diminishing_returns == pytest.approx(1.0)
        # the late part has 10 of 30 points: 9 of the 29 steps
        assert found.late_gain == pytest.approx(9 / 29)

    def test_saturating_progress_has_diminishing_returns_of_the_known_ratio(self):
        # 1 - exp(-x): the late third repeats the early one scaled by exp(-20)
        found = convergence(curve(lambda x: 1 - math.exp(-x)))
        assert found.trend is Trend.CONVERGED
        assert found.diminishing_returns == pytest.approx(math.exp(-20), rel=1e-3)

    def test_a_plateau_with_noise_has_converged(self):
        values = np.concatenate([np.linspace(0, 100, 30), np.full(60, 100.0)]) + noise(90, size=2.0)
        assert convergence(list(enumerate(values))).trend is Trend.CONVERGED

    def test_a_fall_at_the_end_is_worsening(self):
        assert convergence(curve(lambda x: -abs(x - 15))).trend is Trend.WORSENING

    def test_noise_alone_is_neither_a_trend_nor_the_end_of_one(self):
        assert convergence(list(enumerate(noise()))).trend is Trend.UNCLEAR

    def test_a_long_plateau_with_noise_has_converged_whatever_the_noise(self):
        assert convergence(list(enumerate(noise(3000)))).trend is Trend.CONVERGED

    def test_for_a_loss_falling_is_improving(self):
        found = convergence(curve(lambda x: 100 - x), mode="min")
        assert found.trend is Trend.IMPROVING
        assert found.slope == pytest.approx(1.0)

    def test_a_constant_curve_has_converged(self):
        found = convergence(curve(lambda x: 5.0))
        assert (found.trend, found.slope, found.late_gain) == (Trend.CONVERGED, 0.0, 0.0)

    def test_values_that_are_not_finite_are_left_out(self):
        with_gaps = [*curve(lambda x: 2 * x), (3.5, math.nan), (4.5, math.inf)]
        assert convergence(with_gaps) == convergence(curve(lambda x: 2 * x))

    @pytest.mark.parametrize("count", [0, 1, 7])
    def test_a_short_curve_is_not_judged(self, count):
        found = convergence(curve(lambda x: x, count))
        assert (found.trend, found.points) == (Trend.TOO_SHORT, count)


class TestGeneralisation:
    def test_the_gap_is_what_training_is_better_by(self):
        found = generalisation([1.0, 2.0], [0.8, 1.0])
        assert (found.train, found.other) == (1.5, pytest.approx(0.9))
        assert (found.gap, found.relative_gap) == (pytest.approx(0.6), pytest.approx(0.4))

    def test_of_a_loss_lower_is_better(self):
        assert generalisation([0.2], [0.5], mode="min").gap == pytest.approx(0.3)

    def test_a_training_value_of_zero_has_no_relative_gap(self):
        assert math.isnan(generalisation([0.0], [-1.0]).relative_gap)

    def test_a_gap_far_beyond_the_spread_of_the_episodes_is_found_in_its_direction(self):
        train, other = noise(100), 5 + noise(10, seed=1)
        assert generalisation(train, other).verdict is Gap.WORSE
        assert generalisation(train, other, mode="min").verdict is Gap.BETTER

    def test_values_without_any_spread_that_differ_are_a_gap(self):
        assert generalisation([500.0] * 100, [480.0] * 10).verdict is Gap.BETTER
        assert generalisation([500.0] * 100, [500.0] * 10).verdict is Gap.UNCLEAR

    @pytest.mark.parametrize("other", [[], [-100.0], [math.nan, math.inf]])
    def test_one_episode_is_no_proof(self, other):
        assert generalisation(noise(100), other).verdict is Gap.UNCLEAR


class TestOverfitting:
    def test_training_rises_while_validation_falls(self):
        found = overfitting(curve(lambda x: x), curve(lambda x: -abs(x - 10)))
        assert found.verdict is Overfitting.YES
        assert found.best_iteration == 10
        # validation: best 0, late mean -(10 + ... + 19)/10 = -14.5, range 19
        assert found.fall == pytest.approx(14.5 / 19)
        # training: at 10 it was 10, its late mean is 24.5, range 29
        assert found.train_change == pytest.approx(14.5 / 29)
        assert found.validation_slope == pytest.approx(-1.0)

    def test_both_rising_is_no_overfitting(self):
        assert overfitting(curve(lambda x: 2 * x), curve(lambda x: x)).verdict is Overfitting.NO

    def test_validation_that_stays_at_its_level_is_no_overfitting(self):
        validation = np.concatenate([np.linspace(0, 100, 10), np.full(20, 100.0)]) + noise(size=1.0)
        assert overfitting(curve(lambda x: x), list(enumerate(validation))).verdict is Overfitting.NO

    def test_both_falling_is_only_suspected(self):
        falling = curve(lambda x: -abs(x - 10))
        assert overfitting(falling, falling).verdict is Overfitting.SUSPECTED

    def test_a_fall_that_has_ended_is_suspected(self):
        validation = [*curve(lambda x: x, 5), *((float(x), 0.5) for x in range(5, 30))]
        assert overfitting(curve(lambda x: x), validation).verdict is Overfitting.SUSPECTED

    def test_few_validations_say_nothing(self):
        assert overfitting(curve(lambda x: x), curve(lambda x: x, 7)).verdict is Overfitting.UNKNOWN


def test_numbers_are_flat_and_without_nan():
    flat = as_numbers("convergence", convergence(curve(lambda x: x, 3)))
    assert flat == {"convergence/trend": "TooShort", "convergence/points": 3}
