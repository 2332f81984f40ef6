from dataclasses import replace

import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    NOW,
    ago,
    alive,
    at,
    failed_attempt,
    head,
    job,
    line,
    observed,
    plan,
    provisioning,
    running,
    stuck,
    worker,
)
from trainyard_operator.model import FailureKind, JobState
from trainyard_operator.policies.deadlines import deadlines
from trainyard_operator.policies.provisioning import provisioning as provisioning_policy
from trainyard_operator.status import with_condition
from trainyard_operator.vocabulary import Phase, Reason


def decided(one, context=CONTEXT):
    return deadlines(one, plan(one), context)


class TestActiveDeadline:
    @pytest.mark.parametrize(
        ("closed", "open_for", "limit", "fails"),
        [(0, 10, 11, False), (0, 10, 10, True), (95, 10, 106, False), (95, 10, 105, True)],
        ids=["in time", "on the second", "over two attempts in time", "over two attempts late"],
    )
    def test_covers_all_attempts(self, closed, open_for, limit, fails) -> None:
        status = running(active_seconds=closed, attempt_start_time=ago(open_for), cluster_ready_time=ago(5))
        made = decided(alive(status, job=job(), spec={"activeDeadlineSeconds": limit}))
        assert (made.failure is not None) == fails
        if fails:
            assert (made.failure.kind, made.failure.reason) == (FailureKind.FINAL, Reason.ACTIVE_DEADLINE)
        else:
            assert made.requeue_after == limit - closed - open_for

    def test_none_means_no_limit(self) -> None:
        one = alive(running(attempt_start_time=ago(1e6), cluster_ready_time=ago(5)))
        assert decided(one) == plan(one)

    def test_a_job_that_has_ended_counts_although_it_is_late(self) -> None:
        one = alive(running(), job=job(JobState.SUCCEEDED, 0), spec={"activeDeadlineSeconds": 1})
        assert decided(one).failure is None

    @pytest.mark.parametrize("phase", [Phase.QUEUED, Phase.SUSPENDED])
    def test_stands_still_without_a_clock(self, phase) -> None:
        one = alive(provisioning(phase=phase, attempt_start_time=None), spec={"activeDeadlineSeconds": 1})
        assert decided(one).failure is None


class TestProvisioningDeadline:
    def test_names_the_pods_own_reason(self) -> None:
        pods = (stuck("Unschedulable", "0/1 nodes: Insufficient memory"),)
        one_with_limit = alive(provisioning(provisioning_steps=4), pods=pods, spec={"provisioningDeadlineSeconds": 10})
        seen = provisioning_policy(one_with_limit, plan(one_with_limit), CONTEXT)
        failure = deadlines(one_with_limit, seen, CONTEXT).failure
        assert (failure.kind, failure.reason) == (FailureKind.FINAL, Reason.PROVISIONING_DEADLINE)
        assert "Unschedulable" in failure.message
        assert "Insufficient memory" in failure.message

    def test_is_not_there_before_its_time(self) -> None:
        made = decided(alive(provisioning(), spec={"provisioningDeadlineSeconds": 11}))
        assert (made.failure, made.requeue_after) == (None, 1)

    def test_covers_workers_that_never_come_while_the_driver_waits_for_them(self) -> None:
        assert decided(alive(running(), job=job(), spec={"provisioningDeadlineSeconds": 10})).failure

    def test_covers_a_ready_head_that_never_takes_the_job(self) -> None:
        ready = with_condition(provisioning(cluster_ready_time=ago(5)), "ClusterReady", True, "PodsReady", "", NOW, 1)
        refused = with_condition(ready, "Running", False, "JobNotTaken", "the dashboard refuses the token", NOW, 1)
        failure = decided(alive(refused, spec={"provisioningDeadlineSeconds": 10})).failure
        assert "refuses the token" in failure.message

    @pytest.mark.parametrize(
        "status_and_reading",
        [
            (running(cluster_ready_time=ago(3)), None),
            (running(progress_time=ago(1)), None),
            (running(), line(progress={"iteration": 1})),
            (running(), line(progress={}, trials={"total": 2, "running": 1, "succeeded": 0})),
        ],
        ids=["all pods were ready once", "progress is on record", "iterations are done", "trials run"],
    )
    def test_is_over_with(self, status_and_reading) -> None:
        status, reading = status_and_reading
        one = alive(status, progress=reading, spec={"provisioningDeadlineSeconds": 10})
        assert decided(one, at(10_000)).failure is None

    def test_starts_again_when_the_pods_come_further(self) -> None:
        """A GPU node that is scaled up, then pulls 7 GB: each within the limit, both together not."""
        limit = {"provisioningDeadlineSeconds": 600}
        status, clock = provisioning(attempt_start_time=NOW), 0.0
        for waited, steps in ((5, 1), (550, 2), (550, 3), (550, 4)):
            clock += waited
            one = alive(status, pods=(head(phase="Pending", ready=False, steps=steps),), spec=limit)
            status = provisioning_policy(one, plan(one), at(clock)).status
            assert decided(alive(status, spec=limit), at(clock)).failure is None
            assert status.provisioning_steps == steps
        assert decided(alive(status, spec=limit), at(clock + 599)).failure is None
        assert decided(alive(status, spec=limit), at(clock + 600)).failure

    def test_does_not_start_again_for_pods_that_come_and_go(self) -> None:
        status = provisioning(provisioning_steps=3, provisioning_step_time=ago(9))
        for steps in (1, 2, 3):
            one = alive(status, pods=(head(phase="Pending", ready=False, steps=steps),))
            assert provisioning_policy(one, plan(one), CONTEXT).status.provisioning_step_time == ago(9)

    def test_of_a_wide_cluster_is_not_written_for_every_pod(self) -> None:
        """The steps between two records are not lost: the look that is asked for records them."""
        status = provisioning(provisioning_steps=3, provisioning_step_time=ago(9))
        one = alive(status, pods=(head(phase="Pending", ready=False), *(worker(n, ready=False) for n in range(9))))
        made = provisioning_policy(one, plan(one), CONTEXT)
        assert (made.status.provisioning_steps, made.requeue_after) == (3, 10)
        assert provisioning_policy(one, plan(one), at(21)).status.provisioning_steps == 40

    def test_of_an_ended_attempt_does_not_count(self) -> None:
        one = observed(provisioning(attempts=(failed_attempt(),)), spec={"provisioningDeadlineSeconds": 1})
        assert decided(one).failure is None

    def test_is_ten_minutes_when_nobody_says(self) -> None:
        assert decided(alive(provisioning())).requeue_after == 590


LATE = {"activeDeadlineSeconds": 1, "provisioningDeadlineSeconds": 1}


class TestADeadlineThatHasPassed:
    """It ends a run for good, so it is judged by a fresh reading."""

    def test_has_the_job_read_first(self) -> None:
        made = decided(alive(running(), spec=LATE))
        assert (made.failure, made.poll_after) == (None, 0)

    def test_needs_no_reading_of_a_job_that_nobody_can_ask_for(self) -> None:
        assert decided(alive(running(), pods=(), spec=LATE)).failure.reason == Reason.ACTIVE_DEADLINE
        assert decided(alive(provisioning(), spec=LATE)).failure.reason == Reason.ACTIVE_DEADLINE

    @pytest.mark.parametrize(("silent_for", "fails"), [(None, False), (299, False), (300, True)])
    def test_waits_for_a_silent_dashboard_as_long_as_it_may_be_silent(self, silent_for, fails) -> None:
        status = running()
        if silent_for is not None:
            status = with_condition(status, "Running", "Unknown", "DashboardUnreachable", "", ago(silent_for), 1)
        made = decided(alive(status, job=job(JobState.UNREACHABLE), silence=silent_for or 0, spec=LATE))
        assert (made.failure is not None) == fails

    def test_does_not_take_one_404_for_an_answer(self) -> None:
        assert decided(alive(running(), job=job(JobState.ABSENT), spec=LATE)).failure is None

    def test_is_no_matter_of_provisioning_while_the_progress_file_cannot_be_read(self) -> None:
        one = alive(running(), job=job(), progress_read=False, spec={"provisioningDeadlineSeconds": 1})
        assert decided(one).failure is None
        assert decided(replace(one, progress_read=True)).failure.reason == Reason.PROVISIONING_DEADLINE
