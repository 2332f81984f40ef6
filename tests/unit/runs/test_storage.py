import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import fs

from tests.kill_points import ObjectStore
from trainyard.errors import StorageNotWritable
from trainyard.runs.checkpoints import CheckpointStore
from trainyard.runs.storage import RunStorage, at_directory, at_uri, below, new_scratch


def remote(tmp_path: Path) -> RunStorage:
    """A filesystem that is not the local one, as object stores are: a folder seen through a SubTreeFileSystem."""
    (tmp_path / "bucket").mkdir()
    (tmp_path / "scratch").mkdir()
    bucket = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    return RunStorage(bucket, "runs/one", tmp_path / "scratch", "s3://bucket/runs/one", True)


@pytest.fixture(params=["local", "remote"])
def place(request, tmp_path):
    return at_directory(tmp_path / "run") if request.param == "local" else remote(tmp_path)


def write_algorithm(content):
    def write(folder: Path):
        (folder / "learner" / "empty").mkdir(parents=True)
        (folder / "learner" / "weights").write_text(content)

    return write


def test_texts_come_back_and_missing_ones_are_none(place):
    place.write_text("a/b.txt", "text")
    assert place.read_text("a/b.txt") == "text"
    assert place.read_text("a/none.txt") is None


def test_folders_come_back_whole(place, tmp_path):
    write_algorithm("42")(tmp_path / "source")
    place.upload(tmp_path / "source", "kept")
    folder = place.download("kept")
    assert (folder / "learner" / "weights").read_text() == "42"
    assert (folder / "learner" / "empty").is_dir()


def test_a_file_uri_is_a_directory(tmp_path):
    place = at_uri(tmp_path.as_uri(), "team/run/uid")
    assert place.is_local
    assert place.local == tmp_path / "team/run/uid"


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageNotWritable, match=r"cannot be written \(Not a directory\)"):
        at_directory(tmp_path / "file" / "below")


def test_a_filesystem_that_takes_no_folders_is_the_users_error():
    with pytest.raises(StorageNotWritable, match="check the volume's permissions"):
        at_directory(Path("/proc/trainyard/run"))


@pytest.mark.parametrize("prefix", ["bucket", "bucket/", "bucket/team"])
def test_what_is_below_a_uri_with_options_is_found_by_its_own_uri(prefix):
    options = "scheme=http&endpoint_override=localhost:9000&region=eu-1"
    uri = below(below(f"s3://{prefix}?{options}", "run/u"), "checkpoints/3")
    assert uri.partition("?")[2] == options
    filesystem, path = fs.FileSystem.from_uri(uri)
    assert (filesystem.region, path) == ("eu-1", f"{prefix.rstrip('/')}/run/u/checkpoints/3")


def test_checkpoints_behind_a_uri_with_options_are_named_by_a_uri_that_leads_there(tmp_path):
    place = replace(remote(tmp_path), uri="s3://bucket/runs/one?region=eu-1")
    saved = CheckpointStore(place, keep=1).save(2, write_algorithm("2"), {})
    assert saved.uri == "s3://bucket/runs/one/checkpoints/2?region=eu-1"


def test_an_unknown_scheme_is_the_users_error():
    with pytest.raises(StorageNotWritable, match=r"spec\.storage\.uri: foo://bucket is not a usable"):
        at_uri("foo://bucket", "run")


def test_checkpoints_are_kept_and_pruned_and_the_latest_is_found(place):
    store = CheckpointStore(place, keep=2)
    assert store.latest() is None
    for iteration in (5, 10, 100):
        store.save(iteration, write_algorithm(str(iteration)), {"counters": iteration})
    assert sorted(place.list_folders("checkpoints")) == ["10", "100"]
    latest = store.latest()
    assert latest.iteration == 100
    assert store.state_of(latest)["counters"] == 100
    assert (store.algorithm_folder(latest) / "learner" / "weights").read_text() == "100"


def test_the_best_checkpoint_is_beside_the_kept_ones_and_replaced(place):
    store = CheckpointStore(place, keep=1)
    store.save(1, write_algorithm("good"), {}, best=True)
    store.save(2, write_algorithm("better"), {}, best=True)
    store.save(3, write_algorithm("later"), {})
    store.save(4, write_algorithm("latest"), {})
    assert sorted(place.list_folders("checkpoints")) == ["4", "best"]
    assert store.best().iteration == 2
    assert (store.algorithm_folder(store.best()) / "learner" / "weights").read_text() == "better"


def test_an_unfinished_checkpoint_is_ignored(place):
    store = CheckpointStore(place, keep=3)
    store.save(5, write_algorithm("5"), {})
    place.write_text("checkpoints/10/algorithm/learner/weights", "half")
    assert store.latest().iteration == 5


def test_a_save_that_fails_leaves_the_earlier_checkpoint(place):
    store = CheckpointStore(place, keep=3)
    store.save(5, write_algorithm("5"), {}, best=True)

    def fail(folder: Path):
        folder.mkdir()
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.save(6, fail, {}, best=True)
    assert store.best().iteration == 5
    assert place.list_folders("checkpoints") == ["best"]


def test_delete_removes_a_file_or_a_folder_and_minds_neither_missing(tmp_path):
    storage = at_directory(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("a")
    (tmp_path / "folder" / "b").write_text("b")
    storage.delete("folder/a")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["b"]
    storage.delete("folder")
    storage.delete("folder")
    assert not (tmp_path / "folder").exists()


def test_a_folder_that_is_published_again_is_never_empty_in_between(tmp_path):
    asked = []

    def hear(name, path):
        asked.append(name)
        if name == "begin upload" and asked.count(name) == 3:
            raise OSError("the store is gone")

    filesystem = fs.PyFileSystem(ObjectStore(tmp_path / "bucket", hear))
    place = RunStorage(filesystem, "run", tmp_path / "local", "store://bucket/run", True)
    for name in ("events.1", "events.2"):
        (place.local / "tensorboard").mkdir(parents=True, exist_ok=True)
        (place.local / "tensorboard" / name).write_text("first")
    place.publish("tensorboard")
    (place.local / "tensorboard" / "events.1").unlink()
    with pytest.raises(OSError, match="the store is gone"):
        place.publish("tensorboard")
    kept = tmp_path / "bucket" / "run" / "tensorboard"
    assert sorted(path.name for path in kept.iterdir()) == ["events.1", "events.2"]
    place.publish("tensorboard")
    assert [path.name for path in kept.iterdir()] == ["events.2"]


def test_scratch_of_a_process_that_was_killed_goes_and_that_of_a_living_one_stays(tmp_path, monkeypatch):
    program = (
        "import sys, time; from trainyard.runs.storage import new_scratch; folder = new_scratch(); "
        "(folder / 'replay').write_bytes(b'x' * 1000); print(folder, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        killed, living = (Path(process.stdout.readline().strip()) for process in processes)
        processes[0].kill()
        processes[0].wait()
        assert killed.is_dir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        own = new_scratch()
        assert {path.name for path in tmp_path.iterdir()} == {living.name, own.name}
    finally:
        for process in processes:
            process.kill()
            process.wait()
