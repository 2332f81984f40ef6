"""What Learners say about an update, compared."""

from __future__ import annotations

import numpy as np


def assert_same_results(expected: dict, actual: dict, path: str = "") -> None:
    assert expected.keys() == actual.keys(), path
    for key, value in expected.items():
        where = f"{path}/{key}"
        if key == "timers" or key.endswith(("timer", "throughput")):
            continue
        if isinstance(value, dict):
            assert_same_results(value, actual[key], where)
        else:
            np.testing.assert_allclose(actual[key], value, rtol=2e-3, atol=2e-4, err_msg=where)
