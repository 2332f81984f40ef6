"""The points of a search: which parameters each trial gets."""

import itertools
import math
from typing import Any

import numpy as np

from trainyard.spec.sections import Search, SearchParameter

Point = dict[str, Any]


def points(search: Search, seed: int) -> list[Point]:
    """Every point of the grids' product, `samples` times, with the sampled parameters drawn anew for each.

    The order is that of the parameters in the file, the last one fastest; the same seed draws the same points.
    """
    random = np.random.default_rng(seed)
    grids = [[(parameter.path, value) for value in parameter.grid] for parameter in search.parameters if parameter.grid]
    sampled = [parameter for parameter in search.parameters if not parameter.grid]
    found = []
    for _ in range(search.samples):
        for combination in itertools.product(*grids):
            drawn = {parameter.path: draw(parameter, random) for parameter in sampled}
            values = dict(combination) | drawn
            found.append({parameter.path: values[parameter.path] for parameter in search.parameters})
    return found


def draw(parameter: SearchParameter, random: np.random.Generator) -> Any:
    """Draw one value of `choice`, `uniform` or `logUniform`."""
    if parameter.choice:
        return parameter.choice[int(random.integers(len(parameter.choice)))]
    if parameter.uniform:
        return float(random.uniform(parameter.uniform.min, parameter.uniform.max))
    if parameter.log_uniform:
        bounds = math.log(parameter.log_uniform.min), math.log(parameter.log_uniform.max)
        return float(np.clip(math.exp(random.uniform(*bounds)), parameter.log_uniform.min, parameter.log_uniform.max))
    raise ValueError(f"{parameter.path} has no values")


def short_names(paths: list[str]) -> dict[str, str]:
    """Each path by its last part, where that is enough to tell it from the others."""
    last = [path.rsplit(".", 1)[-1] for path in paths]
    return {path: name if last.count(name) == 1 else path for path, name in zip(paths, last, strict=True)}
