"""Reading an environment's configuration: every fault names its field and what to do."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from trainyard.errors import InvalidConfiguration

PREFIX = "spec.environment.config"

# RLlib adds the first to the configuration of an environment that makes its own vector.
_FROM_RLLIB = frozenset({"num_envs"})

Options = TypeVar("Options")


def read_options(kind: type[Options], config: Mapping[str, Any]) -> Options:
    """Make the dataclass ``kind`` of a free-form configuration, refusing unknown and missing keys."""
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    given = {key: value for key, value in config.items() if key not in _FROM_RLLIB}
    for key in given:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            remedy = f"did you mean {near[0]!r}" if near else f"known here: {', '.join(sorted(fields))}"
            raise InvalidConfiguration.of(f"{PREFIX}.{key}", "is not known", remedy)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in given:
            raise InvalidConfiguration.of(f"{PREFIX}.{name}", "is missing", f"set {name}")
    return kind(**given)


def check_number(name: str, value: Any, minimum: float = -math.inf, maximum: float = math.inf) -> None:
    """Refuse a value that is not a finite number from ``minimum`` to ``maximum``, both included."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or not minimum <= value <= maximum:
        raise InvalidConfiguration.of(
            f"{PREFIX}.{name}", f"{value!r} is not a number from {minimum:g} to {maximum:g}", "give such a number"
        )


def check_integer(name: str, value: Any, minimum: int, maximum: int = 2**31) -> None:
    """Refuse a value that is not a whole number from ``minimum`` to ``maximum``, both included."""
    check_number(name, value, minimum, maximum)
    if value != int(value):
        raise InvalidConfiguration.of(f"{PREFIX}.{name}", f"{value!r} is not a whole number", "give a whole number")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a value that is not one of ``choices``."""
    if value not in choices:
        near = difflib.get_close_matches(str(value), choices, n=1)
        remedy = f"did you mean {near[0]!r}" if near else f"choose one of {', '.join(choices)}"
        raise InvalidConfiguration.of(f"{PREFIX}.{name}", f"{value!r} is not one of {', '.join(choices)}", remedy)
