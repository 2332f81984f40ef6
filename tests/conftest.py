"""Fixtures that several kinds of tests share."""

import inspect
import sys
import traceback
from collections.abc import Iterator

import pytest

from tests.databases import postgresql_url as postgresql_url


@pytest.fixture(scope="session", autouse=True)
def stack_without_source() -> Iterator[None]:
    """RLlib takes the whole stack for every connector that it makes, and needs a frame of it, not its lines of source.

    pytest's stack is deep, and to look for the source of each of its frames takes longer than the rest of a Learner.
    """

    def stack(context: int = 1) -> list[inspect.FrameInfo]:
        return [
            inspect.FrameInfo(frame, frame.f_code.co_filename, number, frame.f_code.co_name, None, None)
            for frame, number in traceback.walk_stack(sys._getframe(1))
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", stack)
        yield
