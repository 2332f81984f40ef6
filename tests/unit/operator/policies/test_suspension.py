import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    JOB,
    NAME,
    NOW,
    ago,
    alive,
    cluster,
    failed_attempt,
    head,
    job,
    observed,
    plan,
    provisioning,
    running,
)
from trainyard_operator.decide import decide
from trainyard_operator.model import JobState, Observed
from trainyard_operator.policies.suspension import suspension
from trainyard_operator.vocabulary import ConditionType, Phase, Reason


def decided(one: Observed):
    return suspension(one, plan(one), CONTEXT)


class TestSpecSuspend:
    def test_ends_the_attempt_without_a_charge(self) -> None:
        status = decided(alive(running(), job=job(), spec={"suspend": True})).status
        assert status.phase == Phase.SUSPENDED
        assert [a.reason for a in status.attempts] == [Reason.SUSPENDED]
        assert (status.attempts[0].cluster_name, status.attempts[0].job_id) == (NAME, JOB)
        assert status.failures == 0

    def test_stops_the_clocks(self) -> None:
        status = decided(alive(running(active_seconds=7), job=job(), spec={"suspend": True})).status
        assert status.attempt_start_time is None
        assert status.active_seconds == 17

    def test_before_the_start_needs_no_attempt(self) -> None:
        status = decided(observed(spec={"suspend": True})).status
        assert (status.phase, status.attempts) == (Phase.SUSPENDED, ())

    def test_ends_the_attempt_of_a_cluster_whose_creation_is_not_on_record(self) -> None:
        status = decided(alive(spec={"suspend": True})).status
        assert status.attempts[0].cluster_name == NAME

    def test_leaves_an_ended_run_alone(self) -> None:
        one = observed(running(phase=Phase.SUCCEEDED), spec={"suspend": True})
        assert decided(one) == plan(one)

    def test_is_said_once_although_the_pass_is_repeated(self) -> None:
        first = decided(alive(running(), job=job(), spec={"suspend": True})).status
        assert decided(alive(first, spec={"suspend": True})).status == first

    def test_taken_back_lets_the_run_go_on(self) -> None:
        status = decided(observed(provisioning(phase=Phase.SUSPENDED, attempts=(failed_attempt(),)))).status
        assert status.phase == Phase.PENDING


class TestAClusterSuspendedBySomebodyElse:
    def test_is_queued_and_the_chain_ends(self) -> None:
        made = decided(alive(running(), job=job(), cluster=cluster(suspended=True)))
        assert made.done
        assert made.status.phase == Phase.QUEUED
        assert made.status.condition(ConditionType.QUOTA_RESERVED).status == "False"
        assert made.effects == ()

    def test_gets_a_new_submission_and_no_charge(self) -> None:
        status = decided(alive(running(), job=job(), cluster=cluster(suspended=True))).status
        assert (status.attempt, status.submission, status.job_id, status.failures) == (1, 2, None, 0)

    def test_before_any_submission_keeps_the_number(self) -> None:
        status = decided(alive(provisioning(), cluster=cluster(suspended=True))).status
        assert status.submission == 1

    def test_raises_the_number_once(self) -> None:
        first = decided(alive(running(), job=job(), cluster=cluster(suspended=True))).status
        assert decided(alive(first, cluster=cluster(suspended=True))).status == first

    def test_counts_no_active_time(self) -> None:
        status = decided(alive(running(), job=job(), cluster=cluster(suspended=True))).status
        assert (status.active_seconds, status.attempt_start_time) == (10, None)

    def test_released_starts_the_provisioning_clock_again(self) -> None:
        queued = provisioning(phase=Phase.QUEUED, attempt_start_time=None, active_seconds=10)
        status = decided(alive(queued)).status
        assert (status.phase, status.attempt_start_time) == (Phase.PROVISIONING, NOW)
        assert status.is_true(ConditionType.QUOTA_RESERVED)

    @pytest.mark.parametrize("attempts", [(failed_attempt(),)])
    def test_of_an_ended_attempt_does_not_matter(self, attempts) -> None:
        one = alive(running(attempts=attempts, next_attempt_time=ago(-5)), cluster=cluster(suspended=True))
        assert decided(one) == plan(one)


STOPS = [{"spec": {"suspend": True}}, {"cluster": cluster(suspended=True)}]


@pytest.mark.parametrize("stop", STOPS, ids=["spec.suspend", "Kueue"])
class TestAJobThatMayHaveEnded:
    """Read before it is thrown away and trained again."""

    def test_is_read_first(self, stop) -> None:
        made = decided(alive(running(), **stop))
        assert (made.status, made.poll_after) == (running(), 0)

    def test_is_read_although_its_head_is_going(self, stop) -> None:
        assert decided(alive(running(), pods=(head(deleting=True),), **stop)).poll_after == 0

    def test_and_has_succeeded_is_a_success(self, stop) -> None:
        one = alive(running(), job=job(JobState.SUCCEEDED, 0), **stop)
        assert decided(one) == plan(one)
        assert decide(one, NOW, CONTEXT.settings).status.phase == Phase.SUCCEEDED

    @pytest.mark.parametrize("state", [JobState.UNREACHABLE, JobState.ABSENT])
    def test_and_does_not_say_is_asked_for_ten_seconds(self, stop, state) -> None:
        made = decided(alive(running(), job=job(state), silence=9.9, **stop))
        assert (made.status, made.poll_after) == (running(), 0.3)

    @pytest.mark.parametrize("state", [JobState.RUNNING, JobState.UNREACHABLE, JobState.ABSENT, JobState.FAILED])
    def test_and_has_not_succeeded_is_stopped(self, stop, state) -> None:
        made = decided(alive(running(), job=job(state), silence=10, **stop))
        assert made.status.phase in (Phase.SUSPENDED, Phase.QUEUED)

    def test_cannot_be_read_without_a_head(self, stop) -> None:
        assert decided(alive(running(), pods=(), **stop)).status.phase in (Phase.SUSPENDED, Phase.QUEUED)
