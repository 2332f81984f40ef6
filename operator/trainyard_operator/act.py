"""Effects on Kubernetes and Ray. Each is idempotent and fenced; what the API answers goes into the cache at once."""

from collections.abc import Mapping
from typing import Any

from trainyard_operator import errors
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.clients.dashboard import Dashboards, Head
from trainyard_operator.clients.kube import CLUSTERS, CONFIG_MAPS, EVENTS, RUNS, SECRETS, KubeClient
from trainyard_operator.model import (
    CreateCluster,
    Created,
    DeleteCluster,
    DeleteRun,
    Effect,
    Guard,
    GuardChanged,
    KeepResults,
    Key,
    Outcome,
    Refused,
    ResultsKept,
    ResultsLost,
    Run,
    StopJob,
    SubmitJob,
    Unguard,
)
from trainyard_operator.readings.objects import owner_uid, read_cluster
from trainyard_operator.vocabulary import FINALIZER, Reason

Form = Mapping[str, Any]


class Actor:
    def __init__(self, kube: KubeClient, dashboards: Dashboards, cache: Cache) -> None:
        self._kube = kube
        self._dashboards = dashboards
        self._cache = cache

    async def act(self, run: Run, effect: Effect, head: Head | None) -> Outcome | None:
        """Carry out one effect. Raises errors.UnavailableError and errors.FencedError: the pass is repeated later."""
        key = run.key
        match effect:
            case CreateCluster(secret, cluster):
                return await self._create_cluster(key, secret, cluster)
            case Guard():
                return await self._set_finalizers(run, (*run.finalizers, FINALIZER))
            case Unguard():
                return await self._set_finalizers(run, tuple(f for f in run.finalizers if f != FINALIZER))
            case SubmitJob():
                assert head is not None
                return await self._dashboards.submit(head, effect)
            case StopJob(job_id):
                assert head is not None
                await self._dashboards.stop(head, job_id)
            case KeepResults(config_map):
                return await self._keep_results(key, config_map)
            case DeleteCluster(name, uid):
                await self.delete_cluster(key.namespace, name, uid)
            case DeleteRun(uid):
                await self._delete_run(key, uid)
        return None

    async def announce(self, namespace: str, event: Form) -> None:
        """Post an Event; of one that exists the time is brought up to date."""
        try:
            await self._kube.create(EVENTS, namespace, event)
        except errors.ExistsError:
            name = event["metadata"]["name"]
            await self._kube.patch(EVENTS, namespace, name, {"lastTimestamp": event["lastTimestamp"]})

    async def delete_cluster(self, namespace: str, name: str, uid: str) -> None:
        try:
            answer = await self._kube.delete(CLUSTERS, namespace, name, uid)
        except (errors.NotFoundError, errors.ConflictError):
            # Gone, or another object has taken the name.
            self._cache.forget(Kind.CLUSTER, Key(namespace, name), uid)
            return
        if answer.get("kind") == "RayCluster":
            self._cache.apply(Kind.CLUSTER, answer)
        else:
            self._cache.forget(Kind.CLUSTER, Key(namespace, name), uid)

    async def _set_finalizers(self, run: Run, finalizers: tuple[str, ...]) -> Outcome | None:
        """Nothing when somebody else wrote first, or the run is gone: the next pass decides anew."""
        metadata = {"resourceVersion": run.resource_version, "finalizers": list(finalizers)}
        try:
            form = await self._kube.patch(RUNS, run.key.namespace, run.key.name, {"metadata": metadata})
        except errors.ForbiddenError as error:
            return Refused(Reason.FINALIZER_REFUSED, f"the operator may not set its finalizer: {error.message}")
        except (errors.ConflictError, errors.NotFoundError):
            return None
        self._cache.apply(Kind.RUN, form)
        return GuardChanged(form["metadata"]["resourceVersion"])

    async def _create_cluster(self, key: Key, secret: Form | None, cluster: Form) -> Outcome:
        try:
            if secret is not None:
                await self._create_secret(key, secret)
            form = await self._create_or_get(key, cluster)
        except errors.InvalidError as error:
            return Refused(
                Reason.CLUSTER_REFUSED, f"the API server refuses the cluster: {error.message}", hopeless=True
            )
        except errors.ForbiddenError as error:
            return Refused(Reason.CLUSTER_REFUSED, f"the API server does not allow it: {error.message}")
        except errors.NotFoundError as error:
            return Refused(Reason.CLUSTER_REFUSED, f"the API server cannot place it: {error.message}")
        wanted = cluster["metadata"]["ownerReferences"][0]["uid"]
        if owner_uid(form) != wanted:
            name = cluster["metadata"]["name"]
            return Refused(Reason.NAME_TAKEN, f"a RayCluster {name} exists that is not this run's; delete it")
        self._cache.apply(Kind.CLUSTER, form)
        return Created(read_cluster(form))

    async def _create_secret(self, key: Key, secret: Form) -> None:
        """One that exists holds the same token, because the name and the token follow from the same uid."""
        try:
            await self._kube.create(SECRETS, key.namespace, secret)
        except errors.ExistsError:
            return

    async def _create_or_get(self, key: Key, cluster: Form) -> Form:
        try:
            return await self._kube.create(CLUSTERS, key.namespace, cluster)
        except errors.ExistsError:
            return await self._kube.get(CLUSTERS, key.namespace, cluster["metadata"]["name"])

    async def _keep_results(self, key: Key, config_map: Form) -> Outcome:
        name = config_map["metadata"]["name"]
        try:
            try:
                await self._kube.create(CONFIG_MAPS, key.namespace, config_map)
            except errors.ExistsError:
                await self._kube.patch(CONFIG_MAPS, key.namespace, name, {"data": config_map["data"]})
        except errors.ApiError as error:
            return ResultsLost(f"ConfigMap {name} could not be written: {error.message}")
        return ResultsKept(name)

    async def _delete_run(self, key: Key, uid: str) -> None:
        try:
            await self._kube.delete(RUNS, key.namespace, key.name, uid)
        except (errors.NotFoundError, errors.ConflictError):
            return
