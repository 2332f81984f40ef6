from dataclasses import replace

import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    NAME,
    NOW,
    ago,
    alive,
    at,
    cluster,
    failed_attempt,
    line,
    observed,
    plan,
    running,
)
from trainyard_operator.model import DeleteCluster, Job, JobState, KeepResults, Plan
from trainyard_operator.policies.cleanup import cleanup
from trainyard_operator.status import with_condition
from trainyard_operator.vocabulary import ConditionType, Phase

WAIT = CONTEXT.settings.timing.results_wait
DELETED = [DeleteCluster(NAME, "c-1")]


def decided(one, context=CONTEXT):
    return cleanup(one, plan(one), context)


def kinds(made) -> list[type]:
    return [type(effect) for effect in made.effects]


def finished(*, kept: bool = True, completed: float = 0, **changes):
    status = running(
        phase=Phase.SUCCEEDED,
        completion_time=ago(completed),
        attempts=(failed_attempt(reason="Succeeded"),),
        progress={"iteration": 1},
        **changes,
    )
    return with_condition(status, ConditionType.RESULTS_KEPT, True, "Kept", "", NOW, 1) if kept else status


class TestAnEndedRun:
    def test_loses_its_cluster_at_once(self) -> None:
        assert list(decided(alive(finished())).effects) == DELETED

    def test_keeps_it_until_its_end_is_on_record(self) -> None:
        one = alive(running())
        made = cleanup(one, Plan(finished()), CONTEXT)
        assert (made.effects, made.requeue_after) == ((), 0)

    def test_keeps_it_for_its_time_to_live(self) -> None:
        one = alive(finished(completed=10), spec={"clusterTTLSecondsAfterFinished": 60})
        made = decided(one)
        assert (made.effects, made.requeue_after) == ((), 50)
        assert made.status.condition(ConditionType.CLEANED_UP).reason == "TimeToLive"
        assert list(decided(one, at(50)).effects) == DELETED

    def test_is_asked_for_its_last_line_while_only_an_earlier_one_is_known(self) -> None:
        waiting = decided(alive(finished(kept=False, completed=WAIT - 1), progress=line(final=False)))
        assert (waiting.effects, waiting.poll_after) == ((), 1)

    @pytest.mark.parametrize("last", [{"progress": line(final=True)}, {"progress": line(), "progress_complete": True}])
    def test_keeps_its_last_line_before_the_cluster_goes(self, last) -> None:
        assert kinds(decided(alive(finished(kept=False, completed=1), **last))) == [KeepResults]

    def test_says_in_its_status_what_its_last_line_says(self) -> None:
        """The line was read after the pass that ended the run."""
        made = decided(alive(finished(kept=False, completed=1), progress=line(final=True, progress={"iteration": 10})))
        assert made.status.progress["iteration"] == 10

    def test_keeps_what_there_is_once_it_has_waited(self) -> None:
        one = alive(finished(kept=False, completed=WAIT), progress=line(final=False))
        assert kinds(decided(one)) == [KeepResults, DeleteCluster]

    @pytest.mark.parametrize("change", [{"pods": ()}, {"cluster": None, "pods": ()}], ids=["head gone", "cluster gone"])
    def test_does_not_wait_for_what_nobody_can_tell(self, change) -> None:
        assert KeepResults in kinds(decided(alive(finished(kept=False), progress=line(final=False), **change)))

    @pytest.mark.parametrize("state", [JobState.PENDING, JobState.RUNNING])
    def test_that_the_operator_ended_does_not_wait_for_a_last_line_of_its_driver(self, state) -> None:
        one = alive(finished(kept=False), progress=line(final=False), job=Job(state))
        assert kinds(decided(one)) == [KeepResults, DeleteCluster]

    def test_whose_results_cannot_be_written_keeps_trying_without_its_cluster(self) -> None:
        made = decided(observed(finished(kept=False, completed=3600), progress=line(final=True)))
        assert kinds(made) == [KeepResults]
        assert made.requeue_after == 30

    def test_that_never_reported_waits_for_nothing(self) -> None:
        status = replace(finished(kept=False), progress=None)
        assert list(decided(alive(status, progress_complete=True)).effects) == DELETED

    def test_that_could_not_be_read_is_waited_for_although_it_never_reported(self) -> None:
        """A run of seconds: nothing is on record yet, and its only report is in the file."""
        status = replace(finished(kept=False, completed=WAIT - 1), progress=None)
        assert decided(alive(status)).effects == ()

    def test_says_so_when_its_last_report_could_not_be_read(self) -> None:
        made = decided(alive(finished(kept=False, completed=WAIT)))
        assert made.status.condition(ConditionType.RESULTS_KEPT).reason == "NotRead"
        assert list(made.effects) == DELETED

    def test_is_cleaned_up_when_nothing_is_left(self) -> None:
        assert decided(observed(finished())).status.is_true(ConditionType.CLEANED_UP)
        assert not decided(observed(finished(), strays=(cluster(name="old"),))).status.is_true(ConditionType.CLEANED_UP)

    def test_does_not_delete_twice(self) -> None:
        assert decided(alive(finished(), cluster=cluster(deleting=True))).effects == ()


class TestAnEndedAttempt:
    def test_loses_its_cluster_while_the_next_one_waits(self) -> None:
        status = running(phase=Phase.PENDING, attempts=(failed_attempt(),), next_attempt_time=ago(-5))
        assert list(decided(alive(status)).effects) == DELETED

    def test_loses_its_cluster_when_suspended(self) -> None:
        status = running(phase=Phase.SUSPENDED, attempts=(failed_attempt(reason="Suspended"),))
        assert list(decided(alive(status)).effects) == DELETED

    def test_keeps_it_until_that_is_on_record(self) -> None:
        one = alive(running())
        made = cleanup(one, Plan(running(phase=Phase.PENDING, attempts=(failed_attempt(),))), CONTEXT)
        assert made.effects == ()


@pytest.mark.parametrize(
    "status", [running(), finished(), running(phase=Phase.QUEUED)], ids=["running", "ended", "queued"]
)
def test_clusters_of_other_attempts_go_in_every_decision(status) -> None:
    stray = cluster(name="cartpole-old", uid="c-0")
    assert DeleteCluster("cartpole-old", "c-0") in decided(observed(status, strays=(stray,))).effects


def test_the_cluster_of_a_running_attempt_stays() -> None:
    assert decided(alive(running())).effects == ()
