"""The composed chain: its order, and lives of runs that only the order makes right."""

from dataclasses import replace

import pytest

from tests.unit.operator.builders import (
    JOB,
    NAME,
    NOW,
    SETTINGS,
    ago,
    alive,
    cluster,
    ended,
    failed_attempt,
    head,
    job,
    line,
    observed,
    provisioning,
    running,
    stuck,
    submitted,
)
from trainyard_operator.decide import ALWAYS, CHAIN, decide
from trainyard_operator.model import CreateCluster, Created, DeleteCluster, JobState, NotYet, Plan, SubmitJob, Submitted
from trainyard_operator.settle import settle
from trainyard_operator.vocabulary import ConditionType, Phase, Reason


def decided(one, now=NOW) -> Plan:
    return decide(one, now, SETTINGS)


def kinds(plan: Plan) -> list[type]:
    return [type(effect) for effect in plan.effects]


def test_the_order_is_the_specification() -> None:
    names = [policy.__name__ for policy in CHAIN]
    assert names == [
        "admission",
        "suspension",
        "resumption",
        "provisioning",
        "selection",
        "deadlines",
        "submission",
        "reporting",
        "completion",
        "retry",
    ]
    assert [policy.__name__ for policy in ALWAYS] == ["stopping", "cleanup", "retention", "summary"]


class TestOrder:
    def test_a_suspended_cluster_is_queued_although_its_head_is_gone(self) -> None:
        plan = decided(alive(running(), cluster=cluster(suspended=True), pods=()))
        assert (plan.status.phase, plan.status.failures, kinds(plan)) == (Phase.QUEUED, 0, [])

    def test_a_queued_run_meets_no_deadline(self) -> None:
        queued = provisioning(phase=Phase.QUEUED, attempt_start_time=None, active_seconds=99)
        one = alive(queued, cluster=cluster(suspended=True), spec={"activeDeadlineSeconds": 1})
        assert decided(one).status.phase == Phase.QUEUED

    def test_the_last_line_is_taken_in_before_the_run_ends(self) -> None:
        last = line(final=True, progress={"iteration": 10, "percent": 100})
        plan = decided(alive(running(), job=job(JobState.SUCCEEDED, 0), progress=last))
        assert plan.status.phase == Phase.SUCCEEDED
        assert plan.status.progress["iteration"] == 10

    def test_a_deadline_names_what_the_pods_say_in_the_same_pass(self) -> None:
        status = provisioning(provisioning_steps=4)
        one = alive(status, pods=(stuck("ErrImagePull", "x"),), spec={"provisioningDeadlineSeconds": 1})
        plan = decided(one)
        assert plan.status.phase == Phase.FAILED
        assert "ErrImagePull" in plan.status.failure.message

    def test_nothing_is_created_for_a_refused_run(self) -> None:
        plan = decided(observed(spec={"sampling": {"envRunners": 300}, "cluster": {"worker": {"replicas": 1}}}))
        assert (plan.status.phase, kinds(plan), plan.status.start_time) == (Phase.FAILED, [], None)
        assert plan.status.is_true(ConditionType.STALLED)

    def test_a_retry_never_creates_in_the_pass_that_raises_the_number(self) -> None:
        over = running(phase=Phase.PENDING, attempts=(failed_attempt(),), failures=1, next_attempt_time=ago(0))
        plan = decided(observed(over))
        assert (plan.status.attempt, kinds(plan)) == (2, [])
        assert kinds(decided(observed(plan.status))) == [CreateCluster]

    def test_a_stray_goes_while_kuberay_is_all_there_is_to_wait_for(self) -> None:
        plan = decided(observed(running(), kuberay=False, strays=(cluster(name="old"),)))
        assert kinds(plan) == [DeleteCluster]


class TestAWholeLife:
    def test_every_step_follows_from_the_one_before(self) -> None:
        first = decided(observed())
        assert kinds(first) == [CreateCluster]
        created = settle(observed(), first, [Created(cluster())], NOW, SETTINGS).status
        assert created.cluster_name == NAME
        second = decided(alive(created))
        assert kinds(second) == [SubmitJob]
        accepted = settle(alive(created), second, [Submitted(JOB)], NOW, SETTINGS).status
        assert (accepted.job_id, accepted.submit_time) == (JOB, NOW)
        third = decided(alive(accepted, job=job()))
        assert (third.status.phase, kinds(third)) == (Phase.RUNNING, [])
        fourth = decided(alive(third.status, job=job(JobState.SUCCEEDED, 0)))
        assert (fourth.status.phase, kinds(fourth)) == (Phase.SUCCEEDED, [])
        assert kinds(decided(alive(fourth.status, progress_complete=True))) == [DeleteCluster]
        last = decided(observed(fourth.status))
        assert last.status.is_true(ConditionType.CLEANED_UP)
        assert decided(observed(last.status)).status == last.status

    def test_a_lost_head_gives_a_second_attempt_with_the_first_in_the_history(self) -> None:
        lost = decided(alive(running(), pods=(ended(),), log_tail="step 7"))
        assert (lost.status.phase, kinds(lost)) == (Phase.PENDING, [])
        assert lost.status.attempts[0].log_tail == "step 7"
        waiting = decided(alive(lost.status, pods=()))
        assert kinds(waiting) == [DeleteCluster]
        raised = decided(observed(waiting.status), waiting.status.next_attempt_time)
        assert raised.status.attempt == 2
        again = decided(observed(raised.status))
        (effect,) = again.effects
        assert effect.cluster["metadata"]["name"].endswith("-2")

    def test_a_restart_between_effect_and_record_repeats_nothing(self) -> None:
        """The cluster exists, the status was never written."""
        plan = decided(alive(None, may_call=False))
        assert kinds(plan) == []
        assert (plan.status.cluster_name, plan.status.start_time) == (NAME, NOW)

    def test_a_ready_head_that_does_not_take_the_job_is_said_and_asked_again(self) -> None:
        one = alive(provisioning())
        made = settle(one, decided(one), [NotYet("403 wrong token")], NOW, SETTINGS)
        condition = made.status.condition(ConditionType.RUNNING)
        assert (condition.reason, condition.message) == (Reason.JOB_NOT_TAKEN, "403 wrong token")
        assert made.poll_after is not None
        again = decided(alive(made.status)).status.condition(ConditionType.RUNNING)
        assert again == condition
        starting = alive(provisioning(), pods=(head(ready=False),))
        quiet = settle(starting, decided(starting), [NotYet("connection refused")], NOW, SETTINGS)
        assert quiet.status.condition(ConditionType.RUNNING).reason == Reason.DRIVER_NOT_RUNNING

    def test_suspend_and_resume_use_a_new_cluster_and_charge_nothing(self) -> None:
        suspended = decided(alive(running(), job=job(), spec={"suspend": True})).status
        assert kinds(decided(alive(suspended, spec={"suspend": True}))) == [DeleteCluster]
        resumed = decided(observed(suspended)).status
        assert (resumed.attempt, resumed.failures) == (2, 0)
        assert kinds(decided(observed(resumed))) == [CreateCluster]


@pytest.mark.parametrize(
    "one",
    [
        observed(),
        alive(provisioning()),
        alive(submitted(), job=job()),
        alive(running(), job=job(), progress=line()),
        alive(running(), pods=(ended(),)),
        observed(running(phase=Phase.SUCCEEDED, completion_time=NOW)),
        alive(running(), job=job(), spec={"suspend": True}),
        alive(running(), job=job(), cluster=cluster(suspended=True)),
    ],
)
def test_a_second_look_at_the_same_world_changes_nothing_more(one) -> None:
    """Quiet: after a few passes over a world that stands still, nothing is decided that is not on record."""
    seen = [one.run.status]
    for _ in range(4):
        seen.append(decided(replace(one, run=replace(one.run, status=seen[-1]))).status)
    assert seen[-1] == seen[-2]
    assert seen[1] != seen[0] or seen[0].terminal
