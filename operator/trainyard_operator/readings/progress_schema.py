"""The schema of a progress line (manifests/contract), with the limits of a TrainingRun's status. Pure.

A reader takes a value and its place in the line, and returns the part that the operator uses. Null and unknown fields
are left out (the API server would drop them, and the status would be written again and again), texts for people are
cut, and every other value that does not fit raises ProgressError.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

Reader = Callable[[Any, str], Any]
Fields = Mapping[str, Reader]

INT32 = 2**31 - 1
INT64 = 2**63 - 1
LARGEST = 1e308
"""A larger number would become infinite when it is rounded to a few digits."""
LAST_TIME = 253_370_764_800
"""The end of the year 9999 in Unix seconds: the latest time that a timestamp can have."""


class ProgressError(ValueError):
    """The progress file's tail cannot be used; the message says what is wrong with it."""


def number(least: float = -LARGEST, most: float = LARGEST) -> Reader:
    def read(value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise _refused(value, where, f"a number {_between(least, most)}")
        # The API server stores numbers beyond 64 bits as floats.
        return value if abs(value) <= INT64 else float(value)

    return read


def count(most: int = INT64, least: int = 0) -> Reader:
    def read(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _refused(value, where, f"a whole number {_between(least, most)}")
        return value

    return read


def text(most: int) -> Reader:
    """A name. It is not cut, because a part of a name would be another name."""

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or len(value) > most:
            raise _refused(value, where, f"a text of at most {most} characters")
        return value

    return read


def words(most: int, least: int = 0) -> Reader:
    """A text for people, cut if it is too long."""

    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or len(value) < least:
            raise _refused(value, where, f"a text of at least {least} characters")
        return value[:most]

    return read


def matching(pattern: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise _refused(value, where, f"a text like {pattern}")
        return value

    return read


def one_of(*options: str) -> Reader:
    def read(value: Any, where: str) -> str:
        if value not in options:
            raise _refused(value, where, f"one of {', '.join(options)}")
        return str(value)

    return read


def truth(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise _refused(value, where, "true or false")
    return value


def scalar(value: Any, where: str) -> Any:
    """The value of a parameter or of a line of the summary."""
    return value if value is None or isinstance(value, bool | str) else number()(value, where)


def mapping(most: int, entry: Reader) -> Reader:
    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > most:
            raise _refused(value, where, f"an object of at most {most} fields")
        return {key: entry(item, f"{where}.{key}") for key, item in value.items()}

    return read


def sequence(most: int, item: Reader) -> Reader:
    def read(value: Any, where: str) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise _refused(value, where, f"a list of at most {most}")
        return [item(one, f"{where}.{index}") for index, one in enumerate(value)]

    return read


def record(required: Fields, optional: Fields) -> Reader:
    readers = {**required, **optional}

    def read(value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refused(value, where, "an object")
        for key in required:
            if value.get(key) is None:
                raise ProgressError(f"{_path(where, key)} is missing")
        present = {key: reader for key, reader in readers.items() if value.get(key) is not None}
        return {key: reader(value[key], _path(where, key)) for key, reader in present.items()}

    return read


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _refused(value: Any, where: str, expected: str) -> ProgressError:
    found = repr(value)[:80] if isinstance(value, str | int | float) else type(value).__name__
    return ProgressError(f"{where[:200]} is {found}, not {expected}")


def _between(least: float, most: float) -> str:
    return f"from {least:g} to {most:g}" if math.isfinite(least) and math.isfinite(most) else ""


PARAMETERS = mapping(16, scalar)
TRIAL_METRICS = mapping(8, number())

BEST = record(
    {"metric": text(256), "value": number()},
    {"iteration": count(), "trial": text(64), "parameters": PARAMETERS, "metrics": TRIAL_METRICS},
)
CHECKPOINT = record({"uri": text(2048), "iteration": count()}, {"time": number(0, LAST_TIME)})
TRIAL = record(
    {"id": text(64), "state": one_of("Pending", "Running", "Succeeded", "Failed"), "parameters": PARAMETERS},
    {
        "hostname": text(253),
        "iteration": count(),
        "durationSeconds": number(0),
        "metrics": TRIAL_METRICS,
        "error": words(512),
    },
)
TRIALS = record(
    {key: count(INT32) for key in ("total", "pending", "running", "succeeded", "failed")}
    | {"items": sequence(100, TRIAL)},
    {"best": BEST},
)
PROGRESS = record(
    {},
    {
        "percent": number(0, 100),
        "estimatedSecondsLeft": number(0),
        "iteration": count(),
        "envSteps": count(),
        "envStepsPerSecond": number(0),
        "episodes": count(),
        "episodesPerSecond": number(0),
        "episodesPerIteration": number(0),
        "episodeReturnMean": number(),
    },
)
ANALYSIS = record(
    {},
    {
        "convergence": record(
            {"trend": one_of("Improving", "Converged", "Worsening", "Unclear", "TooShort"), "points": count()},
            dict.fromkeys(("slope", "slopeStandardError", "lateGain", "diminishingReturns"), number()),
        ),
        "overfitting": record(
            {"verdict": one_of("No", "Suspected", "Yes", "Unknown")},
            {"bestIteration": number(0), **dict.fromkeys(("fall", "trainChange", "validationSlope"), number())},
        ),
        "generalisation": record(
            {"metric": text(256)},
            dict.fromkeys(("validationGap", "testGap"), number())
            | dict.fromkeys(("validationVerdict", "testVerdict"), one_of("Better", "Worse", "Unclear")),
        ),
    },
)
CONDITION = record(
    {
        "type": matching("[A-Z][A-Za-z]{0,63}"),
        "status": one_of("True", "False", "Unknown"),
        "reason": matching("[A-Z][A-Za-z0-9]{0,63}"),
        "message": words(1024),
    },
    {},
)
FAILURE = record(
    {"kind": one_of("User", "Run"), "reason": words(64, least=1), "message": words(2048)},
    {"field": words(256)},
)
LINE = record(
    {"seq": count(least=1), "time": number(0, LAST_TIME), "final": truth, "progress": PROGRESS},
    {
        "startedIteration": count(),
        "lostIterations": count(),
        "metrics": mapping(64, number()),
        "trials": TRIALS,
        "best": BEST,
        "checkpoint": record({}, {"latest": CHECKPOINT, "best": CHECKPOINT}),
        "analysis": ANALYSIS,
        "conditions": sequence(8, CONDITION),
        "failure": FAILURE,
        "summary": mapping(64, scalar),
    },
)
