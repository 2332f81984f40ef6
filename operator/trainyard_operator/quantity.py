"""Kubernetes quantities as numbers and back. Pure."""

import math
import re
from decimal import Decimal

_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
    "Pi": Decimal(2**50),
}
_FORM = re.compile(rf"(\d+(?:\.\d*)?|\.\d+)({'|'.join(_SUFFIXES)})")
MEBIBYTE = 2**20


def parse(quantity: str | int | float) -> float:
    """The number for a quantity such as 500m, 2 or 4Gi. Raises ValueError if the text is not a quantity."""
    text = str(quantity).strip()
    parts = _FORM.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not a quantity of 0 or more; write for instance 500m, 2, 4Gi")
    return float(Decimal(parts[1]) * _SUFFIXES[parts[2]])


def cpu(cores: float) -> str:
    """Cores as a quantity in whole millicores, rounded up."""
    milli = math.ceil(round(cores * 1000, 6))
    return str(milli // 1000) if milli % 1000 == 0 else f"{milli}m"


def memory(size: float) -> str:
    """Bytes as a quantity in whole mebibytes, rounded up."""
    mebibytes = math.ceil(size / MEBIBYTE)
    return f"{mebibytes // 1024}Gi" if mebibytes % 1024 == 0 else f"{mebibytes}Mi"
