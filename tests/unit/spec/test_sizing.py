"""Logical CPUs against the contract that the operator's arithmetic is tested against too."""

import json
from pathlib import Path

import pytest

from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse
from trainyard.spec.sizing import GIB, concurrent_trials, gpus, logical_cpus, need, trial_count

CASES = json.loads((Path(__file__).parents[3] / "manifests" / "contract" / "sizing.json").read_text(encoding="utf-8"))[
    "cases"
]


def complete(spec):
    """The contract's specifications say only what matters for their size."""
    return ({"stop": {"iterations": 1}} if "algorithm" in spec else {}) | normalise_numbers(spec)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_logical_cpus_and_gpus_are_those_of_the_contract(case):
    specification = parse(complete(case["spec"]))
    assert (logical_cpus(specification), gpus(specification)) == (case["logicalCpus"], case.get("gpus", 0))


def search(parameters, **fields):
    return parse(
        {
            "trainable": {"function": "m:f"},
            "search": {"parameters": parameters, "metric": "r", "mode": "max"} | fields,
        }
    )


def test_trials_are_the_product_of_the_grids_times_the_samples():
    grid_a = {"path": "trainable.config.a", "grid": [1, 2, 3]}
    grid_b = {"path": "trainable.config.b", "grid": [1, 2]}
    drawn = {"path": "trainable.config.c", "uniform": {"min": 0, "max": 1}}
    specification = search([grid_a, grid_b, drawn], samples=4, maxConcurrentTrials=5)
    assert trial_count(specification) == 24
    assert concurrent_trials(specification) == 5


def test_memory_is_counted_per_process_and_shown_as_arithmetic():
    specification = parse(
        {
            "algorithm": {"name": "PPO"},
            "environment": {"name": "x"},
            "stop": {"iterations": 1},
            "sampling": {"envRunners": 10, "memoryPerEnvRunner": "1Gi"},
        }
    )
    needed = need(specification)
    assert needed.memory_bytes == pytest.approx((1.5 + 1 + 10) * GIB)
    assert needed.explanation == "1.5 GiB Ray services + 1.0 GiB driver + 10 env runners x 1.00 GiB = 12.5 GiB"
