"""How often something may be done: some times at once, then at a steady pace (a token bucket). Pure."""

from dataclasses import dataclass


@dataclass
class Allowance:
    """`burst` times at once, and one more every `seconds`; the clock is an argument, in seconds of any origin."""

    burst: int = 5
    seconds: float = 10.0
    _left: float | None = None
    _counted: float = 0

    def wait(self, now: float) -> float:
        """Seconds until it may be done once more."""
        return max(0.0, (1 - self._at(now)) * self.seconds)

    def take(self, now: float) -> None:
        """It is done."""
        self._left, self._counted = self._at(now) - 1, now

    def _at(self, now: float) -> float:
        if self._left is None:
            return self.burst
        return min(self.burst, self._left + (now - self._counted) / self.seconds)
