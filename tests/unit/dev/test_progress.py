"""Progress of long steps: announced, timed, and honest about failure."""

import io

import pytest

from dev.cluster.steps import Steps, duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.2 s"), (47.4, "47 s"), (312, "5 min 12 s"), (60, "1 min 00 s"), (119.7, "2 min 00 s")],
)
def test_duration_is_short_and_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_step_says_what_it_does_and_how_long_it_took() -> None:
    out, times = io.StringIO(), iter([100.0, 102.5])
    with Steps(out=out, clock=lambda: next(times)).step("building"):
        pass
    assert out.getvalue().splitlines() == ["==> building", " ok building (2.5 s)"]


def test_a_failed_step_says_so_and_lets_the_error_through() -> None:
    out, times = io.StringIO(), iter([0.0, 12.0])
    with pytest.raises(OSError, match="disk full"), Steps(out=out, clock=lambda: next(times)).step("building"):
        raise OSError("disk full")
    assert out.getvalue().splitlines()[-1] == "  ! building: failed after 12 s"
