import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    NOW,
    ago,
    alive,
    at,
    failed_attempt,
    job,
    line,
    observed,
    plan,
    provisioning,
    running,
    stuck,
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
        made = decided(alive(status, spec={"activeDeadlineSeconds": limit}))
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
        one = alive(provisioning(), pods=(stuck("Unschedulable", "0/1 nodes: Insufficient memory"),))
        one_with_limit = alive(provisioning(), pods=one.pods, spec={"provisioningDeadlineSeconds": 10})
        seen = provisioning_policy(one_with_limit, plan(one_with_limit), CONTEXT)
        failure = deadlines(one_with_limit, seen, CONTEXT).failure
        assert (failure.kind, failure.reason) == (FailureKind.FINAL, Reason.PROVISIONING_DEADLINE)
        assert "Unschedulable" in failure.message
        assert "Insufficient memory" in failure.message

    def test_is_not_there_before_its_time(self) -> None:
        made = decided(alive(provisioning(), spec={"provisioningDeadlineSeconds": 11}))
        assert (made.failure, made.requeue_after) == (None, 1)

    def test_covers_workers_that_never_come_while_the_driver_waits_for_them(self) -> None:
        assert decided(alive(running(), spec={"provisioningDeadlineSeconds": 10})).failure

    def test_covers_a_ready_head_that_never_takes_the_job(self) -> None:
        ready = with_condition(provisioning(cluster_ready_time=ago(5)), "ClusterReady", True, "PodsReady", "", NOW, 1)
        refused = with_condition(ready, "Running", False, "JobNotTaken", "the dashboard refuses the token", NOW, 1)
        failure = decided(alive(refused, spec={"provisioningDeadlineSeconds": 10})).failure
        assert "refuses the token" in failure.message

    @pytest.mark.parametrize(
        "status_and_reading",
        [
            (running(cluster_ready_time=ago(3)), None),
            (running(), line(progress={"iteration": 1})),
            (running(), line(progress={}, trials={"total": 2, "running": 1, "succeeded": 0})),
        ],
        ids=["all pods were ready once", "iterations are done", "trials run"],
    )
    def test_is_over_with(self, status_and_reading) -> None:
        status, reading = status_and_reading
        one = alive(status, progress=reading, spec={"provisioningDeadlineSeconds": 10})
        assert decided(one, at(10_000)).failure is None

    def test_of_an_ended_attempt_does_not_count(self) -> None:
        one = observed(provisioning(attempts=(failed_attempt(),)), spec={"provisioningDeadlineSeconds": 1})
        assert decided(one).failure is None

    def test_is_ten_minutes_when_nobody_says(self) -> None:
        assert decided(alive(provisioning())).requeue_after == 590
