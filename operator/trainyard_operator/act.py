"""Effects on Kubernetes and Ray. Each is idempotent and fenced; the API's answers go into the cache at once."""

from collections.abc import Mapping
from contextlib import suppress
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
    NotDeleted,
    Outcome,
    Postponed,
    Refused,
    ResultsKept,
    ResultsLost,
    Run,
    StopJob,
    SubmitJob,
    Unguard,
)
from trainyard_operator.outcomes import Meaning, Request, meaning
from trainyard_operator.readings.objects import owner_uid, read_cluster
from trainyard_operator.vocabulary import FINALIZER, Reason

Form = Mapping[str, Any]
AGAIN_SECONDS = 5.0
"""Delay before an effect is tried again that the API server could not carry out."""


class Actor:
    def __init__(self, kube: KubeClient, dashboards: Dashboards, cache: Cache) -> None:
        self._kube = kube
        self._dashboards = dashboards
        self._cache = cache

    async def act(self, run: Run, effect: Effect, head: Head | None) -> Outcome | None:
        """Carry out one effect. An answer of the API server becomes an outcome; only errors.FencedError is raised."""
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
                return None
            case KeepResults(config_map):
                return await self._keep_results(key, config_map)
            case DeleteCluster(name, uid):
                return await self.delete_cluster(key.namespace, name, uid)
            case DeleteRun(uid):
                return await self._delete_run(key, uid)

    async def announce(self, namespace: str, event: Form) -> None:
        """Post an Event; if it exists already, update its time."""
        try:
            await self._kube.create(EVENTS, namespace, event)
        except errors.ExistsError:
            name = event["metadata"]["name"]
            await self._kube.patch(EVENTS, namespace, name, {"lastTimestamp": event["lastTimestamp"]})

    async def delete_cluster(self, namespace: str, name: str, uid: str) -> Outcome | None:
        """Delete the cluster with that uid, but not a later cluster with the same name."""
        place = Key(namespace, name)
        try:
            answer = await self._kube.delete(CLUSTERS, namespace, name, uid)
        except errors.ApiError as error:
            match meaning(Request.DELETE, error):
                case Meaning.DONE:
                    self._cache.forget(Kind.CLUSTER, place, uid)
                    return None
                case Meaning.ASK:
                    return await self._look_again(place, uid)
                case Meaning.REFUSED:
                    return NotDeleted(f"RayCluster {name} cannot be deleted: {error.message}")
            return _later(error)
        if answer.get("kind") == "RayCluster":
            self._cache.apply(Kind.CLUSTER, answer)
        else:
            self._cache.forget(Kind.CLUSTER, place, uid)
        return None

    async def _look_again(self, place: Key, uid: str) -> Outcome | None:
        """After a conflict: another object has the name now, or this object has changed."""
        try:
            form = await self._kube.get(CLUSTERS, place.namespace, place.name)
        except errors.GoneError:
            self._cache.forget(Kind.CLUSTER, place, uid)
            return None
        except errors.ApiError as error:
            return _later(error)
        if form["metadata"]["uid"] != uid:
            self._cache.forget(Kind.CLUSTER, place, uid)
            return None
        self._cache.apply(Kind.CLUSTER, form)
        return Postponed(f"RayCluster {place.name} has changed", 0)

    async def _set_finalizers(self, run: Run, finalizers: tuple[str, ...]) -> Outcome | None:
        """Postponed if somebody else wrote first, or if the run is gone: the watch will tell which."""
        metadata = {"resourceVersion": run.resource_version, "finalizers": list(finalizers)}
        try:
            form = await self._kube.patch(RUNS, run.key.namespace, run.key.name, {"metadata": metadata})
        except errors.ApiError as error:
            if meaning(Request.SET_FINALIZER, error) == Meaning.REFUSED:
                return Refused(Reason.FINALIZER_REFUSED, f"the operator may not set its finalizer: {error.message}")
            return _later(error)
        self._cache.apply(Kind.RUN, form)
        return GuardChanged(form["metadata"]["resourceVersion"])

    async def _create_cluster(self, key: Key, secret: Form | None, cluster: Form) -> Outcome:
        try:
            if secret is not None:
                await self._create_secret(key, secret)
            form = await self._create_or_get(key, cluster)
        except errors.ApiError as error:
            return _not_created(error)
        wanted = cluster["metadata"]["ownerReferences"][0]["uid"]
        if owner_uid(form) != wanted:
            name = cluster["metadata"]["name"]
            return Refused(Reason.NAME_TAKEN, f"a RayCluster {name} exists that is not this run's; delete it")
        self._cache.apply(Kind.CLUSTER, form)
        return Created(read_cluster(form))

    async def _create_secret(self, key: Key, secret: Form) -> None:
        """An existing Secret has the same token, because the name and the token follow from the same uid."""
        with suppress(errors.ExistsError):
            await self._kube.create(SECRETS, key.namespace, secret)

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

    async def _delete_run(self, key: Key, uid: str) -> Outcome | None:
        try:
            await self._kube.delete(RUNS, key.namespace, key.name, uid)
        except errors.ApiError as error:
            return None if meaning(Request.DELETE, error) in (Meaning.DONE, Meaning.ASK) else _later(error)
        return None


def _not_created(error: errors.ApiError) -> Refused:
    """Why there is no cluster, with the API server's message."""
    if meaning(Request.CREATE_CLUSTER, error) == Meaning.HOPELESS:
        return Refused(Reason.CLUSTER_REFUSED, f"the API server refuses the cluster: {error.message}", hopeless=True)
    if isinstance(error, errors.UnavailableError):
        return Refused(Reason.CLUSTER_NOT_CREATED, f"the API server cannot create the cluster now: {error.message}")
    return Refused(Reason.CLUSTER_REFUSED, f"the API server does not allow the cluster: {error.message}")


def _later(error: errors.ApiError) -> Postponed:
    return Postponed(error.message, AGAIN_SECONDS)
