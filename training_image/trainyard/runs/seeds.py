"""Every stream of random numbers of a run, derived from its one seed by numpy's SeedSequence.

Streams of different keys, and those of neighbouring seeds, are independent: no environment of one runner, repetition
or run plays another one's episodes. (Seeds that are counted up from each other are not: `seed + runner + environment`
gives one number to several.) Imports numpy alone, because runners of whole episodes use it.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What a stream is for; never renumber them."""

    RUNNER = 0
    ENVIRONMENT = 1
    VALIDATION = 2
    TEST = 3
    REPETITION = 4
    WHOLE_EPISODES = 5
    EPISODE = 6
    TRIED = 7
    REPLAY = 8


def sequence(seed: int, stream: Stream, *key: int) -> np.random.SeedSequence:
    """The seed sequence of one stream; `key` says which of its kind, for instance runner and environment."""
    return np.random.SeedSequence(seed, spawn_key=(int(stream), *key))


def seed_of(seed: int, stream: Stream, *key: int) -> int:
    """A seed for what takes a number: from 0 to 2**31 - 1, which simulators written in C take, too."""
    return int(sequence(seed, stream, *key).generate_state(1, np.uint32)[0] >> 1)


def repetition(seed: int, number: int) -> int:
    """The seed of a search's repetition, counted from 0; the first is the run's own."""
    return seed_of(seed, Stream.REPETITION, number) if number else seed
