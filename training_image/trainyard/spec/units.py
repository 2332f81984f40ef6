"""Kubernetes' notations for amounts: memory (`512Mi`, `2G`) and durations (`1h30m`, `90s`)."""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator

_SUFFIXES: dict[str, int | Decimal] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)([mkMGTPE]|[KMGTPE]i)?", re.ASCII)
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def parse_bytes(value: object) -> int:
    """Return the bytes that a Kubernetes memory quantity means; a bare number is bytes."""
    match = _QUANTITY.fullmatch(str(value)) if isinstance(value, int | str) and not isinstance(value, bool) else None
    if match is None:
        raise ValueError("write memory as Kubernetes does, such as 512Mi or 2Gi")
    amount = int(Decimal(match[1]) * _SUFFIXES[match[2] or ""])
    if amount <= 0:
        raise ValueError("write an amount of memory greater than 0, such as 512Mi")
    return amount


def parse_seconds(value: object) -> float:
    """Return the seconds that a duration such as `1h30m` or `90s` means."""
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError("write a duration with its unit, such as 30m, 1h30m or 90s")
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if seconds <= 0:
        raise ValueError("a duration must be more than 0s")
    return seconds


Bytes = Annotated[int, BeforeValidator(parse_bytes)]
Seconds = Annotated[float, BeforeValidator(parse_seconds)]
