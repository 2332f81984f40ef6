"""A driver that is killed while it writes a checkpoint; `python -m tests.bench.kill_points` is the whole of it."""

import pytest

from tests import kill_points
from trainyard.runs.checkpoints import BEST, CheckpointStore


@pytest.mark.parametrize("kind", ["local", "remote"])
def test_whenever_a_driver_is_killed_the_best_is_never_worse_and_nothing_is_left_behind(kind, tmp_path):
    points = list(kill_points.points(kind, tmp_path / "place", quick=True))
    assert [f"{point.operation}: {point.problems}" for point in points if point.problems] == []
    switched = {
        "local": "os.rename: checkpoints/best-new",
        "remote": "complete upload: checkpoints/best/trainyard.json",
    }
    assert switched[kind] in [point.operation for point in points]
    assert {point.best for point in points} >= {"the one before", "the new one"}


def test_a_store_that_has_no_best_for_a_moment_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointStore, "best", lambda self: self._read(BEST))
    points = kill_points.points("local", tmp_path / "place", quick=True)
    wrong = {point.operation: point.problems for point in points if point.problems}
    assert wrong == {"os.rename: checkpoints/best-new": ("best was 120.0 and is None",)}


def test_a_store_that_does_not_tidy_up_is_found_out(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckpointStore, "settle", lambda self: None)
    points = kill_points.points("local", tmp_path / "place", quick=True)
    assert any("is left behind" in problem for point in points for problem in point.problems)
