from datetime import UTC, datetime, timedelta

import pytest

from trainyard_operator.clock import SteadyClock

START = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Clocks:
    """A wall clock that somebody sets, and one that nobody can."""

    def __init__(self) -> None:
        self.wall, self.monotonic = START, 100.0
        self.steady = SteadyClock(lambda: self.wall, lambda: self.monotonic)

    def pass_by(self, seconds: float) -> float:
        """The seconds that have passed by the steady clock since the start."""
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds
        return (self.steady() - START).total_seconds()


@pytest.mark.parametrize("hours", [1, -1])
def test_a_jump_of_the_wall_clock_makes_no_deadline_pass(hours) -> None:
    clocks = Clocks()
    assert clocks.pass_by(10) == 10
    clocks.wall += timedelta(hours=hours)
    assert clocks.pass_by(60) == pytest.approx(70, abs=6.1)


def test_a_correction_is_caught_up_with() -> None:
    clocks = Clocks()
    clocks.wall += timedelta(seconds=5)
    for _ in range(100):
        clocks.pass_by(1)
    assert clocks.steady() == clocks.wall


def test_it_never_goes_back() -> None:
    clocks = Clocks()
    clocks.wall -= timedelta(hours=1)
    times = [clocks.pass_by(seconds) for seconds in (0, 0.1, 5, 0, 100)]
    assert times == sorted(times)
