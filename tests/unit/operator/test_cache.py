from typing import Any

import pytest

from trainyard_operator.cache import Cache, Kind
from trainyard_operator.model import Key

KEY = Key("team", "run")


def obj(kind: Kind, version: int, uid: str = "u1", *, name: str = "run", owner: str = "run", **more: Any) -> dict:
    metadata: dict[str, Any] = {"namespace": "team", "name": name, "uid": uid, "resourceVersion": str(version)}
    if kind == Kind.CLUSTER:
        metadata["ownerReferences"] = [{"kind": "TrainingRun", "name": owner, "uid": "r", "controller": True}]
    if kind == Kind.POD:
        metadata["labels"] = {"trainyard.dev/run": owner, "ray.io/cluster": "c"}
    return {"metadata": metadata, "spec": {}, "status": {}, **more}


@pytest.fixture
def cache() -> Cache:
    return Cache()


class TestVersions:
    def test_a_newer_version_replaces_an_older_one(self, cache) -> None:
        assert cache.apply(Kind.RUN, obj(Kind.RUN, 1)) == KEY
        assert cache.apply(Kind.RUN, obj(Kind.RUN, 2, spec={"seed": 1})) == KEY
        assert cache.run(KEY)["spec"] == {"seed": 1}

    @pytest.mark.parametrize("version", [3, 9, 10], ids=["older", "older as text but not as number", "the same"])
    def test_an_older_version_changes_nothing(self, cache, version) -> None:
        """Read your own writes: the answer to a write came before the watch's older event."""
        cache.apply(Kind.RUN, obj(Kind.RUN, 10, spec={"mine": 1}))
        assert cache.apply(Kind.RUN, obj(Kind.RUN, version)) is None
        assert cache.run(KEY)["spec"] == {"mine": 1}


class TestDeletion:
    def test_what_was_deleted_does_not_come_back_with_a_late_event(self, cache) -> None:
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 1, name="c"))
        assert cache.remove(Kind.CLUSTER, obj(Kind.CLUSTER, 5, name="c")) == KEY
        assert cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 4, name="c")) is None
        assert cache.clusters(KEY) == []

    def test_a_successor_of_the_same_name_is_another_object(self, cache) -> None:
        cache.remove(Kind.RUN, obj(Kind.RUN, 5, "u1"))
        assert cache.apply(Kind.RUN, obj(Kind.RUN, 6, "u2")) == KEY
        cache.remove(Kind.RUN, obj(Kind.RUN, 7, "u1"))
        assert cache.run(KEY)["metadata"]["uid"] == "u2"

    def test_only_the_object_with_that_uid_is_forgotten(self, cache) -> None:
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 1, "u2", name="c"))
        cache.forget(Kind.CLUSTER, Key("team", "c"), "u1")
        assert len(cache.clusters(KEY)) == 1


class TestRepair:
    def test_what_the_list_lacks_is_removed(self, cache) -> None:
        """After a 410 the watch lists again and never tells of deletions."""
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 1, "u1", name="a"))
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 2, "u2", name="b"))
        changed = cache.repair(Kind.CLUSTER, [obj(Kind.CLUSTER, 2, "u2", name="b")], "10")
        assert changed == {KEY}
        assert [c["metadata"]["name"] for c in cache.clusters(KEY)] == ["b"]

    def test_what_is_older_is_replaced_and_what_is_missing_added(self, cache) -> None:
        cache.apply(Kind.RUN, obj(Kind.RUN, 1))
        assert cache.repair(Kind.RUN, [obj(Kind.RUN, 3, spec={"x": 1})], "10") == {KEY}
        assert cache.run(KEY)["spec"] == {"x": 1}

    def test_what_was_written_after_the_list_stays(self, cache) -> None:
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 11, name="new"))
        assert cache.repair(Kind.CLUSTER, [], "10") == set()
        assert len(cache.clusters(KEY)) == 1

    def test_an_equal_list_changes_nothing(self, cache) -> None:
        cache.apply(Kind.RUN, obj(Kind.RUN, 1))
        assert cache.repair(Kind.RUN, [obj(Kind.RUN, 1)], "10") == set()

    def test_a_list_of_one_namespace_says_nothing_about_others(self, cache) -> None:
        cache.apply(Kind.RUN, obj(Kind.RUN, 1))
        assert cache.repair(Kind.RUN, [], "10", "elsewhere") == set()
        assert cache.repair(Kind.RUN, [], "10", "team") == {KEY}


class TestWhatBelongsToARun:
    def test_pods_and_clusters_are_found_by_its_name(self, cache) -> None:
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 1, "u1", name="c"))
        cache.apply(Kind.POD, obj(Kind.POD, 2, "u2", name="p"))
        cache.apply(Kind.POD, obj(Kind.POD, 3, "u3", name="q", owner="other"))
        assert [c["metadata"]["name"] for c in cache.clusters(KEY)] == ["c"]
        assert [p["metadata"]["name"] for p in cache.pods(KEY)] == ["p"]
        assert cache.known() == {KEY}

    def test_what_belongs_to_none_is_left_out(self, cache) -> None:
        stray = obj(Kind.CLUSTER, 1, name="c")
        stray["metadata"]["ownerReferences"] = [{"kind": "RayJob", "name": "run", "uid": "x", "controller": True}]
        assert cache.apply(Kind.CLUSTER, stray) is None
        assert cache.clusters(KEY) == []

    def test_a_cluster_whose_run_is_gone_is_still_known(self, cache) -> None:
        cache.apply(Kind.CLUSTER, obj(Kind.CLUSTER, 1, name="c"))
        assert (cache.run(KEY), cache.known()) == (None, {KEY})


def test_what_is_kept_is_small(cache) -> None:
    pod = obj(Kind.POD, 1, name="p", spec={"containers": ["x" * 10_000]})
    pod["metadata"]["managedFields"] = ["y" * 10_000]
    cache.apply(Kind.POD, pod)
    assert len(str(cache.pods(KEY)[0])) < 1000
