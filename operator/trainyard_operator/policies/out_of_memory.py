"""What counts as running out of memory: how much was used, what the limit was, and which field to raise. Pure.

There are two sources: the kernel ends a container at its limit (OOMKilled); Ray's memory monitor ends a process before
that and reports it in the driver's log.
"""

from trainyard_operator.model import Failure, FailureKind, Job, Observed, Pod
from trainyard_operator.readings.driver_log import MemoryUse, memory_use
from trainyard_operator.readings.pods import OOM_KILLED
from trainyard_operator.vocabulary import Reason


def out_of_memory(observed: Observed, job: Job | None = None, *, told: str | None = None) -> Failure | None:
    """The failure, if a pod was killed for memory or Ray has ended a process for memory; otherwise None.

    `told` is the driver's own report of its failure. If there is one, Ray's log counts only if the report is also about
    memory.
    """
    code = job.exit_code if job else None
    for pod in observed.pods:
        if pod.end and pod.end.reason == OOM_KILLED:
            return _failure(observed, Reason.OOM_KILLED, _killed(observed, pod), pod.head, code)
    use = memory_use(f"{job.message}\n{observed.log_tail}" if job else observed.log_tail)
    if use is None or (told is not None and "memory" not in told.lower()):
        return None
    head = _is_head(observed, use)
    much = f"{use.used:g} GB of {use.limit:g} GB were in use"
    text = f"Ray's memory monitor ended a process on the {_kind(head)} pod: {much}"
    return _failure(observed, Reason.OUT_OF_MEMORY, text, head, code)


def _killed(observed: Observed, pod: Pod) -> str:
    resources = (observed.run.status.resources or {}).get(_kind(pod.head), {})
    limit = f" of {resources['memory']}" if "memory" in resources else ""
    return f"the {_kind(pod.head)} pod {pod.name} was killed because it used more than its memory limit{limit}"


def _failure(observed: Observed, reason: Reason, text: str, head: bool, code: int | None) -> Failure:
    own = observed.run.selector is None
    field = f"spec.cluster.{_kind(head)}.memory" if own else None
    remedy = f"raise {field}" if own else f"give the {_kind(head)} of that RayCluster more memory"
    return Failure(FailureKind.RUN, reason, f"{text}; {remedy}", code, observed.log_tail, field)


def _is_head(observed: Observed, use: MemoryUse) -> bool:
    """The pod whose address Ray names. If that pod is gone, it is assumed to be a worker, if there are workers."""
    for pod in observed.pods:
        if pod.address == use.address:
            return pod.head
    return observed.cluster is None or observed.cluster.desired_workers == 0


def _kind(head: bool) -> str:
    return "head" if head else "worker"
