"""A word while nothing finishes."""

import time

from trainyard.training.heartbeat import Heartbeat


def test_a_phase_that_goes_on_is_told_of_again_and_again():
    said = []
    heartbeat = Heartbeat(said.append, every=0.1)
    steps = iter(range(1000, 10_000, 1000))
    with heartbeat.during(lambda: f"validation: {next(steps):,} steps"):
        time.sleep(0.5)
    heartbeat.end()
    assert said[0].startswith("validation: 1,000 steps, after 0.")
    assert 2 <= len(said) <= 5


def test_short_phases_are_not_told_of():
    said = []
    heartbeat = Heartbeat(said.append, every=0.5)
    for number in range(20):
        with heartbeat.during(lambda number=number: f"iteration {number}"):
            time.sleep(0.05)
    heartbeat.end()
    assert said == []


def test_what_fails_to_be_told_does_not_end_the_telling(caplog):
    said = []

    def say(words):
        said.append(words)
        raise OSError("the disk is full")

    heartbeat = Heartbeat(say, every=0.1)
    with heartbeat.during(lambda: "iteration 1"):
        time.sleep(0.5)
    heartbeat.end()
    assert len(said) >= 2
    assert "the disk is full" in caplog.text
