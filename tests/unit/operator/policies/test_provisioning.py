import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    NAME,
    NOW,
    SETTINGS,
    UID,
    alive,
    cluster,
    ended,
    failed_attempt,
    head,
    observed,
    plan,
    provisioning,
    running,
    stuck,
    submitted,
    worker,
)
from trainyard_operator import names
from trainyard_operator.building.seed import default_seed
from trainyard_operator.model import CreateCluster, Created, FailureKind
from trainyard_operator.policies.provisioning import provisioning as policy
from trainyard_operator.settle import settle
from trainyard_operator.vocabulary import ConditionType, Phase, Reason


def decided(one):
    return policy(one, plan(one), CONTEXT)


def created(one):
    """What follows when the API server takes the cluster."""
    return settle(one, decided(one), [Created(cluster())], NOW, SETTINGS)


def ready(made) -> tuple[str, str]:
    condition = made.status.condition(ConditionType.CLUSTER_READY)
    return condition.status, condition.reason


class TestTheFirstPass:
    def test_creates_secret_and_cluster_under_names_from_the_uid(self) -> None:
        (effect,) = decided(observed()).effects
        assert isinstance(effect, CreateCluster)
        assert effect.cluster["metadata"]["name"] == NAME == names.cluster_name("cartpole", UID, 1)
        assert effect.secret["metadata"]["name"] == NAME
        assert effect.secret["stringData"]["auth_token"] == names.auth_token(SETTINGS.key, UID, 1)

    def test_starts_the_clock_and_nothing_that_would_fix_the_specification(self) -> None:
        status = decided(observed()).status
        assert (status.phase, status.attempt_start_time) == (Phase.PROVISIONING, NOW)
        assert (status.start_time, status.started_generation, status.seed, status.resources) == (None,) * 4

    def test_has_started_the_run_once_the_cluster_exists(self) -> None:
        status = created(observed()).status
        assert (status.phase, status.start_time, status.started_generation) == (Phase.PROVISIONING, NOW, 1)
        assert (status.cluster_name, status.attempt_start_time) == (NAME, NOW)
        assert status.resources["logicalCpus"] == 1

    def test_takes_the_seed_of_the_specification_or_one_of_the_uid(self) -> None:
        assert created(observed(spec={"seed": 11})).status.seed == 11
        derived = created(observed()).status.seed
        assert derived == default_seed(UID)
        assert 0 <= derived < 2**31

    def test_without_a_token_makes_no_secret(self) -> None:
        (effect,) = decided(observed(spec={"cluster": {"auth": "None"}})).effects
        assert effect.secret is None
        assert "authOptions" not in effect.cluster["spec"]

    def test_does_not_say_that_the_cluster_exists_before_it_does(self) -> None:
        assert decided(observed()).status.cluster_name is None


class TestACluster:
    def test_that_exists_is_never_created_again(self) -> None:
        assert decided(alive(provisioning())).effects == ()

    def test_whose_creation_is_not_on_record_is_adopted(self) -> None:
        made = decided(alive(cluster=cluster(generation=4), generation=5))
        assert made.effects == ()
        assert (made.status.cluster_name, made.status.started_generation) == (NAME, 4)

    def test_made_from_another_specification_than_the_driver_gets_is_said(self) -> None:
        changed = decided(alive(cluster=cluster(generation=4), generation=5))
        assert changed.status.is_true(ConditionType.SPEC_CHANGED)
        assert decided(alive(generation=1)).status.condition(ConditionType.SPEC_CHANGED) is None
        resumed = alive(provisioning(cluster_name=None), cluster=cluster(generation=4), generation=5)
        assert decided(resumed).status.condition(ConditionType.SPEC_CHANGED) is None

    def test_that_somebody_deleted_is_a_failure_that_is_charged(self) -> None:
        failure = decided(observed(provisioning())).failure
        assert (failure.kind, failure.reason) == (FailureKind.RUN, Reason.CLUSTER_LOST)

    @pytest.mark.parametrize(
        "status",
        [
            provisioning(phase=Phase.SUCCEEDED),
            provisioning(phase=Phase.SUSPENDED),
            provisioning(attempts=(failed_attempt(),)),
        ],
        ids=["ended", "suspended", "between attempts"],
    )
    def test_is_not_made_for_a_run_that_is(self, status) -> None:
        assert decided(observed(status)).effects == ()


class TestReadiness:
    @pytest.mark.parametrize(
        ("pods", "workers", "expected"),
        [
            ((), 0, ("False", Reason.WAITING_FOR_PODS)),
            ((head(ready=False),), 0, ("False", Reason.PODS_STARTING)),
            ((head(),), 0, ("True", Reason.PODS_READY)),
            ((head(), worker(0)), 2, ("False", Reason.PODS_STARTING)),
            ((head(), worker(0), worker(1)), 2, ("True", Reason.PODS_READY)),
            ((head(), worker(0, deleting=True)), 1, ("False", Reason.PODS_STARTING)),
            ((stuck("ImagePullBackOff"),), 0, ("False", "ImagePullBackOff")),
            ((stuck("Unschedulable"),), 0, ("False", "Unschedulable")),
            ((stuck("CreateContainerConfigError"),), 0, ("False", "CreateContainerConfigError")),
            ((head(), stuck("Unschedulable", head=False)), 1, ("False", "Unschedulable")),
        ],
    )
    def test_follows_from_the_pods(self, pods, workers, expected) -> None:
        one = alive(provisioning(), cluster=cluster(desired_workers=workers), pods=pods)
        assert ready(decided(one)) == expected

    def test_names_pod_and_message(self) -> None:
        made = decided(alive(provisioning(), pods=(stuck("ErrImagePull", "no such host"),)))
        message = made.status.condition(ConditionType.CLUSTER_READY).message
        assert "no such host" in message
        assert head().name in message

    def test_takes_kuberays_word_for_pods_that_cannot_be_created(self) -> None:
        troubled = cluster(trouble=("FailedCreateHeadPod", "exceeded quota"))
        made = decided(alive(provisioning(), cluster=troubled, pods=()))
        assert ready(made) == ("False", "FailedCreateHeadPod")

    def test_is_remembered_with_its_first_time(self) -> None:
        made = decided(alive(provisioning()))
        assert made.status.cluster_ready_time == NOW


class TestWhatWaitingCannotCure:
    def test_an_image_name_that_is_none_is_the_users_error_at_once(self) -> None:
        failure = decided(alive(provisioning(), pods=(stuck("InvalidImageName", "bad"),))).failure
        assert (failure.kind, failure.reason, failure.field) == (FailureKind.USER, "InvalidImageName", "spec.image")

    @pytest.mark.parametrize(
        ("pod", "kind", "reason"),
        [
            (ended("Error", 127), FailureKind.USER, Reason.IMAGE_LACKS_RAY),
            (ended("Error", 1), FailureKind.RUN, Reason.HEAD_FAILED),
            (ended("OOMKilled", 137), FailureKind.RUN, Reason.OOM_KILLED),
            (head(deleting=True), FailureKind.RUN, Reason.HEAD_LOST),
        ],
        ids=["no ray in the image", "crash", "memory", "deleted"],
    )
    def test_a_head_that_ended_before_it_took_a_job(self, pod, kind, reason) -> None:
        failure = decided(alive(provisioning(), pods=(pod,))).failure
        assert (failure.kind, failure.reason) == (kind, reason)

    def test_a_head_that_ended_after_it_took_a_job_is_for_the_completion_to_judge(self) -> None:
        assert decided(alive(submitted(), pods=(ended(),))).failure is None
        assert decided(alive(running(), pods=(ended(),))).failure is None
