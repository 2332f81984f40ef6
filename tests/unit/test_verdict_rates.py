"""Verdicts take noise for a finding in at most one of twenty curves, and find what is there in four of five."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bench.verdict_rates import (
    EPISODES,
    NULL,
    early_stop,
    gaps,
    levelled,
    overfits,
    rising,
    steadily,
    still_rising,
    trends,
    white,
)
from trainyard.analysis import Overfitting, Trend

CURVES = 1000
MOST, LEAST = 0.05, 0.8

SHAPES = [
    "white noise, 8 points",
    "white noise, 300 points",
    "own episodes, 30 x 5",
    "moving average, 30 x 5",
    "moving average, 60 x 10",
    "moving average, 200 x 10",
    "moving average, 100 x 200",
    "AR(1) 0.6, 200 points",
    "AR(1) 0.9, 30 points",
    "Student's t, 2 degrees, 60 points",
    "skewed (log-normal), 60 points",
    "noise shrinks fivefold, 60 points",
    "saturating, then flat, 30 points",
]


def made(maker, curves=CURVES):
    return maker(np.random.default_rng(7), curves)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_is_no_trend(shape):
    assert trends(made(NULL[shape])) <= MOST


@pytest.mark.parametrize("shape", ["own episodes, 30 x 5", "moving average, 60 x 10", "AR(1) 0.9, 30 points"])
def test_noise_of_validation_is_no_overfitting_while_training_rises(shape):
    assert overfits(made(NULL[shape])) <= MOST


def test_noise_of_training_is_no_overfitting_however_validation_falls():
    noise = made(NULL["own episodes, 30 x 5"])
    assert overfits(np.broadcast_to(early_stop(30), noise.shape), noise, (Overfitting.YES,)) <= MOST


@pytest.mark.parametrize("noise", [0.02, 0.1])
def test_a_curve_that_still_rises_has_not_converged(noise):
    assert trends(made(still_rising(90, noise)), (Trend.CONVERGED,)) <= MOST


@pytest.mark.parametrize("distribution", ["normal", "log-normal"])
def test_chance_is_no_generalisation_gap(distribution):
    assert gaps(EPISODES[distribution], episodes=5, times=CURVES) <= MOST


def test_a_rise_by_the_standard_deviation_of_an_episode_over_30_points_of_10_is_found():
    assert trends(made(rising(90, episodes=10), 500), (Trend.IMPROVING,)) >= LEAST


def test_a_plateau_is_found():
    assert trends(made(levelled(300, steadily), 500), (Trend.CONVERGED,)) >= LEAST


def test_a_fall_of_validation_is_found():
    falling = made(white(90, episodes=10), 500) + early_stop(90)
    assert overfits(falling, among=(Overfitting.YES,)) >= LEAST


def test_a_gap_of_a_standard_deviation_is_found():
    assert gaps(EPISODES["normal"], episodes=20, times=200, shift=1.0) >= LEAST
