"""Times as the API writes them (RFC 3339, UTC, whole seconds), and a clock that does not jump."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


def to_text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str | None) -> datetime | None:
    """Raises ValueError if the text is not an RFC 3339 time."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def from_unix(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


class SteadyClock:
    """The wall clock without its jumps, so that a jump never makes a deadline pass.

    It advances with the monotonic clock and follows the wall clock at `slew` seconds a second. It follows a correction
    by one second within about ten seconds; a correction by an hour has hardly any effect for hours.
    """

    def __init__(self, wall: Callable[[], datetime], monotonic: Callable[[], float], slew: float = 0.1) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._slew = slew
        self._time = wall()
        self._read = monotonic()

    def __call__(self) -> datetime:
        now = self._monotonic()
        passed, self._read = now - self._read, now
        self._time += timedelta(seconds=passed)
        most = timedelta(seconds=passed * self._slew)
        self._time += max(-most, min(most, self._wall() - self._time))
        return self._time
