"""Streams of random numbers: none is another's."""

import numpy as np
import pytest

from trainyard.runs.seeds import Stream, repetition, seed_of, sequence

RUNNERS, ENVIRONMENTS, REPETITIONS, SEEDS = 8, 8, 10, 10


def seeds_of_a_run(seed):
    own = [seed_of(seed, Stream.VALIDATION), seed_of(seed, Stream.TEST)]
    own += [seed_of(other, Stream.ENVIRONMENT, 0, 0) for other in own]
    own += [seed_of(seed, Stream.RUNNER, runner) for runner in range(RUNNERS + 1)]
    own += [
        seed_of(seed, Stream.ENVIRONMENT, runner, env)
        for runner in range(RUNNERS + 1)
        for env in range(ENVIRONMENTS)
    ]  # fmt: skip
    return own


def test_no_two_streams_of_neighbouring_seeds_and_their_repetitions_are_the_same():
    found = [
        number
        for seed in range(SEEDS)
        for again in range(REPETITIONS)
        for number in seeds_of_a_run(repetition(seed, again))
    ]
    assert len(found) == SEEDS * REPETITIONS * (4 + RUNNERS + 1 + (RUNNERS + 1) * ENVIRONMENTS)
    assert len(set(found)) == len(found)


def test_a_seed_is_one_that_simulators_in_c_take():
    assert all(0 <= seed_of(seed, Stream.ENVIRONMENT, 1) < 2**31 for seed in (0, 7, 2**31 - 1))


def test_the_first_repetition_has_the_seed_of_the_run():
    assert repetition(7, 0) == 7
    assert repetition(7, 1) not in (7, 8)


@pytest.mark.parametrize("other", [(8, Stream.RUNNER, 1), (7, Stream.ENVIRONMENT, 1), (7, Stream.RUNNER, 2)])
def test_streams_of_other_keys_are_uncorrelated(other):
    count = 20_000
    first = np.random.default_rng(sequence(7, Stream.RUNNER, 1)).standard_normal(count)
    second = np.random.default_rng(sequence(*other)).standard_normal(count)
    # The correlation of independent streams has a standard deviation of 1 / sqrt(count).
    assert abs(np.mean(first * second)) < 4 / np.sqrt(count)
