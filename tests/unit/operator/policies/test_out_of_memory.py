import pytest

from tests.unit.operator.builders import alive, cluster, ended, head, job, line, on_existing, running, worker
from trainyard_operator.model import JobState
from trainyard_operator.policies.completion import failure_of
from trainyard_operator.policies.out_of_memory import out_of_memory
from trainyard_operator.vocabulary import Reason

SIZES = {"head": {"memory": "700Mi"}, "worker": {"memory": "4Gi"}}
RAY = (
    "(raylet) 1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: {}, ID: 3f0c) "
    "was {} (0.965000). Refer to the documentation on how to address the out of memory issue"
)
NEW, OLD = "0.66GB used / 0.68GB limit", "0.66GB / 0.68GB"


def failed(one, message: str = "", code: int | None = 1):
    return failure_of(job(JobState.FAILED, code, message), one)


def test_a_pod_at_its_limit_is_told_with_the_limit_and_the_field_to_raise() -> None:
    one = alive(running(resources=SIZES), pods=(ended("OOMKilled", 137),))
    failure = out_of_memory(one)
    assert (failure.reason, failure.field) == (Reason.OOM_KILLED, "spec.cluster.head.memory")
    assert "memory limit of 700Mi; raise spec.cluster.head.memory" in failure.message
    other = out_of_memory(alive(running(resources=SIZES), pods=(head(), ended("OOMKilled", 137, head=False))))
    assert "memory limit of 4Gi; raise spec.cluster.worker.memory" in other.message


@pytest.mark.parametrize("use", [NEW, OLD])
@pytest.mark.parametrize(
    ("address", "field"),
    [("10.0.0.1", "spec.cluster.head.memory"), ("10.0.1.0", "spec.cluster.worker.memory")],
    ids=["head", "worker"],
)
def test_rays_memory_monitor_is_believed_with_how_much_of_what(address, field, use) -> None:
    one = alive(running(), pods=(head(), worker()), log_tail=RAY.format(address, use))
    failure = failed(one, code=None)
    assert (failure.reason, failure.field) == (Reason.OUT_OF_MEMORY, field)
    assert "0.66 GB of 0.68 GB were in use; raise " + field in failure.message


def test_a_node_that_is_gone_is_a_workers_where_there_are_workers() -> None:
    log = RAY.format("10.9.9.9", NEW)
    assert failed(alive(running(), log_tail=log)).field == "spec.cluster.head.memory"
    assert failed(alive(running(), cluster=cluster(desired_workers=2), log_tail=log)).field.endswith("worker.memory")


def test_a_driver_that_failed_of_something_else_after_ray_ended_a_process_has_its_own_word() -> None:
    said = {"kind": "Run", "reason": "ValueError", "message": "no"}
    one = alive(running(), progress=line(failure=said), log_tail=RAY.format("10.0.0.1", NEW))
    assert failed(one).reason == "ValueError"
    for words in ({"reason": "OutOfMemoryError", "message": "Task was killed"}, {"message": "low on memory"}):
        about = alive(running(), progress=line(failure={**said, **words}), log_tail=one.log_tail)
        assert failed(about).reason == Reason.OUT_OF_MEMORY


def test_on_somebody_elses_cluster_there_is_no_field_to_raise() -> None:
    failure = failed(on_existing(running(), log_tail=RAY.format("10.0.0.1", NEW)))
    assert failure.field is None
    assert "give the head of that RayCluster more" in failure.message


def test_memory_that_nobody_ran_out_of_is_no_failure() -> None:
    assert out_of_memory(alive(running(), log_tail="memory: 3 GB")) is None
