"""A local run: its folder, and a Ray that does not start."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import ray

from trainyard.errors import RayNotStarted, StorageNotWritable
from trainyard.launch.local import _new_folder, _start_ray


def test_runs_that_begin_in_one_second_have_a_folder_each(tmp_path):
    with ThreadPoolExecutor(16) as runs:
        folders = list(runs.map(lambda _: _new_folder(tmp_path / "results", "run"), range(64)))
    assert len(set(folders)) == 64
    assert all(folder.is_dir() for folder in folders)


def test_a_place_for_results_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageNotWritable, match=r"--results: no folder can be made in .*\(File exists\)"):
        _new_folder(tmp_path / "file", "run")


def test_a_ray_that_does_not_start_is_told_with_what_to_do():
    with pytest.raises(RayNotStarted, match="Ray did not start: ") as told:
        _start_ray(ray, {"address": "local", "_temp_dir": "/proc/no-such-folder"})
    assert "/proc/no-such-folder" in str(told.value)
    assert "session_latest/logs" in str(told.value)
    assert "run it again" in str(told.value)
