"""The last known state of runs, their RayClusters and their pods. No I/O.

Watches, the answers to this operator's own writes (so it reads its own writes) and the watchdog's lists fill it. An
older version never replaces a newer one, and a deleted object does not come back with a late event.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

from trainyard_operator import names
from trainyard_operator.model import Key
from trainyard_operator.readings.objects import key_of, slim_cluster, slim_pod, slim_run
from trainyard_operator.vocabulary import KIND

Form = Mapping[str, Any]
MAX_TOMBSTONES = 20_000


class Kind(StrEnum):
    RUN = "TrainingRun"
    CLUSTER = "RayCluster"
    POD = "Pod"


_SLIM: Mapping[Kind, Callable[[Form], dict[str, Any]]] = {
    Kind.RUN: slim_run,
    Kind.CLUSTER: slim_cluster,
    Kind.POD: slim_pod,
}


def run_key(kind: Kind, form: Form) -> Key | None:
    """The run that an object belongs to, None if it belongs to none."""
    metadata = form["metadata"]
    if kind == Kind.RUN:
        return key_of(form)
    if kind == Kind.CLUSTER:
        owners = metadata.get("ownerReferences", [])
        name = next((o["name"] for o in owners if o.get("kind") == KIND and o.get("controller")), None)
    else:
        name = metadata.get("labels", {}).get(names.LABEL_RUN)
    return Key(metadata["namespace"], name) if name else None


def version_of(form: Form) -> int:
    """The resource version as a number, for comparisons."""
    return int(form["metadata"]["resourceVersion"])


class Cache:
    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Form]] = {kind: {} for kind in Kind}
        self._of_run: dict[Kind, dict[Key, set[Key]]] = {Kind.CLUSTER: {}, Kind.POD: {}}
        self._gone: OrderedDict[str, None] = OrderedDict()

    def run(self, key: Key) -> Form | None:
        return self._objects[Kind.RUN].get(key)

    def runs(self) -> Iterator[Form]:
        return iter(list(self._objects[Kind.RUN].values()))

    def clusters(self, key: Key) -> list[Form]:
        """The RayClusters whose owner has that name, by name."""
        return self._owned(Kind.CLUSTER, key)

    def pods(self, key: Key) -> list[Form]:
        return self._owned(Kind.POD, key)

    def known(self) -> set[Key]:
        """Every run that is in the cache, or that an object in the cache belongs to."""
        return {*self._objects[Kind.RUN], *self._of_run[Kind.CLUSTER]}

    def count(self, kind: Kind) -> int:
        return len(self._objects[kind])

    def apply(self, kind: Kind, form: Form) -> Key | None:
        """Store an object. Returns the run to look at, or None if nothing changed."""
        run, place = run_key(kind, form), key_of(form)
        if run is None or form["metadata"]["uid"] in self._gone:
            return None
        old = self._objects[kind].get(place)
        if old is not None and version_of(old) >= version_of(form):
            return None
        self._objects[kind][place] = _SLIM[kind](form)
        if kind in self._of_run:
            self._of_run[kind].setdefault(run, set()).add(place)
        return run

    def remove(self, kind: Kind, form: Form) -> Key | None:
        """Store a deletion. Returns the run to look at, or None if the object belongs to no run."""
        self.forget(kind, key_of(form), form["metadata"]["uid"])
        return run_key(kind, form)

    def forget(self, kind: Kind, place: Key, uid: str) -> None:
        """Remove the object with that uid: it is gone and never comes back."""
        self._gone[uid] = None
        while len(self._gone) > MAX_TOMBSTONES:
            self._gone.popitem(last=False)
        old = self._objects[kind].get(place)
        if old is None or old["metadata"]["uid"] != uid:
            return
        del self._objects[kind][place]
        run = run_key(kind, old)
        if run is not None and run in self._of_run.get(kind, {}):
            self._of_run[kind][run].discard(place)
            if not self._of_run[kind][run]:
                del self._of_run[kind][run]

    def restore(self, kind: Kind, form: Form) -> Key | None:
        """Store an object again that counted as gone: asked for it, the API server says that it exists."""
        self._gone.pop(form["metadata"]["uid"], None)
        return self.apply(kind, form)

    def repair(self, kind: Kind, listed: Iterable[Form], list_version: str, namespace: str | None = None) -> set[Key]:
        """Make the cache (of one namespace) equal to a list. Returns the runs for which events had been missed.

        Objects that were written after the list (their version is higher) stay.
        """
        changed: set[Key] = set()
        seen: set[str] = set()
        for form in listed:
            seen.add(form["metadata"]["uid"])
            if (run := self.apply(kind, form)) is not None:
                changed.add(run)
        for form in list(self._objects[kind].values()):
            absent = form["metadata"]["uid"] not in seen and namespace in (None, form["metadata"]["namespace"])
            if absent and version_of(form) <= int(list_version) and (run := self.remove(kind, form)) is not None:
                changed.add(run)
        return changed

    def _owned(self, kind: Kind, key: Key) -> list[Form]:
        return [self._objects[kind][place] for place in sorted(self._of_run[kind].get(key, ()))]
