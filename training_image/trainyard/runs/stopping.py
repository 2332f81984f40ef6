"""When a run ends: any of the stop criteria, or early stopping."""

from dataclasses import dataclass

from trainyard.metrics import Metrics, is_finite_number
from trainyard.spec.sections import Stop


class OutOfTime(Exception):
    """`stop.duration` is over in the middle of an iteration or evaluation, which is given up; no failure of the run."""


@dataclass(frozen=True)
class Counters:
    """Where a run is, over all its attempts. `seconds` is training time."""

    iteration: int = 0
    episodes: int = 0
    env_steps: int = 0
    seconds: float = 0.0


def stop_reason(stop: Stop, counters: Counters, metrics: Metrics) -> str | None:
    """Return why the run ends now, or None. A missing or NaN metric never ends it."""
    reached: list[tuple[float | None, float, str]] = [
        (stop.iterations, counters.iteration, "iterations"),
        (stop.episodes, counters.episodes, "episodes"),
        (stop.env_steps, counters.env_steps, "envSteps"),
        (stop.duration, counters.seconds, "seconds of stop.duration"),
    ]
    for limit, count, what in reached:
        if limit is not None and count >= limit:
            return f"{count:.0f} of {limit:.0f} {what}"
    for rule in stop.metrics:
        value = metrics.get(rule.metric)
        if value is None or not is_finite_number(value):
            continue
        if rule.at_least is not None and value >= rule.at_least:
            return f"{rule.metric} is {value:g}, at least {rule.at_least:g}"
        if rule.at_most is not None and value <= rule.at_most:
            return f"{rule.metric} is {value:g}, at most {rule.at_most:g}"
    return None


def fraction_done(stop: Stop, counters: Counters) -> float | None:
    """Share of the nearest countable criterion that is done, 0 to 1; None when only metrics end the run."""
    pairs = [
        (counters.iteration, stop.iterations),
        (counters.episodes, stop.episodes),
        (counters.env_steps, stop.env_steps),
        (counters.seconds, stop.duration),
    ]
    fractions = [value / limit for value, limit in pairs if limit is not None]
    return min(1.0, max(fractions)) if fractions else None
