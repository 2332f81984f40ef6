from dataclasses import replace

from tests.unit.operator.builders import CONTEXT, NOW, alive, observed, plan, running
from trainyard_operator.model import FailureKind
from trainyard_operator.policies.admission import admission
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import ConditionType, Phase


def decided(one):
    return admission(one, plan(one), CONTEXT)


def test_the_generation_that_was_looked_at_is_written_down() -> None:
    assert decided(observed(generation=4)).status.observed_generation == 4
    ended = running(phase=Phase.SUCCEEDED, completion_time=NOW)
    assert decided(observed(ended, generation=4)).status == replace(ended, observed_generation=4)


class TestWithoutKubeRay:
    def test_a_condition_says_what_to_install_and_the_chain_ends(self) -> None:
        made = decided(observed(kuberay=False))
        condition = made.status.condition(ConditionType.KUBERAY_MISSING)
        assert made.done
        assert condition.status == "True"
        assert "install" in condition.message

    def test_it_goes_when_kuberay_comes(self) -> None:
        status = decided(observed(kuberay=False)).status
        assert decided(observed(status)).status.condition(ConditionType.KUBERAY_MISSING) is None

    def test_an_ended_run_does_not_care(self) -> None:
        one = observed(running(phase=Phase.SUCCEEDED, completion_time=NOW), kuberay=False)
        assert decided(one) == plan(one)


TOO_MUCH = {"sampling": {"envRunners": 300}, "cluster": {"worker": {"replicas": 2}}}


class TestARequestThatNothingCouldHold:
    def test_is_refused_with_the_arithmetic_before_anything_is_created(self) -> None:
        failure = decided(observed(spec=TOO_MUCH)).failure
        assert (failure.kind, failure.reason) == (FailureKind.USER, "InsufficientResources")
        assert failure.field == "spec.cluster.worker.replicas"
        for number in ("300", "150", "128"):
            assert number in failure.message

    def test_is_looked_at_again_when_its_specification_changes(self) -> None:
        refused = Status(observed_generation=1, phase=Phase.FAILED, completion_time=NOW)
        assert decided(observed(refused, generation=1)).status == refused
        corrected = decided(observed(refused, generation=2)).status
        assert (corrected.phase, corrected.completion_time) == (Phase.PENDING, None)

    def test_is_not_judged_again_once_the_run_has_started(self) -> None:
        assert decided(alive(running(), spec=TOO_MUCH)).failure is None

    def test_a_specification_too_long_for_a_command_line_is_refused(self) -> None:
        long = {"entrypoint": "python x.py", "trainable": None, "environment": {"config": {"x": "y" * 130_000}}}
        failure = decided(observed(spec=long)).failure
        assert (failure.reason, failure.field) == ("InvalidSpec", "spec")
