"""The one rule for numbers that are NaN or infinite: what counts as one, how it is named, how many are tolerated.

docs/environments.md has the rule in words. Imports neither Ray nor torch: runners of whole episodes use it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

FIELD = "spec.sampling.nonFinite.tolerate"
LEARNER_REMEDY = "a lower learning rate, grad_clip, or smaller rewards and observations may help"
REMEDY = f"correct the environment, or let a share of such episodes be left out with {FIELD}"


def is_finite(value: Any) -> bool:
    """Whether all numbers of a reward, an action or an observation (which may be a dictionary or tuple) are finite."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fc":
            return value.dtype.kind != "O" or all(map(is_finite, value.flat))
        # One pass without a temporary array; a sum may overflow where no number is infinite.
        return math.isfinite(np.add.reduce(value, axis=None)) or bool(np.isfinite(value).all())
    if isinstance(value, float | np.floating):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(map(is_finite, value.values()))
    return all(map(is_finite, value)) if isinstance(value, tuple | list) else True


def first_fault(value: Any, name: str) -> str:
    """`observation[3] is nan`: the first number of `value` that is not finite, with its place in it."""
    if isinstance(value, Mapping):
        key = next(key for key, part in value.items() if not is_finite(part))
        return first_fault(value[key], f"{name}[{key!r}]")
    if isinstance(value, tuple | list):
        index = next(index for index, part in enumerate(value) if not is_finite(part))
        return first_fault(value[index], f"{name}[{index}]")
    array = np.asarray(value)
    if not array.ndim:
        return f"{name} is {array.item()}"
    place = np.unravel_index(int(np.argmin(np.isfinite(array))), array.shape)
    return f"{name}[{', '.join(map(str, place))}] is {array[place].item()}"


def replaced(value: Any) -> Any:
    """A copy with 0 in the place of every number that is not finite."""
    if isinstance(value, np.ndarray):
        return np.nan_to_num(value, nan=0.0, posinf=0.0, neginf=0.0) if value.dtype.kind in "fc" else value.copy()
    if isinstance(value, Mapping):
        return {key: replaced(part) for key, part in value.items()}
    return type(value)(map(replaced, value)) if isinstance(value, tuple | list) else value


def too_many(left_out: int, episodes: int, tolerate: float) -> bool:
    """Whether more episodes were left out than is tolerated: the share `tolerate` of all, and always one of them.

    left_out: of `episodes`, the finished ones.
    """
    return left_out > (max(1.0, tolerate * episodes) if tolerate else 0)
