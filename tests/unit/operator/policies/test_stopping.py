import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    JOB,
    NOW,
    ago,
    alive,
    at,
    cluster,
    failed_attempt,
    job,
    on_existing,
    plan,
    provisioning,
    running,
    submitted,
)
from trainyard_operator.decide import decide
from trainyard_operator.model import JobState, StopJob, Unguard
from trainyard_operator.policies.stopping import stopping
from trainyard_operator.vocabulary import ConditionType, Phase


def decided(one, context=CONTEXT):
    return stopping(one, plan(one), context)


def ended(phase=Phase.FAILED, seconds: float = 1, **changes):
    attempts = (failed_attempt(end_time=ago(seconds)),)
    return running(phase=phase, completion_time=ago(seconds), attempts=attempts, **changes)


class TestAJobThatNobodyWants:
    @pytest.mark.parametrize(
        "one",
        [
            on_existing(running(), job=job(), deleted=1),
            on_existing(ended(), job=job()),
            on_existing(running(phase=Phase.SUSPENDED, attempts=(failed_attempt(),)), job=job()),
            on_existing(running(phase=Phase.PENDING, attempts=(failed_attempt(),)), job=job(JobState.PENDING)),
        ],
        ids=["deleted", "failed", "suspended", "between attempts"],
    )
    def test_is_stopped_and_asked_for_again(self, one) -> None:
        made = decided(one)
        assert made.effects == (StopJob(JOB),)
        assert made.poll_after == 1

    def test_that_was_submitted_without_a_record_has_the_same_name(self) -> None:
        assert decided(on_existing(provisioning(), job=job(), deleted=1)).effects == (StopJob(JOB),)

    @pytest.mark.parametrize("state", [JobState.STOPPED, JobState.SUCCEEDED, JobState.FAILED, JobState.ABSENT])
    def test_lets_the_object_go_once_it_is_over(self, state) -> None:
        assert decided(on_existing(running(), job=job(state), deleted=1)).effects == (Unguard(),)

    @pytest.mark.parametrize("found", [None, cluster(suspended=True)], ids=["gone", "suspended"])
    def test_lets_the_object_go_with_its_cluster(self, found) -> None:
        assert decided(on_existing(running(), cluster=found, pods=(), deleted=1)).effects == (Unguard(),)

    def test_on_a_silent_cluster_is_waited_for(self) -> None:
        made = decided(on_existing(running(), job=job(JobState.UNREACHABLE), deleted=119))
        assert (made.effects, made.requeue_after) == ((), 1)

    @pytest.mark.parametrize("state", [JobState.UNREACHABLE, JobState.RUNNING, None])
    def test_is_left_after_two_minutes_and_only_once_that_is_on_record(self, state) -> None:
        reading = job(state) if state else None
        said = decided(on_existing(running(), job=reading, deleted=120))
        assert (said.effects, said.requeue_after) == ((), 0)
        assert said.status.is_true(ConditionType.JOB_LEFT)
        assert JOB in said.status.condition(ConditionType.JOB_LEFT).message
        assert decided(on_existing(said.status, job=reading, deleted=120)).effects == (Unguard(),)

    def test_is_counted_from_the_end_of_its_attempt_although_the_run_is_deleted_later(self) -> None:
        one = on_existing(ended(seconds=100), job=job(JobState.UNREACHABLE), deleted=10)
        assert decided(one).effects == ()
        assert decided(one, at(20)).status.is_true(ConditionType.JOB_LEFT)


class TestWhatIsLeftAlone:
    @pytest.mark.parametrize(
        "one",
        [
            on_existing(running(), job=job()),
            on_existing(submitted(phase=Phase.QUEUED), cluster=cluster(suspended=True)),
            on_existing(ended(), guarded=False, job=job()),
            alive(ended(), job=job()),
        ],
        ids=["wanted", "queued", "no finalizer", "a cluster of its own"],
    )
    def test_no_effect(self, one) -> None:
        assert decided(one) == plan(one)


class TestTheWholeDecision:
    def test_a_run_that_is_being_deleted_does_nothing_else(self) -> None:
        """Not even suspension or deadlines: the object is going."""
        one = on_existing(running(), job=job(), deleted=1, spec={"suspend": True, "activeDeadlineSeconds": 1})
        made = decide(one, NOW, CONTEXT.settings)
        assert made.effects == (StopJob(JOB),)
        assert made.status.phase == Phase.RUNNING

    def test_the_next_attempt_waits_until_the_last_ones_job_is_over(self) -> None:
        status = running(phase=Phase.PENDING, attempts=(failed_attempt(),), failures=1, next_attempt_time=None)
        waiting = decide(on_existing(status, job=job()), NOW, CONTEXT.settings)
        assert waiting.status.attempt == 1
        assert waiting.effects == (StopJob(JOB),)
        going = decide(on_existing(status, guarded=False), NOW, CONTEXT.settings)
        assert (going.status.attempt, going.status.cluster_name, going.status.job_id) == (2, None, None)

    def test_an_ended_run_is_cleaned_up_when_its_job_is_over(self) -> None:
        busy = decide(on_existing(ended(progress=None), job=job()), NOW, CONTEXT.settings).status
        assert busy.condition(ConditionType.CLEANED_UP).status == "False"
        over = decide(on_existing(ended(progress=None), guarded=False), NOW, CONTEXT.settings).status
        assert over.is_true(ConditionType.CLEANED_UP)
        assert "stays" in over.condition(ConditionType.CLEANED_UP).message

    def test_suspending_ends_the_attempt_and_then_its_job(self) -> None:
        first = decide(on_existing(running(), job=job(), spec={"suspend": True}), NOW, CONTEXT.settings)
        assert (first.status.phase, first.effects) == (Phase.SUSPENDED, ())
        second = decide(on_existing(first.status, job=job(), spec={"suspend": True}), NOW, CONTEXT.settings)
        assert second.effects == (StopJob(JOB),)
        assert second.status.failures == 0
