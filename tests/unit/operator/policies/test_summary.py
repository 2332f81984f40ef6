import pytest

from tests.unit.operator.builders import CONTEXT, NOW, ago, alive, failed_attempt, observed, plan, provisioning, running
from trainyard_operator.policies.summary import summary
from trainyard_operator.status import FailureStatus, with_condition
from trainyard_operator.vocabulary import ConditionType, Phase

T = ConditionType


def decided(one):
    return summary(one, plan(one), CONTEXT).status


@pytest.mark.parametrize(
    ("phase", "true"),
    [
        (Phase.PENDING, {T.RECONCILING}),
        (Phase.QUEUED, {T.RECONCILING}),
        (Phase.PROVISIONING, {T.RECONCILING}),
        (Phase.RUNNING, {T.RECONCILING}),
        (Phase.SUCCEEDED, {T.READY, T.COMPLETE}),
        (Phase.FAILED, {T.STALLED, T.FAILED}),
        (Phase.SUSPENDED, {T.SUSPENDED}),
    ],
)
def test_kstatus_conditions_follow_from_the_phase(phase, true) -> None:
    status = decided(observed(running(phase=phase)))
    summed = {T.READY, T.RECONCILING, T.STALLED, T.COMPLETE, T.FAILED, T.SUSPENDED}
    assert {kind for kind in summed if status.is_true(kind)} == true
    assert all(status.condition(kind) is not None for kind in summed)


def test_every_condition_carries_the_generation_that_was_looked_at() -> None:
    status = decided(observed(generation=5))
    assert {c.observed_generation for c in status.conditions} == {5}


def test_a_failed_run_says_why_where_kubectl_prints_it() -> None:
    status = decided(observed(running(phase=Phase.FAILED, failure=FailureStatus("Run", "OOMKilled", "raise memory"))))
    assert (status.condition(T.READY).reason, status.condition(T.READY).message) == ("OOMKilled", "raise memory")


def test_a_run_between_attempts_says_that_it_retries() -> None:
    between = running(phase=Phase.PENDING, attempts=(failed_attempt(),), failure=FailureStatus("Run", "HeadLost", "x"))
    assert decided(observed(between)).condition(T.READY).reason == "Retrying"


def test_a_provisioning_run_shows_its_pods_trouble() -> None:
    stuck = with_condition(provisioning(), T.CLUSTER_READY, False, "Unschedulable", "no memory", NOW, 1)
    message = decided(alive(stuck)).condition(T.READY).message
    assert message == "Unschedulable: no memory"


def test_the_transition_time_moves_only_with_the_value() -> None:
    first = with_condition(running(), T.READY, False, "Provisioning", "", ago(100), 1)
    assert decided(alive(first)).condition(T.READY).last_transition_time == ago(100)
    done = decided(observed(running(phase=Phase.SUCCEEDED, conditions=first.conditions)))
    assert done.condition(T.READY).last_transition_time == NOW


def test_no_driver_runs_outside_the_phase_running() -> None:
    ran = with_condition(running(phase=Phase.SUCCEEDED), T.RUNNING, True, "DriverRunning", "", NOW, 1)
    assert not decided(observed(ran)).is_true(T.RUNNING)
