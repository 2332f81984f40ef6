import pytest

from trainyard.runs.stopping import Counters, fraction_done, stop_reason
from trainyard.spec.sections import EarlyStopping, Stop
from trainyard.training.early_stopping import EarlyStopper

NAN = float("nan")


def stop(**fields):
    return Stop.model_validate(fields)


@pytest.mark.parametrize(
    ("criteria", "reason"),
    [
        (stop(iterations=5), "5 of 5 iterations"),
        (stop(episodes=100), "120 of 100 episodes"),
        (stop(envSteps=1000), "1000 of 1000 envSteps"),
        (stop(duration="30s"), "30 of 30 seconds of stop.duration"),
        (stop(iterations=6, episodes=120), "120 of 120 episodes"),
        (stop(metrics=[{"metric": "a", "atLeast": 2}]), "a is 2, at least 2"),
        (stop(metrics=[{"metric": "b", "atMost": 0.5}]), "b is 0.5, at most 0.5"),
        (stop(iterations=6), None),
        (stop(metrics=[{"metric": "a", "atLeast": 2.5}]), None),
        (stop(metrics=[{"metric": "missing", "atMost": 10}]), None),
        (stop(metrics=[{"metric": "nan", "atMost": 10}, {"metric": "nan", "atLeast": -10}]), None),
    ],
)
def test_any_criterion_ends_a_run_and_a_value_that_is_missing_or_nan_does_not(criteria, reason):
    counters = Counters(iteration=5, episodes=120, env_steps=1000, seconds=30.0)
    assert stop_reason(criteria, counters, {"a": 2.0, "b": 0.5, "nan": NAN}) == reason


def test_progress_is_the_share_of_the_nearest_criterion():
    counters = Counters(iteration=2, episodes=30, env_steps=0, seconds=1)
    assert fraction_done(stop(iterations=10, episodes=100), counters) == pytest.approx(0.3)
    assert fraction_done(stop(episodes=20), counters) == 1.0
    assert fraction_done(stop(metrics=[{"metric": "a", "atLeast": 1}]), counters) is None


def stopped_after(values, **rule):
    """Iteration after which the stopper ends a run whose evaluations give `values`, one per iteration."""
    stopper = EarlyStopper(EarlyStopping.model_validate({"metric": "m", "mode": "max", "patience": 3} | rule))
    for iteration, value in enumerate(values, start=1):
        stopper.observe(iteration, {} if value is None else {"m": value})
        if stopper.reason(iteration):
            return iteration, stopper.best_iteration
    return None, stopper.best_iteration


def test_the_teams_own_case_stops_after_iteration_5_with_the_best_at_2():
    assert stopped_after([0.1, 0.9, 0.8, 0.7, 0.6, 0.5], minIterations=5) == (5, 2)


@pytest.mark.parametrize(
    ("values", "rule", "expected"),
    [
        pytest.param([1, 2, 3, 4, 5, 6], {}, (None, 6), id="always better"),
        pytest.param([5, 4, 3, 2], {}, (4, 1), id="never better"),
        pytest.param([5, 4, 3, 2, 1, 0], {"minIterations": 6}, (6, 1), id="not before the least iterations"),
        pytest.param([5, None, NAN, None, 4, 4, 4], {}, (7, 1), id="missing and NaN use no patience up"),
        pytest.param([NAN, NAN, NAN, NAN, NAN], {}, (None, 0), id="only NaN never stops and is never the best"),
        pytest.param([1.0, 1.05, 1.09, 1.1], {"minDelta": 0.2}, (4, 1), id="small gains are none"),
        pytest.param([5, 6, 7, 8], {"mode": "min"}, (4, 1), id="smaller is better"),
        pytest.param([5, 4, 3, 6, 2, 1], {"patience": 2}, (3, 1), id="patience of 2"),
    ],
)
def test_patience_counts_finite_values_without_an_improvement(values, rule, expected):
    assert stopped_after(values, **rule) == expected


def test_a_restored_stopper_goes_on_where_it_was():
    rule = EarlyStopping.model_validate({"metric": "m", "mode": "max", "patience": 2})
    first, second = EarlyStopper(rule), EarlyStopper(rule)
    first.observe(1, {"m": 3.0})
    first.observe(2, {"m": 2.0})
    second.load_state_dict(first.state_dict())
    second.observe(3, {"m": 2.5})
    assert second.reason(3) == ("early stopping: m has not improved in 2 evaluations; best 3 in iteration 1")
