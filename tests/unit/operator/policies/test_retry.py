from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    JOB,
    NAME,
    NOW,
    UID,
    ago,
    alive,
    at,
    failed_attempt,
    line,
    observed,
    plan,
    provisioning,
    running,
)
from trainyard_operator.model import Failure, FailureKind, KeepResults
from trainyard_operator.policies.retry import delay, retry
from trainyard_operator.settings import Timing
from trainyard_operator.vocabulary import Phase

CRASH = Failure(FailureKind.RUN, "DriverFailed", "exit 1", 1, "last words")


def decided(one, failure=None, context=CONTEXT):
    return retry(one, replace(plan(one), failure=failure), context)


class TestAChargedFailure:
    def test_ends_the_attempt_and_waits_for_the_next(self) -> None:
        status = decided(alive(running()), CRASH).status
        assert (status.phase, status.failures, status.attempt) == (Phase.PENDING, 1, 1)
        assert status.next_attempt_time == NOW + timedelta(seconds=delay(1, UID, Timing()))
        (attempt,) = status.attempts
        assert (attempt.number, attempt.cluster_name, attempt.job_id) == (1, NAME, JOB)
        assert (attempt.reason, attempt.exit_code, attempt.log_tail) == ("DriverFailed", 1, "last words")
        assert status.failure.log_tail == "last words"

    @pytest.mark.parametrize(
        ("before", "limit", "phase"),
        [
            (0, 0, Phase.FAILED),
            (0, 1, Phase.PENDING),
            (1, 1, Phase.FAILED),
            (2, 3, Phase.PENDING),
            (3, 3, Phase.FAILED),
        ],
    )
    def test_is_held_against_the_limit(self, before, limit, phase) -> None:
        made = decided(alive(running(failures=before), spec={"backoffLimit": limit}), CRASH)
        assert (made.status.phase, made.status.failures) == (phase, before + 1)

    def test_keeps_the_last_five_attempts(self) -> None:
        history = tuple(failed_attempt(n) for n in range(1, 6))
        status = decided(alive(running(attempt=6, attempts=history), spec={"backoffLimit": 9}), CRASH).status
        assert [a.number for a in status.attempts] == [2, 3, 4, 5, 6]

    def test_stops_the_clock(self) -> None:
        status = decided(alive(running(active_seconds=5)), CRASH).status
        assert (status.active_seconds, status.attempt_start_time) == (15, None)

    def test_cuts_the_log_to_its_last_four_kibibytes(self) -> None:
        status = decided(alive(running()), replace(CRASH, log_tail="x" * 100 + "\n" + "y" * 4090 + "\nend")).status
        assert status.attempts[0].log_tail == "y" * 4090 + "\nend"
        assert len(status.failure.log_tail.encode()) <= 4096


@pytest.mark.parametrize("kind", [FailureKind.USER, FailureKind.FINAL])
def test_what_a_retry_cannot_cure_ends_the_run_without_a_charge(kind) -> None:
    status = decided(alive(running()), replace(CRASH, kind=kind)).status
    assert (status.phase, status.failures, status.completion_time) == (Phase.FAILED, 0, NOW)
    assert status.failure.kind == ("User" if kind == FailureKind.USER else "Run")


def test_a_failed_run_keeps_its_results_too() -> None:
    made = decided(alive(running(), progress=line(final=True), spec={"backoffLimit": 0}), CRASH)
    assert [type(e) for e in made.effects] == [KeepResults]


def test_a_run_that_never_started_has_no_attempt() -> None:
    failure = Failure(FailureKind.USER, "InvalidSpec", "no", field="spec.image")
    status = decided(observed(), failure).status
    assert (status.attempts, status.phase, status.start_time) == ((), Phase.FAILED, None)
    assert status.failure.field == "spec.image"


class TestTheNextAttempt:
    over = running(phase=Phase.PENDING, attempts=(failed_attempt(),), failures=1, next_attempt_time=ago(-5))

    def test_waits_for_its_time(self) -> None:
        made = decided(alive(self.over))
        assert (made.status, made.requeue_after) == (self.over, 5)

    def test_raises_both_counters_and_starts_nothing(self) -> None:
        made = decided(alive(self.over), context=at(5))
        assert (made.status.attempt, made.status.submission) == (2, 2)
        assert made.effects == ()
        assert (made.status.cluster_name, made.status.job_id, made.status.next_attempt_time) == (None, None, None)
        assert made.requeue_after == 0

    def test_comes_at_once_after_a_suspension(self) -> None:
        resumed = provisioning(phase=Phase.PENDING, attempts=(failed_attempt(reason="Suspended"),))
        assert decided(observed(resumed)).status.attempt == 2

    @pytest.mark.parametrize("phase", [Phase.SUSPENDED, Phase.FAILED, Phase.SUCCEEDED])
    def test_does_not_come_for_a_run_that_is(self, phase) -> None:
        one = observed(provisioning(phase=phase, attempts=(failed_attempt(),)))
        assert decided(one) == plan(one)


def test_the_delay_doubles_up_to_its_limit_and_a_quarter() -> None:
    for failures, least in enumerate([5, 10, 20, 40, 80, 160, 300, 300], start=1):
        assert least <= delay(failures, UID, Timing()) < least * 1.25


def test_runs_that_fail_together_do_not_come_back_together() -> None:
    delays = sorted(delay(1, f"uid-{n}", Timing()) for n in range(400))
    assert delays == sorted(delay(1, f"uid-{n}", Timing()) for n in range(400)), "the same in every pass"
    assert [round(delays[n], 1) for n in (0, 200, 399)] == pytest.approx([5, 5.6, 6.2], abs=0.1)
