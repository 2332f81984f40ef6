from datetime import timedelta

from tests.unit.operator.builders import CONTEXT, NOW, alive, line, plan, running
from trainyard_operator.policies.reporting import reporting
from trainyard_operator.vocabulary import ConditionType, Phase


def decided(one):
    return reporting(one, plan(one), CONTEXT).status


def test_the_line_becomes_the_status() -> None:
    status = decided(alive(running(), progress=line(progress={"iteration": 3, "percent": 29.6, "envSteps": 12000})))
    assert status.progress == {"iteration": 3, "percent": 29.6, "envSteps": 12000, "summary": "30%"}


def test_the_estimate_is_a_time_that_does_not_move_when_the_line_is_read_again() -> None:
    reading = line(time=NOW.timestamp() - 30, progress={"estimatedSecondsLeft": 90.0})
    first = decided(alive(running(), progress=reading)).progress["estimatedCompletionTime"]
    assert first == (NOW + timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_without_a_share_the_summary_counts_iterations() -> None:
    assert decided(alive(running(), progress=line(progress={"iteration": 7}))).progress["summary"] == "iteration 7"


def test_rates_are_rounded_for_people_and_counts_are_not() -> None:
    reading = line(progress={"envStepsPerSecond": 402.6583855369116, "envSteps": 123456789})
    assert decided(alive(running(), progress=reading)).progress == {"envStepsPerSecond": 402.66, "envSteps": 123456789}


def test_the_restored_iteration_and_the_lost_ones_are_shown_where_there_are_any() -> None:
    status = decided(alive(running(), progress=line(progress={}, started_iteration=5, lost_iterations=2)))
    assert status.progress == {"startedIteration": 5, "lostIterations": 2}
    assert decided(alive(running(), progress=line(progress={}))).progress == {}


def test_trials_are_counted_without_their_items() -> None:
    trials = {"total": 9, "pending": 5, "running": 1, "succeeded": 2, "failed": 1, "items": [{"id": "a"}]}
    status = decided(alive(running(), progress=line(trials=trials)))
    assert status.trials == {"total": 9, "pending": 5, "running": 1, "succeeded": 2, "failed": 1, "summary": "3/9"}


def test_checkpoints_get_times_and_stay_when_a_new_attempt_has_none_yet() -> None:
    checkpoint = {"latest": {"uri": "file:///x", "iteration": 2, "time": 0}}
    first = decided(alive(running(), progress=line(checkpoint=checkpoint)))
    assert first.checkpoint == {"latest": {"uri": "file:///x", "iteration": 2, "time": "1970-01-01T00:00:00Z"}}
    assert decided(alive(first, progress=line(checkpoint=None))).checkpoint == first.checkpoint


def test_the_verdicts_on_the_curves_are_shown_with_their_numbers() -> None:
    analysis = {"overfitting": {"verdict": "Suspected", "bestIteration": 12.0, "fall": 0.69230267774}}
    status = decided(alive(running(), progress=line(analysis=analysis)))
    assert status.analysis == {"overfitting": {"verdict": "Suspected", "bestIteration": 12.0, "fall": 0.6923}}


def test_conditions_of_the_driver_are_taken_over() -> None:
    said = {"type": "CheckpointsNotKept", "status": "True", "reason": "NoStorage", "message": "set spec.storage"}
    condition = decided(alive(running(), progress=line(conditions=(said,)))).condition("CheckpointsNotKept")
    assert (condition.status, condition.reason, condition.message) == ("True", "NoStorage", "set spec.storage")


def test_a_driver_cannot_write_the_operators_conditions() -> None:
    said = {"type": "Ready", "status": "True", "reason": "Forged", "message": ""}
    assert decided(alive(running(), progress=line(conditions=(said,)))).condition(ConditionType.READY) is None


def test_a_line_of_another_job_is_ignored() -> None:
    assert decided(alive(running(), progress=line(job_id="ty-other-1-1"))).progress is None


def test_garbage_becomes_a_condition_and_the_last_reading_stays() -> None:
    before = decided(alive(running(), progress=line()))
    status = decided(alive(before, progress=line(), progress_error="not JSON"))
    assert status.condition(ConditionType.PROGRESS_READABLE).status == "False"
    assert "not JSON" in status.condition(ConditionType.PROGRESS_READABLE).message
    assert status.progress == before.progress


def test_an_ended_run_keeps_its_last_word() -> None:
    one = alive(running(phase=Phase.SUCCEEDED, progress={"iteration": 9}), progress=line())
    assert decided(one).progress == {"iteration": 9}
