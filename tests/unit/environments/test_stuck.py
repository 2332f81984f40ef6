"""A step that does not return is told of."""

import threading
import time

import pytest

from trainyard.environments.stuck import StuckStep


def wait_for(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_call_that_does_not_return_is_told_of_with_its_place(caplog):
    stuck, go_on = StuckStep("environment 3", first=0.1), threading.Event()

    def simulator():
        go_on.wait(10)

    def call():
        with stuck:
            simulator()

    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: "environment 3 has been in one reset or step" in caplog.text)
    assert stuck.seconds() >= 0.1
    go_on.set()
    thread.join()
    stuck.end()
    assert ", in " in caplog.text
    assert ".py:" in caplog.text
    assert stuck.seconds() == 0


def test_calls_that_return_are_not_told_of(caplog):
    stuck = StuckStep("environment 3", first=0.2)
    for _ in range(40):
        with stuck:
            time.sleep(0.01)
    stuck.end()
    assert not caplog.text


def test_an_error_in_the_call_ends_it():
    stuck = StuckStep("environment 3")
    with pytest.raises(ValueError, match="broken"), stuck:
        raise ValueError("broken")
    assert stuck.seconds() == 0
    stuck.end()
