"""A token bucket: an action is allowed a few times at once, then at a steady pace. Pure."""

from dataclasses import dataclass


@dataclass
class Allowance:
    """`burst` times at once, and once more every `seconds`. The clock is an argument: seconds from any origin."""

    burst: int = 5
    seconds: float = 10.0
    _left: float | None = None
    _counted: float = 0

    def wait(self, now: float) -> float:
        """Seconds until the action is allowed again."""
        return max(0.0, (1 - self._at(now)) * self.seconds)

    def take(self, now: float) -> None:
        """It is done."""
        self._left, self._counted = self._at(now) - 1, now

    def _at(self, now: float) -> float:
        if self._left is None:
            return self.burst
        return min(self.burst, self._left + (now - self._counted) / self.seconds)
