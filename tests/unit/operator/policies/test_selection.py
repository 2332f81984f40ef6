import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    NAME,
    NOW,
    ago,
    at,
    cluster,
    failed_attempt,
    head,
    job,
    observed,
    on_existing,
    plan,
    provisioning,
    submitted,
)
from trainyard_operator.decide import decide
from trainyard_operator.model import CreateCluster, DeleteCluster, FailureKind, Guard, SubmitJob
from trainyard_operator.policies.selection import selection
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType, Phase, Reason

NOTHING = {"cluster": None, "pods": ()}
READY = ConditionType.CLUSTER_READY


def decided(one, context=CONTEXT):
    return selection(one, plan(one), context)


class TestChoosing:
    def test_the_only_match_is_recorded_before_anything_happens_there(self) -> None:
        one = on_existing(guarded=False, candidates=(cluster(name="shared"),), **NOTHING)
        made = decided(one)
        assert (made.status.cluster_name, made.status.phase) == ("shared", Phase.PROVISIONING)
        assert (made.status.start_time, made.status.attempt_start_time) == (NOW, NOW)
        assert made.status.resources == {"logicalCpus": 1}
        assert (made.effects, made.requeue_after) == ((), 0)

    def test_without_a_match_the_run_waits_and_says_what_for(self) -> None:
        made = decided(on_existing(guarded=False, candidates=(), **NOTHING))
        condition = made.status.condition(READY)
        assert (condition.status, condition.reason) == ("False", Reason.NO_MATCHING_CLUSTER)
        assert "namespace team has the labels team=rl" in condition.message
        assert made.status.start_time is None, "the specification can still be corrected"
        assert made.poll_after is not None

    def test_the_wait_ends_with_the_provisioning_deadline_and_its_reason(self) -> None:
        one = on_existing(guarded=False, candidates=(), spec={"provisioningDeadlineSeconds": 60}, **NOTHING)
        waiting = decide(one, NOW, CONTEXT.settings).status
        assert waiting.phase == Phase.PENDING
        assert waiting.condition(ConditionType.RECONCILING).reason == Reason.NO_MATCHING_CLUSTER
        later = on_existing(waiting, guarded=False, candidates=(), spec={"provisioningDeadlineSeconds": 60}, **NOTHING)
        ended = decide(later, at(60).now, CONTEXT.settings).status
        assert (ended.phase, ended.failure.reason) == (Phase.FAILED, Reason.PROVISIONING_DEADLINE)
        assert "no RayCluster of namespace team" in ended.failure.message

    def test_several_matches_are_refused_with_their_names(self) -> None:
        found = (cluster(name="a"), cluster(name="b"))
        failure = decided(on_existing(guarded=False, candidates=found, **NOTHING)).failure
        assert (failure.kind, failure.reason) == (FailureKind.USER, Reason.AMBIGUOUS_SELECTOR)
        assert failure.field == "spec.cluster.selector"
        assert "2 RayClusters have the labels team=rl: a, b" in failure.message

    def test_a_pass_in_which_nobody_looked_decides_nothing(self) -> None:
        made = decided(on_existing(guarded=False, **NOTHING))
        assert (made.status, made.failure, made.effects) == (Status(), None, ())

    @pytest.mark.parametrize(
        "status",
        [
            provisioning(phase=Phase.SUSPENDED, cluster_name=None),
            provisioning(phase=Phase.FAILED, cluster_name=None),
            provisioning(attempts=(failed_attempt(),)),
        ],
        ids=["suspended", "ended", "between attempts"],
    )
    def test_nothing_is_chosen_without_reason(self, status) -> None:
        one = on_existing(status, candidates=(cluster(),), **NOTHING)
        assert decided(one) == plan(one)

    def test_a_run_with_a_cluster_of_its_own_is_not_its_concern(self) -> None:
        one = observed(candidates=(cluster(),))
        assert decided(one) == plan(one)


class TestTheChosenCluster:
    def test_is_ready_when_its_head_is(self) -> None:
        made = decided(on_existing(provisioning()))
        assert made.status.is_true(READY)
        assert made.status.cluster_ready_time == NOW

    def test_with_a_head_that_starts_is_waited_for(self) -> None:
        made = decided(on_existing(provisioning(), pods=(head(ready=False, phase="Pending"),)))
        assert made.status.condition(READY).reason == Reason.HEAD_STARTING
        assert made.poll_after is not None

    def test_whose_token_cannot_be_read_says_so(self) -> None:
        one = on_existing(provisioning(), cluster=cluster(locked=(Reason.TOKEN_NOT_READABLE, "grant it")))
        condition = decided(one).status.condition(READY)
        assert (condition.reason, condition.message) == (Reason.TOKEN_NOT_READABLE, "grant it")

    def test_that_has_vanished_is_a_lost_cluster(self) -> None:
        failure = decided(on_existing(submitted(), **NOTHING)).failure
        assert (failure.kind, failure.reason) == (FailureKind.RUN, Reason.CLUSTER_LOST)

    def test_starts_the_clock_again_after_a_suspension(self) -> None:
        made = decided(on_existing(provisioning(attempt_start_time=None)))
        assert made.status.attempt_start_time == NOW


class TestTheWholeDecision:
    def test_the_finalizer_is_there_before_the_job(self) -> None:
        first = decide(on_existing(provisioning(), guarded=False), NOW, CONTEXT.settings)
        assert first.effects == (Guard(),)
        (submit,) = decide(on_existing(provisioning()), NOW, CONTEXT.settings).effects
        assert isinstance(submit, SubmitJob)

    def test_nothing_is_submitted_to_a_cluster_that_cannot_be_used(self) -> None:
        pods = (head(ready=False, phase="Pending"),)
        troubled = cluster(locked=(Reason.TOKEN_NOT_READABLE, ""))
        for one in (on_existing(provisioning(), pods=pods), on_existing(provisioning(), cluster=troubled)):
            assert decide(one, NOW, CONTEXT.settings).effects == ()

    @pytest.mark.parametrize(
        "status",
        [
            None,
            provisioning(),
            submitted(),
            provisioning(phase=Phase.SUSPENDED),
            submitted(phase=Phase.PENDING, attempts=(failed_attempt(),)),
            submitted(phase=Phase.SUCCEEDED, completion_time=ago(100), attempts=(failed_attempt(),)),
        ],
        ids=["new", "chosen", "submitted", "suspended", "between attempts", "ended"],
    )
    def test_no_cluster_is_ever_made_or_deleted(self, status) -> None:
        for suspend in (False, True):
            made = decide(on_existing(status, spec={"suspend": suspend}), NOW, CONTEXT.settings)
            assert not [e for e in made.effects if isinstance(e, CreateCluster | DeleteCluster)]

    def test_a_large_request_is_not_sized(self) -> None:
        one = on_existing(guarded=False, candidates=(cluster(),), spec={"sampling": {"envRunners": 5000}}, **NOTHING)
        assert decide(one, NOW, CONTEXT.settings).status.cluster_name == NAME

    def test_a_corrected_selector_starts_the_wait_anew(self) -> None:
        waited = Status(observed_generation=1, attempt_start_time=ago(500))
        one = on_existing(waited, guarded=False, candidates=(), generation=2, **NOTHING)
        assert decide(one, NOW, CONTEXT.settings).status.attempt_start_time == NOW

    def test_a_cluster_that_somebody_suspends_is_asked_again(self) -> None:
        made = decide(on_existing(submitted(), job=job(), cluster=cluster(suspended=True)), NOW, CONTEXT.settings)
        assert (made.status.phase, made.effects) == (Phase.QUEUED, ())
        assert made.poll_after is not None
