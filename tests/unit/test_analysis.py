"""Verdicts on curves whose answer is known in closed form."""

import math

import numpy as np
import pytest

from trainyard.analysis import (
    Overfitting,
    Trend,
    as_numbers,
    convergence,
    fit_line,
    generalisation,
    overfitting,
)


def curve(function, count=30):
    return [(float(x), float(function(x))) for x in range(count)]


def noise(count=30, seed=0, size=1.0):
    return np.random.default_rng(seed).normal(0, size, count)


class TestLine:
    def test_points_on_a_line_give_its_slope_without_error(self):
        line = fit_line(np.arange(5.0), 3.0 * np.arange(5.0) + 1)
        assert (line.slope, line.standard_error) == (pytest.approx(3.0), 0.0)
        assert line.significance == math.inf

    def test_slope_and_standard_error_by_hand(self):
        # x = 0, 1, 2, 3 and y = 0, 2, 1, 3: slope 0.8, residual sum of squares 1.8, error sqrt(1.8 / 2 / 5)
        line = fit_line(np.arange(4.0), np.array([0.0, 2.0, 1.0, 3.0]))
        assert line.slope == pytest.approx(0.8)
        assert line.standard_error == pytest.approx(math.sqrt(1.8 / 2 / 5))

    def test_a_constant_has_no_slope(self):
        line = fit_line(np.arange(5.0), np.full(5, 7.0))
        assert (line.slope, line.significance) == (0.0, 0.0)


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
        values = np.concatenate([np.linspace(0, 100, 15), np.full(15, 100.0)]) + noise(size=2.0)
        assert convergence(list(enumerate(values))).trend is Trend.CONVERGED

    def test_a_fall_at_the_end_is_worsening(self):
        assert convergence(curve(lambda x: -abs(x - 15))).trend is Trend.WORSENING

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
        found = generalisation(1.5, 0.9)
        assert (found.gap, found.relative_gap) == (pytest.approx(0.6), pytest.approx(0.4))

    def test_of_a_loss_lower_is_better(self):
        assert generalisation(0.2, 0.5, mode="min").gap == pytest.approx(0.3)

    def test_a_training_value_of_zero_has_no_relative_gap(self):
        assert math.isnan(generalisation(0.0, -1.0).relative_gap)


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
        assert overfitting(curve(lambda x: x), curve(lambda x: x, 3)).verdict is Overfitting.UNKNOWN


def test_numbers_are_flat_and_without_nan():
    flat = as_numbers("convergence", convergence(curve(lambda x: x, 3)))
    assert flat == {"convergence/trend": "TooShort", "convergence/points": 3}
