from dataclasses import replace

import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    NOW,
    ago,
    alive,
    at,
    cluster,
    ended,
    failed_attempt,
    head,
    job,
    line,
    observed,
    plan,
    provisioning,
    running,
    submitted,
    worker,
)
from trainyard_operator.decide import decide
from trainyard_operator.model import FailureKind, JobState, KeepResults
from trainyard_operator.policies.completion import completion
from trainyard_operator.status import FailureStatus, with_condition
from trainyard_operator.vocabulary import ConditionType, Phase, Reason


def decided(one, context=CONTEXT):
    return completion(one, plan(one), context)


class TestAJobThatRuns:
    def test_makes_the_run_running(self) -> None:
        made = decided(alive(submitted(), job=job()))
        assert made.status.phase == Phase.RUNNING
        assert made.status.is_true(ConditionType.RUNNING)

    def test_is_not_running_while_ray_starts_its_driver(self) -> None:
        made = decided(alive(submitted(), job=job(JobState.PENDING)))
        assert made.status.phase == Phase.PROVISIONING
        assert not made.status.is_true(ConditionType.RUNNING)

    @pytest.mark.parametrize(
        ("one", "seconds"),
        [
            (alive(submitted()), 0.3),
            (alive(running(submit_time=ago(5))), 0.3),
            (alive(running(submit_time=ago(10))), 0.5),
            (alive(running(submit_time=ago(3600))), 1.0),
            (alive(running(submit_time=ago(3600)), progress=line(final=True)), 0.3),
        ],
        ids=["starting", "young", "older", "old", "said its last word"],
    )
    def test_is_polled_by_timer(self, one, seconds) -> None:
        assert decided(one).poll_after == seconds

    def test_is_not_judged_in_a_pass_without_a_reading(self) -> None:
        one = alive(running(), job=None)
        assert decided(one).status == one.run.status


class TestSuccess:
    def test_ends_the_run_and_keeps_the_results_in_the_same_pass(self) -> None:
        made = decided(alive(running(), job=job(JobState.SUCCEEDED, 0), progress=line(final=True, summary={"x": 1})))
        assert (made.status.phase, made.status.completion_time) == (Phase.SUCCEEDED, NOW)
        assert (made.status.attempts[0].reason, made.status.attempts[0].exit_code) == (Reason.SUCCEEDED, 0)
        assert [type(e) for e in made.effects] == [KeepResults]

    def test_without_a_report_has_no_results(self) -> None:
        assert decided(alive(running(), job=job(JobState.SUCCEEDED, 0))).effects == ()

    def test_clears_the_failure_of_earlier_attempts(self) -> None:
        earlier = FailureStatus("Run", "DriverFailed", "exit 1")
        assert decided(alive(running(failure=earlier), job=job(JobState.SUCCEEDED, 0))).status.failure is None

    def test_that_is_read_while_the_head_is_going_counts(self) -> None:
        made = decided(alive(running(), pods=(head(deleting=True),), job=job(JobState.SUCCEEDED, 0)))
        assert (made.failure, made.status.phase) == (None, Phase.SUCCEEDED)

    @pytest.mark.parametrize("final", [True, False])
    def test_keeps_no_line_that_may_not_be_the_last_one(self, final) -> None:
        one = alive(running(), job=job(JobState.SUCCEEDED, 0), progress=line(final=final), progress_complete=False)
        made = decided(one)
        assert made.status.phase == Phase.SUCCEEDED
        assert [type(e) for e in made.effects] == ([KeepResults] if final else [])


USER = {
    "kind": "User",
    "reason": "InvalidConfiguration",
    "message": "lr must be > 0",
    "field": "spec.algorithm.config.lr",
}
RAISED = {"kind": "Run", "reason": "ValueError", "message": "went for a walk"}


class TestFailure:
    @pytest.mark.parametrize(
        ("code", "said", "pods", "kind", "reason"),
        [
            (2, USER, (), FailureKind.USER, "InvalidConfiguration"),
            (2, None, (), FailureKind.USER, Reason.INVALID_SPEC),
            (1, RAISED, (), FailureKind.RUN, "ValueError"),
            (1, None, (), FailureKind.RUN, Reason.DRIVER_FAILED),
            (-9, None, (), FailureKind.RUN, Reason.DRIVER_KILLED),
            (137, None, (), FailureKind.RUN, Reason.DRIVER_KILLED),
            (None, None, (), FailureKind.RUN, Reason.DRIVER_LOST),
            (1, RAISED, (ended("OOMKilled", 137, head=False),), FailureKind.RUN, Reason.OOM_KILLED),
            (2, USER, (ended("OOMKilled", 137, head=False),), FailureKind.USER, "InvalidConfiguration"),
        ],
    )
    def test_takes_the_best_reason_there_is(self, code, said, pods, kind, reason) -> None:
        one = alive(
            running(), job=job(JobState.FAILED, code), pods=(head(), *pods), progress=line(final=True, failure=said)
        )
        failure = decided(one).failure
        assert (failure.kind, failure.reason, failure.exit_code) == (kind, reason, code)

    def test_keeps_the_last_log_lines_and_the_field(self) -> None:
        one = alive(
            running(), job=job(JobState.FAILED, 2), progress=line(final=True, failure=USER), log_tail="Traceback ..."
        )
        failure = decided(one).failure
        assert (failure.log_tail, failure.field) == ("Traceback ...", "spec.algorithm.config.lr")

    @pytest.mark.parametrize("code", [1, None])
    @pytest.mark.parametrize("where", ["log", "message"])
    def test_without_a_word_of_the_driver_begins_with_its_exception(self, code, where) -> None:
        """What a program ends with, not Ray's introduction to a traceback."""
        end = 'Traceback (most recent call last):\n  File "train.py", line 7, in <module>\nKeyError: 1\n'
        said = job(
            JobState.FAILED, code, "Job entrypoint command failed, last logs:\n" + end if where == "message" else ""
        )
        failure = decided(alive(running(), job=said, log_tail=end if where == "log" else "")).failure
        assert failure.message.startswith("KeyError: 1 (train.py:7); ")
        assert failure.reason == (Reason.DRIVER_LOST if code is None else Reason.DRIVER_FAILED)

    def test_keeps_the_first_words_of_a_long_message(self) -> None:
        said = {**RAISED, "message": "ValueError: first. " + "x" * 5000}
        one = alive(running(failures=9), job=job(JobState.FAILED, 1), progress=line(failure=said, final=True))
        status = decide(one, NOW, CONTEXT.settings).status
        assert status.failure.message.startswith("ValueError: first. ")
        assert status.condition(ConditionType.FAILED).message.startswith("ValueError: first. ")

    def test_of_an_image_without_the_training_library_says_so(self) -> None:
        one = alive(running(), job=job(JobState.FAILED, 127), log_tail="/bin/sh: 1: trainyard: not found")
        failure = decided(one).failure
        assert (failure.kind, failure.reason) == (FailureKind.USER, Reason.IMAGE_LACKS_TRAINYARD)
        assert "image" in failure.message

    def test_of_a_program_that_exits_with_127_is_its_own(self) -> None:
        one = alive(running(), job=job(JobState.FAILED, 127), progress=line(failure=RAISED, final=True))
        assert decided(one).failure.kind == FailureKind.RUN

    def test_a_failure_said_by_another_job_does_not_count(self) -> None:
        one = alive(running(), job=job(JobState.FAILED, 1), progress=line(job_id="ty-other-1-1", failure=RAISED))
        assert decided(one).failure.reason == Reason.DRIVER_FAILED

    def test_a_job_that_somebody_stopped_is_no_success_and_not_retried(self) -> None:
        failure = decided(alive(running(), job=job(JobState.STOPPED))).failure
        assert (failure.kind, failure.reason) == (FailureKind.FINAL, Reason.JOB_STOPPED)


FORGOTTEN = with_condition(
    running(submit_time=ago(5)), ConditionType.RUNNING, "Unknown", Reason.JOB_NOT_FOUND, "", ago(1), 1
)
"""A run whose dashboard has said once that it does not know the job."""


class TestALostHead:
    def test_is_a_job_that_the_dashboard_has_forgotten(self) -> None:
        first = decided(alive(running(), job=job(JobState.ABSENT)))
        assert (first.failure, first.poll_after) == (None, 0.3), "one 404 may come from somebody in between"
        assert first.status.condition(ConditionType.RUNNING).reason == Reason.JOB_NOT_FOUND
        failure = decided(alive(first.status, job=job(JobState.ABSENT), silence=0.3)).failure
        assert (failure.kind, failure.reason) == (FailureKind.RUN, Reason.HEAD_LOST)

    def test_is_none_when_the_second_answer_knows_the_job(self) -> None:
        first = decided(alive(running(), job=job(JobState.ABSENT))).status
        again = decided(alive(first, job=job()))
        assert again.status.is_true(ConditionType.RUNNING)
        assert decided(alive(again.status, job=job(JobState.ABSENT))).failure is None

    def test_is_none_by_what_an_earlier_process_was_told(self) -> None:
        assert decided(alive(FORGOTTEN, job=job(JobState.ABSENT))).failure is None

    @pytest.mark.parametrize(
        ("pods", "reason"),
        [
            ((), Reason.HEAD_LOST),
            ((head(deleting=True),), Reason.HEAD_LOST),
            ((ended("Error", 1),), Reason.HEAD_LOST),
            ((ended("OOMKilled", 137),), Reason.OOM_KILLED),
            ((ended("OOMKilled", 137, deleting=True),), Reason.OOM_KILLED),
            ((worker(),), Reason.HEAD_LOST),
        ],
        ids=["gone", "being deleted", "ended", "killed for memory", "killed and removed", "only workers"],
    )
    def test_is_seen_at_its_pod_without_asking_the_dashboard(self, pods, reason) -> None:
        failure = decided(alive(running(), pods=pods, log_tail="step 7")).failure
        assert (failure.reason, failure.log_tail) == (reason, "step 7")

    def test_is_never_submitted_again_in_silence(self) -> None:
        made = decided(alive(running(), job=job(JobState.ABSENT)))
        assert (made.effects, made.status.submission) == ((), 1)

    @pytest.mark.parametrize(
        "changes", [{"pods": ()}, {"job": job(JobState.ABSENT), "silence": 0.3}], ids=["pod gone", "job forgotten"]
    )
    def test_is_a_preemption_when_the_cluster_was_suspended_since_the_submission(self, changes) -> None:
        preempted = cluster(suspension_changed=ago(2))
        made = decided(alive(FORGOTTEN, cluster=preempted, **changes))
        assert made.failure is None
        assert (made.status.attempt, made.status.submission, made.status.job_id) == (1, 2, None)
        assert made.status.failures == 0

    def test_to_a_preemption_that_nobody_saw_starts_the_clocks_again(self) -> None:
        """The operator was down for a whole cycle of Kueue, two hours after the start."""
        status = running(start_time=ago(7200), attempt_start_time=ago(7200), submit_time=ago(7190))
        ready, moved = ago(7195), ago(7000)
        status = replace(status, cluster_ready_time=ready, progress_time=moved, provisioning_step_time=ready)
        one = alive(status, cluster=cluster(suspension_changed=ago(60)), pods=())
        first = decide(one, NOW, CONTEXT.settings).status
        assert (first.phase, first.submission, first.attempt_start_time) == (Phase.PROVISIONING, 2, NOW)
        assert (first.cluster_ready_time, first.progress_time, first.provisioning_step_time) == (None, None, None)
        assert first.active_seconds == 200, "up to the last sign of the job"
        later = decide(replace(one, run=replace(one.run, status=first)), at(599).now, CONTEXT.settings)
        assert (later.failure, later.status.phase) == (None, Phase.PROVISIONING)

    def test_is_no_preemption_when_the_suspension_was_before_the_submission(self) -> None:
        made = decided(alive(running(submit_time=ago(5)), cluster=cluster(suspension_changed=ago(6)), pods=()))
        assert made.failure is not None


class TestASilentDashboard:
    silent = job(JobState.UNREACHABLE, message="TimeoutError")

    def test_makes_it_unknown_whether_the_driver_runs(self) -> None:
        made = decided(alive(running(), job=self.silent))
        condition = made.status.condition(ConditionType.RUNNING)
        assert (condition.status, condition.reason) == ("Unknown", Reason.DASHBOARD_UNREACHABLE)
        assert made.failure is None
        assert made.status.phase == Phase.RUNNING

    def test_is_asked_less_often(self) -> None:
        first = decided(alive(running(), job=self.silent))
        assert first.poll_after == 5
        assert decided(alive(first.status)).poll_after == 5, "in a pass without a reading, too"

    @pytest.mark.parametrize(("seconds", "lost"), [(299, False), (300, True)])
    def test_for_five_minutes_is_a_lost_head_by_a_clock_that_is_on_record(self, seconds, lost) -> None:
        first = decided(alive(running(), job=self.silent)).status
        made = decided(alive(first, job=self.silent, silence=30), at(seconds))
        assert (made.failure is not None) == lost

    @pytest.mark.parametrize(("silence", "lost"), [(0, False), (29, False), (30, True)])
    def test_that_was_silent_before_a_restart_is_asked_for_half_a_minute_more(self, silence, lost) -> None:
        first = decided(alive(running(), job=self.silent)).status
        made = decided(alive(first, job=self.silent, silence=silence), at(7200))
        assert (made.failure is not None) == lost

    def test_that_answers_again_is_forgiven(self) -> None:
        first = decided(alive(running(), job=self.silent)).status
        made = decided(alive(first, job=job()), at(200))
        assert made.status.is_true(ConditionType.RUNNING)
        assert decided(alive(made.status, job=self.silent), at(400)).failure is None


@pytest.mark.parametrize(
    "one",
    [
        alive(provisioning(), job=job(JobState.FAILED, 1)),
        alive(running(phase=Phase.SUCCEEDED), job=job(JobState.FAILED, 1)),
        alive(running(attempts=(failed_attempt(),)), job=job(JobState.FAILED, 1)),
        observed(running(), job=job(JobState.FAILED, 1)),
    ],
    ids=["no job on record", "ended", "between attempts", "no cluster"],
)
def test_nothing_is_judged_without_reason(one) -> None:
    assert decided(one) == plan(one)
