import pytest

from tests.unit.operator.builders import CONTEXT, UID, ago, observed, plan, running
from trainyard_operator.model import DeleteRun
from trainyard_operator.policies.retention import retention
from trainyard_operator.vocabulary import Phase

ENDED = running(phase=Phase.FAILED, completion_time=ago(30))


@pytest.mark.parametrize(
    ("status", "ttl", "effects", "requeue"),
    [
        (ENDED, None, (), None),
        (ENDED, 31, (), 1),
        (ENDED, 30, (DeleteRun(UID),), None),
        (ENDED, 0, (DeleteRun(UID),), None),
        (running(), 0, (), None),
    ],
    ids=["never", "not yet", "on the second", "at once", "still running"],
)
def test_a_run_is_deleted_after_its_time_to_live(status, ttl, effects, requeue) -> None:
    one = observed(status, spec={} if ttl is None else {"ttlSecondsAfterFinished": ttl})
    made = retention(one, plan(one), CONTEXT)
    assert (made.effects, made.requeue_after) == (effects, requeue)
