"""Existing RayClusters that a run chose by labels: read by the run's timer, never watched. No writes.

The API server is asked, not the cache, because these clusters have none of Trainyard's labels. The head's address is in
KubeRay's own status. The token is in a Secret that the operator may read only if somebody has granted this.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from trainyard_operator import errors
from trainyard_operator.clients.kube import CLUSTERS, SECRETS, Form, KubeClient
from trainyard_operator.model import Cluster, Pod, Run
from trainyard_operator.readings.objects import TokenSource, read_cluster, read_head, token_source
from trainyard_operator.vocabulary import Reason

CLUSTER_SECONDS = 5.0
"""While a job runs, its cluster is read at this interval; only the dashboard is asked at every poll."""
TOKEN_SECONDS = 60.0
"""A token is read again after this time, so that a new token is found."""


@dataclass
class Chosen:
    """This process's memory of the cluster that a run has chosen: the last reading, and the token."""

    name: str | None = None
    read: float = 0
    cluster: Cluster | None = None
    head: Pod | None = None
    token: str | None = None
    token_read: float | None = None


class ExistingClusters:
    def __init__(self, kube: KubeClient, monotonic: Callable[[], float]) -> None:
        self._kube = kube
        self._monotonic = monotonic

    async def candidates(self, run: Run) -> tuple[Cluster, ...]:
        """The clusters that match the run's selector, by name, without those that are being deleted."""
        assert run.selector is not None
        forms, _ = await self._kube.list(CLUSTERS, run.key.namespace, selector_text(run.selector))
        found = [read_cluster(form) for form in forms if "deletionTimestamp" not in form["metadata"]]
        return tuple(sorted(found, key=lambda cluster: cluster.name))

    def is_due(self, run: Run, chosen: Chosen) -> bool:
        """Whether the run's timer is due and the last reading is too old."""
        return run.status.job_id is None or self._monotonic() - chosen.read >= CLUSTER_SECONDS

    async def refresh(self, run: Run, chosen: Chosen) -> None:
        """Read the chosen cluster and, if it has one, its token. A cluster that is being deleted counts as gone."""
        assert run.status.cluster_name is not None
        try:
            form = await self._kube.get(CLUSTERS, run.key.namespace, run.status.cluster_name)
        except errors.GoneError:
            form = None
        chosen.name, chosen.read = run.status.cluster_name, self._monotonic()
        if form is None or "deletionTimestamp" in form["metadata"]:
            chosen.cluster, chosen.head = None, None
            return
        chosen.cluster, chosen.head = read_cluster(form), read_head(form)
        await self._refresh_token(form, chosen)

    async def _refresh_token(self, form: Form, chosen: Chosen) -> None:
        source = token_source(form)
        if source is None:
            chosen.token, chosen.token_read = None, None
            return
        now = self._monotonic()
        if chosen.token is not None and chosen.token_read is not None and now - chosen.token_read < TOKEN_SECONDS:
            return
        token = await self._token(form["metadata"]["namespace"], source)
        if isinstance(token, str):
            chosen.token, chosen.token_read = token, now
            return
        assert chosen.cluster is not None
        chosen.token, chosen.token_read = None, None
        chosen.cluster = replace(chosen.cluster, locked=token)

    async def _token(self, namespace: str, source: TokenSource) -> str | tuple[str, str]:
        """The token, or the reason and message why there is none."""
        place = f"Secret {namespace}/{source.secret}"
        try:
            secret = await self._kube.get(SECRETS, namespace, source.secret)
        except errors.ForbiddenError:
            return Reason.TOKEN_NOT_READABLE, (
                f"the RayCluster asks for a token, and the operator may not read {place}: grant `get` on that "
                f"Secret with the chart's value existingClusters.tokenSecrets ({{namespace: {namespace}, "
                f"secrets: [{source.secret}]}}), or with your own Role"
            )
        except errors.GoneError:
            return Reason.TOKEN_MISSING, f"the RayCluster asks for a token, and {place} does not exist"
        return _decoded(secret.get("data", {}), source.key) or (
            Reason.TOKEN_MISSING,
            f"the RayCluster asks for a token, and {place} has no token under the key {source.key}",
        )


def selector_text(labels: Mapping[str, str]) -> str:
    """A label selector in the form of the API server's query parameter."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _decoded(data: Mapping[str, str], key: str) -> str | None:
    try:
        return base64.b64decode(data.get(key, ""), validate=True).decode().strip() or None
    except (binascii.Error, UnicodeDecodeError):
        return None
