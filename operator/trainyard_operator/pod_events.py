"""Finds out from a pod's Events why it does not start, if neither its status nor its conditions say why.

Only Events report a sandbox or a volume that cannot be made (FailedCreatePodSandBox, FailedMount). Events are not
watched: those of one pod are listed while it waits and its status gives no reason.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trainyard_operator import errors
from trainyard_operator.clients.kube import EVENTS, KubeClient
from trainyard_operator.model import Pod, PodProblem

logger = logging.getLogger(__name__)
PATIENCE = 10.0
"""Seconds that a pod may take to start before its Events are read."""
ASK_AGAIN = 15.0
TOLD_ELSEWHERE = frozenset({"FailedScheduling", "Unhealthy", "BackOff"})
"""Reasons that the pod's status shows too, or that are no trouble while it starts."""


@dataclass
class Unexplained:
    """This process's memory of a run's pod that waits while its status gives no reason."""

    pod: str
    since: float
    asked: float | None = None
    problem: PodProblem | None = None


class PodEvents:
    def __init__(self, kube: KubeClient, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._monotonic = monotonic

    async def explain(
        self, namespace: str, pods: tuple[Pod, ...], before: Unexplained | None
    ) -> tuple[tuple[Pod, ...], Unexplained | None]:
        """The pods, with the reason from the Events of the first unexplained pod; and what to remember."""
        pod = next((pod for pod in pods if pod.unexplained), None)
        if pod is None:
            return pods, None
        now = self._monotonic()
        known = before if before is not None and before.pod == pod.name else Unexplained(pod.name, now)
        due = known.asked is None or now - known.asked >= ASK_AGAIN
        if due and now - known.since >= PATIENCE:
            known.asked, known.problem = now, await self._ask(namespace, pod.name)
        return tuple(replace(one, problem=known.problem) if one is pod else one for one in pods), known

    async def _ask(self, namespace: str, pod: str) -> PodProblem | None:
        fields = f"involvedObject.kind=Pod,involvedObject.name={pod}"
        try:
            found, _ = await self._kube.list(EVENTS, namespace, fields=fields)
        except errors.ApiError as error:
            logger.warning("the events of pod %s/%s cannot be read: %s", namespace, pod, error)
            return None
        told = [one for one in found if one.get("type") == "Warning" and one.get("reason") not in TOLD_ELSEWHERE]
        last = max(told, key=_time, default=None)
        return None if last is None else PodProblem(str(last["reason"]), str(last.get("message", "")))


def _time(event: Mapping[str, Any]) -> str:
    """RFC 3339 in UTC, so that sorting the texts sorts the times."""
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])
