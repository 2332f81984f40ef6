import math

from trainyard.spec.search_points import points, short_names
from trainyard.spec.sections import Search


def search(*parameters, samples=1):
    return Search.model_validate({"parameters": list(parameters), "samples": samples, "metric": "m", "mode": "max"})


LR = {"path": "a.config.lr", "grid": [0.1, 0.2]}
SIZE = {"path": "a.config.size", "grid": [1, 2]}


def test_grids_are_crossed_with_the_last_parameter_fastest():
    assert points(search(LR, SIZE), seed=0) == [
        {"a.config.lr": 0.1, "a.config.size": 1},
        {"a.config.lr": 0.1, "a.config.size": 2},
        {"a.config.lr": 0.2, "a.config.size": 1},
        {"a.config.lr": 0.2, "a.config.size": 2},
    ]


def test_samples_repeat_the_whole_grid_with_new_draws():
    drawn = {"path": "a.config.x", "uniform": {"min": 1, "max": 2}}
    found = points(search(LR, drawn, samples=3), seed=0)
    assert [point["a.config.lr"] for point in found] == [0.1, 0.2] * 3
    values = [point["a.config.x"] for point in found]
    assert len(set(values)) == 6
    assert all(1 <= value < 2 for value in values)


def test_the_same_seed_draws_the_same_points_and_another_seed_others():
    drawn = {"path": "a.config.x", "logUniform": {"min": 1e-5, "max": 1e-1}}
    assert points(search(drawn, samples=5), seed=1) == points(search(drawn, samples=5), seed=1)
    assert points(search(drawn, samples=5), seed=1) != points(search(drawn, samples=5), seed=2)


def test_logarithms_are_drawn_uniformly():
    drawn = {"path": "x", "logUniform": {"min": 1e-5, "max": 1e-1}}
    logs = [math.log10(point["x"]) for point in points(search(drawn, samples=2000), seed=0)]
    assert min(logs) >= -5
    assert max(logs) <= -1
    # The mean of a uniform variable over [-5, -1] is -3 with a standard error of 1.155 / sqrt(2000) = 0.026.
    assert abs(sum(logs) / len(logs) + 3) < 0.13


def test_choices_are_all_drawn_and_may_be_anything():
    drawn = {"path": "x", "choice": ["relu", [64, 64], None, {"a": 1}]}
    found = [point["x"] for point in points(search(drawn, samples=100), seed=0)]
    assert all(value in found for value in drawn["choice"])


def test_short_names_are_the_last_part_unless_two_share_it():
    assert short_names(["algorithm.config.lr", "algorithm.model.lr", "environment.config.cost"]) == {
        "algorithm.config.lr": "algorithm.config.lr",
        "algorithm.model.lr": "algorithm.model.lr",
        "environment.config.cost": "cost",
    }
