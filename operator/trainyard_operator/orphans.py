"""Clusters whose run is gone: the second place that deletes clusters, beside `policies/cleanup.py`.

Kubernetes' garbage collector would delete them too; this is sooner. Whatever it leaves, the collector takes.
"""

from trainyard_operator.act import Actor
from trainyard_operator.cache import Cache
from trainyard_operator.model import Key
from trainyard_operator.readings.objects import read_cluster


async def delete_orphans(key: Key, cache: Cache, actor: Actor) -> None:
    """Delete the clusters of a run that the cache no longer has."""
    for form in cache.clusters(key):
        cluster = read_cluster(form)
        if not cluster.deleting:
            await actor.delete_cluster(key.namespace, cluster.name, cluster.uid)
