from dataclasses import replace

from tests.unit.operator.builders import NOW, at, failed_attempt, provisioning, run, running, submitted
from trainyard_operator.announcements import announcements, event
from trainyard_operator.status import FailureStatus, Status, with_condition
from trainyard_operator.vocabulary import ConditionType, Phase


def told(old: Status, new: Status) -> list[tuple[str, bool]]:
    return [(one.reason, one.warning) for one in announcements(old, new)]


def ready(status: Status, reason: str) -> Status:
    return with_condition(status, ConditionType.CLUSTER_READY, False, reason, f"about {reason}", NOW, 1)


def test_the_same_status_is_no_news() -> None:
    assert told(running(), running()) == []
    assert told(running(), running(progress={"iteration": 5})) == []


def test_a_new_phase_is_told() -> None:
    assert told(Status(), provisioning()) == [("Provisioning", False)]
    assert told(submitted(), running()) == [("Running", False)]
    assert told(running(), running(phase=Phase.SUCCEEDED)) == [("Succeeded", False)]


def test_an_accepted_job_is_told() -> None:
    assert told(provisioning(), submitted()) == [("Submitted", False)]


def test_a_pods_trouble_is_a_warning_once() -> None:
    stuck = ready(provisioning(), "ErrImagePull")
    assert told(provisioning(), stuck) == [("ErrImagePull", True)]
    assert told(stuck, stuck) == []
    assert told(stuck, ready(stuck, "ImagePullBackOff")) == [("ImagePullBackOff", True)]


def test_pods_that_start_are_no_trouble() -> None:
    assert told(provisioning(), ready(provisioning(), "PodsStarting")) == []


def test_a_failed_attempt_is_a_warning() -> None:
    new = running(phase=Phase.PENDING, attempts=(failed_attempt(),))
    assert told(running(), new) == [("DriverFailed", True)]


def test_a_failed_run_says_why() -> None:
    failure = FailureStatus("Run", "HeadLost", "the head pod is gone")
    news = announcements(running(), running(phase=Phase.FAILED, failure=failure))
    assert [(n.reason, n.message, n.warning) for n in news] == [("Failed", "HeadLost: the head pod is gone", True)]


def test_a_suspension_is_no_warning() -> None:
    new = running(phase=Phase.SUSPENDED, attempts=(failed_attempt(reason="Suspended"),))
    assert told(running(), new) == [("Suspended", False)]


def test_what_a_driver_wants_people_to_know_is_a_warning() -> None:
    new = with_condition(running(), "CheckpointsNotKept", True, "NoStorage", "set spec.storage", NOW, 1)
    assert told(running(), new) == [("NoStorage", True)]


def test_a_progress_file_that_can_be_read_again_is_no_warning() -> None:
    garbage = with_condition(running(), ConditionType.PROGRESS_READABLE, False, "InvalidProgress", "no JSON", NOW, 1)
    assert told(running(), garbage) == [("InvalidProgress", True)]
    assert told(garbage, with_condition(garbage, ConditionType.PROGRESS_READABLE, True, "Read", "", NOW, 1)) == []


def test_the_same_news_has_the_same_name_and_other_news_another() -> None:
    (one,) = announcements(Status(), provisioning())
    names = {
        event(run(), one, NOW)["metadata"]["name"],
        event(run(), one, at(60).now)["metadata"]["name"],
        event(run(), replace(one, message="other"), NOW)["metadata"]["name"],
    }
    assert len(names) == 2


def test_an_event_points_at_the_run() -> None:
    (one,) = announcements(Status(), provisioning())
    made = event(run(), one, NOW)
    assert made["involvedObject"]["uid"] == run().uid
    assert made["type"] == "Normal"
    assert made["firstTimestamp"] == "2026-05-01T12:00:00Z"
