"""Kubernetes' notations for amounts: memory (`512Mi`, `2G`) and durations (`1h30m`, `90s`)."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

_SUFFIXES: dict[str, int | Decimal] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50,
}  # fmt: skip
# What the CRD and the operator take of Kubernetes' quantities: no signs, no exponents.
QUANTITY = re.compile(r"([0-9]+(?:[.][0-9]*)?|[.][0-9]+)(m|[kMGTP]|[KMGTP]i)?")
LEAST_MEMORY = 64 * 2**20
MOST_CPUS = 100_000
_DURATION_PART = re.compile(r"([0-9]+(?:[.][0-9]+)?)(ms|h|m|s)")
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern})+")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def quantity(value: int | str) -> Decimal:
    """Return the number that a quantity such as `500m` or `4Gi` means. Raises ValueError for what is none."""
    match = QUANTITY.fullmatch(str(value))
    if match is None:
        raise ValueError("write memory as Kubernetes does, such as 512Mi or 2Gi")
    return Decimal(match[1]) * _SUFFIXES[match[2] or ""]


def parse_bytes(value: object) -> int:
    """Return the bytes that a Kubernetes memory quantity means; a bare number is bytes."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("write memory as Kubernetes does, such as 512Mi or 2Gi")
    return int(quantity(value))


def parse_seconds(value: object) -> float:
    """Return the seconds that a duration such as `1h30m` or `90s` means."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("write a duration with its unit, such as 30m, 1h30m or 90s")
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(value))


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
