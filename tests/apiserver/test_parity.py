"""One verdict: the library refuses what the API server refuses, and nothing else, whatever is wrong with a file.

A small part of `python -m tests.apiserver.parity`.
"""

from collections import Counter

import pytest

from dev.cluster.apiserver import ApiServer
from tests.apiserver import parity
from tests.apiserver.mutants import Mutants
from tests.apiserver.runs import Runs

MUTANTS = 600
TRAPS = 120


@pytest.fixture(scope="module")
def mutants() -> Mutants:
    return Mutants(parity.schema(), seed=11)


def test_a_file_with_one_thing_or_two_changed_is_judged_alike(mutants: Mutants, runs: Runs) -> None:
    verdicts = list(parity.compared(mutants.draw(MUTANTS), runs))
    assert [str(verdict) for verdict in verdicts if not verdict.agree] == []
    answers = Counter(verdict.server == parity.ACCEPTED for verdict in verdicts)
    assert min(answers[True], answers[False]) > MUTANTS / 5, "mutants that are all good, or all bad, compare nothing"


def test_a_scalar_that_yaml_reads_otherwise_is_judged_alike(mutants: Mutants, server: ApiServer) -> None:
    verdicts = list(parity.compared_as_yaml(mutants.traps(TRAPS), server.kubeconfig))
    assert [str(verdict) for verdict in verdicts if not verdict.agree] == []
    assert any(verdict.server == parity.ACCEPTED for verdict in verdicts)
    assert any(verdict.library for verdict in verdicts)
