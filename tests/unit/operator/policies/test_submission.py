import json
import shlex

import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    JOB,
    UID,
    ago,
    alive,
    failed_attempt,
    head,
    observed,
    plan,
    provisioning,
    submitted,
    worker,
)
from trainyard_operator.policies.submission import submission
from trainyard_operator.vocabulary import Phase


def decided(one):
    return submission(one, plan(one), CONTEXT)


def test_the_job_goes_to_a_head_that_runs_although_nothing_is_ready() -> None:
    (effect,) = decided(alive(provisioning(), pods=(head(ready=False), worker(ready=False, phase="Pending")))).effects
    assert effect.job_id == JOB
    assert effect.metadata["trainyard.dev/uid"] == UID


def test_the_entrypoint_is_a_shell_line_with_the_whole_specification_and_the_seed() -> None:
    (effect,) = decided(alive(provisioning(seed=3))).effects
    words = shlex.split(effect.entrypoint)
    values = dict(word.split("=", 1) for word in words if word.startswith("TRAINYARD_"))
    document = json.loads(values["TRAINYARD_RUN"])
    assert words[-3:] == ["exec", "trainyard", "drive"]
    assert document["spec"]["seed"] == 3
    assert document["metadata"] == {"name": "cartpole", "namespace": "team", "uid": UID, "generation": 1}
    assert values["TRAINYARD_JOB_ID"] == JOB
    assert (values["TRAINYARD_ATTEMPT"], values["TRAINYARD_SUBMISSION"]) == ("1", "1")


def test_a_program_is_driven_by_the_wrapper() -> None:
    one = alive(provisioning(), spec={"entrypoint": "python it's.py", "resources": {"cpus": 1}})
    (effect,) = decided(one).effects
    assert effect.entrypoint.endswith(" trainyard drive-entrypoint")
    assert json.loads(shlex.split(effect.entrypoint)[3].split("=", 1)[1])["spec"]["entrypoint"] == "python it's.py"


@pytest.mark.parametrize(
    "one",
    [
        observed(provisioning()),
        alive(provisioning(), pods=()),
        alive(provisioning(), pods=(head(phase="Pending"),)),
        alive(submitted()),
        alive(provisioning(phase=Phase.SUSPENDED)),
        alive(provisioning(phase=Phase.FAILED)),
        alive(provisioning(attempts=(failed_attempt(),))),
    ],
    ids=["no cluster", "no pod", "head not started", "submitted", "suspended", "ended", "between attempts"],
)
def test_nothing_is_submitted_without_reason(one) -> None:
    assert decided(one).effects == ()


def test_the_timer_decides_when_the_dashboard_is_asked() -> None:
    made = decided(alive(provisioning(), may_call=False))
    assert made.effects == ()
    assert made.poll_after == 0.3


def test_a_head_that_does_not_answer_for_a_minute_is_asked_less_often() -> None:
    assert decided(alive(provisioning(attempt_start_time=ago(60)))).poll_after == 0.3
    assert decided(alive(provisioning(attempt_start_time=ago(61)))).poll_after == 2


ONE_LEARNER = {"learner": {"count": 1, "gpus": 1}, "cluster": {"worker": {"replicas": 4}}}


class TestAHeadWithGpus:
    """Ray would give its CPUs to env runners while no worker is there, and its learner would wait for ever."""

    def test_waits_for_the_workers(self) -> None:
        assert decided(alive(provisioning(), spec=ONE_LEARNER)).effects == ()
        assert decided(alive(provisioning(cluster_ready_time=ago(1)), spec=ONE_LEARNER)).effects != ()

    def test_waits_for_nobody_when_nothing_of_ray_runs_on_it(self) -> None:
        for learner in ({"gpus": 1}, {"count": 4, "gpus": 1}):
            assert decided(alive(provisioning(), spec={**ONE_LEARNER, "learner": learner})).effects != ()
