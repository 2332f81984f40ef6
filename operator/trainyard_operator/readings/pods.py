"""A pod's own state in few words: why it does not start, how its Ray container ended. Pure."""

from collections.abc import Mapping
from typing import Any

from trainyard_operator.model import Pod, PodEnd, PodProblem

Form = Mapping[str, Any]

NOT_A_PROBLEM = frozenset({"", "ContainerCreating", "PodInitializing"})
"""Reasons of a waiting container that only mean that it is starting."""

SHELL_NOT_FOUND = 127
OOM_KILLED = "OOMKilled"


def read_pod(form: Form) -> Pod:
    """A pod of a RayCluster, from its API form."""
    metadata, status = form["metadata"], form.get("status", {})
    labels = metadata.get("labels", {})
    return Pod(
        name=metadata["name"],
        head=labels.get("ray.io/node-type") == "head",
        phase=status.get("phase", "Pending"),
        ready=_condition(form, "Ready").get("status") == "True",
        deleting="deletionTimestamp" in metadata,
        address=status.get("podIP"),
        problem=_problem(form),
        end=_end(form),
        steps=_steps(form),
    )


def _steps(form: Form) -> int:
    placed, ready = (_condition(form, kind).get("status") == "True" for kind in ("PodScheduled", "Ready"))
    run = sum(1 for c in _containers(form) if "running" in c.get("state", {}) or _terminated(c))
    return 1 + placed + run + ready


def _problem(form: Form) -> PodProblem | None:
    """Why the pod does not start: it is not scheduled, or a container waits with a reason that is a problem."""
    scheduled = _condition(form, "PodScheduled")
    if scheduled.get("status") == "False":
        reason = scheduled.get("reason", "Unschedulable")
        if reason != "SchedulingGated":
            return PodProblem(reason, scheduled.get("message", ""))
    for container in _containers(form):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason", "") not in NOT_A_PROBLEM:
            return _waiting_problem(waiting, container)
    status = form.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        return PodProblem(status["reason"], status.get("message", ""))
    return None


def _waiting_problem(waiting: Form, container: Form) -> PodProblem:
    reason = waiting["reason"]
    message = waiting.get("message", "")
    if container.get("image") and container["image"] not in message and "Image" in reason:
        message = f"{container['image']}: {message}"
    last = _terminated(container)
    if last and not message.strip():
        message = f"the container ended with exit code {last.get('exitCode')}"
    return PodProblem(reason, message)


def _end(form: Form) -> PodEnd | None:
    """How the first (Ray) container ended, now or before its last restart."""
    for container in form.get("status", {}).get("containerStatuses", [])[:1]:
        if last := _terminated(container):
            return PodEnd(last.get("reason") or "Error", last.get("exitCode"), last.get("message", ""))
    status = form.get("status", {})
    if status.get("phase") == "Failed" and status.get("reason"):
        return PodEnd(status["reason"], None, status.get("message", ""))
    return None


def _terminated(container: Form) -> Form | None:
    now: Form | None = container.get("state", {}).get("terminated")
    before: Form | None = container.get("lastState", {}).get("terminated")
    return now or before


def _containers(form: Form) -> list[Form]:
    status = form.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _condition(form: Form, kind: str) -> Form:
    conditions = form.get("status", {}).get("conditions") or []
    return next((c for c in conditions if c.get("type") == kind), {})
