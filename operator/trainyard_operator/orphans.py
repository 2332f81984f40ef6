"""Deletes clusters whose run is gone. The other place that deletes clusters is `policies/cleanup.py`.

Kubernetes' garbage collector would delete them too, but later; it also deletes everything that is left here. The
cache alone never decides that there is no owner: the API server is asked for the run, and for the cluster. A cluster
without an owner reference is kept: somebody deleted the run with --cascade=orphan.
"""

import logging

from trainyard_operator import errors
from trainyard_operator.act import AGAIN_SECONDS, Actor
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.clients.kube import CLUSTERS, RUNS, KubeClient
from trainyard_operator.model import Key
from trainyard_operator.readings.objects import owner_uid, read_cluster

logger = logging.getLogger(__name__)


async def delete_orphans(key: Key, kube: KubeClient, cache: Cache, actor: Actor) -> float | None:
    """Delete the clusters of a run that is gone. Returns the seconds until there is more to do, None if all is done.

    Raises errors.ApiError if it is unknown whether the run is gone, and errors.FencedError.
    """
    clusters = [read_cluster(form) for form in cache.clusters(key)]
    if not clusters:
        return None
    try:
        run = await kube.get(RUNS, key.namespace, key.name)
    except errors.GoneError:
        pass
    else:
        logger.warning("the run exists although the watch has lost it", extra={"run": str(key)})
        return 0 if cache.restore(Kind.RUN, run) else None
    left = False
    for cluster in clusters:
        if not cluster.deleting and await _is_owned(key.namespace, cluster.name, cluster.uid, kube, cache):
            left |= await actor.delete_cluster(key.namespace, cluster.name, cluster.uid) is not None
    return AGAIN_SECONDS if left else None


async def _is_owned(namespace: str, name: str, uid: str, kube: KubeClient, cache: Cache) -> bool:
    """Whether the cluster still names the run as owner; otherwise it is removed from the cache."""
    try:
        form = await kube.get(CLUSTERS, namespace, name)
    except errors.GoneError:
        form = None
    if form is not None and form["metadata"]["uid"] == uid and owner_uid(form) is not None:
        return True
    cache.forget(Kind.CLUSTER, Key(namespace, name), uid)
    return False
