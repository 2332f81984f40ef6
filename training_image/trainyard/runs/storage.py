"""The folder that a run writes: a directory of this machine or a place behind a pyarrow filesystem.

Layout below it: checkpoints/<iteration>/, checkpoints/best/, reached.json, progress.csv, trials.csv, trials/,
tensorboard/, summary.json, run.json, report/, report.html.
"""

import fcntl
import os
import posixpath
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from trainyard.errors import StorageNotWritable

MOUNT = Path("/trainyard/storage")
EPHEMERAL = Path("/tmp/trainyard")
_SCRATCH = "trainyard-scratch-"
# The locks of this process on its scratch folders.
_held: dict[Path, int] = {}


@dataclass(frozen=True)
class RunStorage:
    """One run's folder. `kept` is false when it is lost with the cluster.

    Programs that need real files (RLlib, TensorBoard, SQLite) work below `local`; for a remote filesystem that is a
    scratch directory, and `publish` copies what should outlive the run.
    """

    filesystem: fs.FileSystem
    path: str
    local: Path
    uri: str
    kept: bool

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def read_text(self, name: str) -> str | None:
        """Return the file's text, or None when there is no such file."""
        path = self._join(name)
        if self.filesystem.get_file_info(path).type != fs.FileType.File:
            return None
        with self.filesystem.open_input_stream(path) as stream:
            return stream.read().decode()

    def write_text(self, name: str, text: str) -> None:
        path = self._join(name)
        self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(text.encode())

    def keep_text(self, name: str, text: str) -> None:
        """Write the file below `local` and, where the filesystem is remote, there."""
        target = self.local / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        self.publish(name)

    def list_folders(self, name: str) -> list[str]:
        """Names of the folders below `name`; none when it does not exist."""
        selector = fs.FileSelector(self._join(name), allow_not_found=True)
        return [
            info.base_name for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.Directory
        ]

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file or folder to `name`; of a folder that was there, other files are removed afterwards."""
        target = self._join(name)
        if self.is_local and Path(target) == source:
            return
        if source.is_file():
            self.filesystem.create_dir(posixpath.dirname(target), recursive=True)
            fs.copy_files(str(source), target, destination_filesystem=self.filesystem)
            return
        # copy_files makes no folders on a local target.
        for folder in [source, *(path for path in source.rglob("*") if path.is_dir())]:
            relative = folder.relative_to(source).as_posix()
            self.filesystem.create_dir(posixpath.normpath(posixpath.join(target, relative)), recursive=True)
        fs.copy_files(str(source), target, destination_filesystem=self.filesystem)
        selector = fs.FileSelector(target, recursive=True)
        for info in self.filesystem.get_file_info(selector):
            if info.type == fs.FileType.File and not (source / posixpath.relpath(info.path, target)).exists():
                self.filesystem.delete_file(info.path)

    def download(self, name: str) -> Path:
        """Return a local folder with the content of the folder `name`."""
        if self.is_local:
            return Path(self._join(name))
        target = self.local / "downloads" / name
        shutil.rmtree(target, ignore_errors=True)
        source = self._join(name)
        selector = fs.FileSelector(source, recursive=True)
        target.mkdir(parents=True)
        for info in self.filesystem.get_file_info(selector):
            if info.type == fs.FileType.Directory:
                (target / posixpath.relpath(info.path, source)).mkdir(parents=True, exist_ok=True)
        fs.copy_files(source, str(target), source_filesystem=self.filesystem)
        return target

    def delete(self, name: str) -> None:
        """Remove the file `name`, or the folder and all below it; nothing happens when it does not exist."""
        path = self._join(name)
        kind = self.filesystem.get_file_info(path).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(path)
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(path)

    def publish(self, *names: str) -> None:
        """Copy local files or folders to the remote filesystem; nothing to do for a local one."""
        for name in names:
            if not self.is_local and (self.local / name).exists():
                self.upload(self.local / name, name)

    def discard_scratch(self) -> None:
        """Remove the scratch directory of a remote filesystem, at the end of the process that uses it."""
        if not self.is_local:
            _discard(self.local)

    def uri_of(self, name: str) -> str:
        return below(self.uri, name)

    def _join(self, name: str) -> str:
        return posixpath.normpath(posixpath.join(self.path, name))


def below(uri: str, name: str) -> str:
    """The URI of a file or folder below that of a folder; options (`?endpoint_override=...`) stay at its end."""
    folder, question, options = uri.partition("?")
    return posixpath.join(folder, name) + question + options


def at_directory(directory: Path, *, kept: bool = True) -> RunStorage:
    """Storage in a directory of this machine, made when it is missing and tried with one write.

    Raises:
        StorageNotWritable: with the operating system's reason.
    """
    directory = directory.absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _try_write(fs.LocalFileSystem(), str(directory))
    except OSError as error:
        raise StorageNotWritable(
            f"spec.storage: {directory} cannot be written ({error.strerror or error}); "
            "check the volume's permissions (the image runs as a non-root user: set fsGroup) and its free space"
        ) from error
    return RunStorage(fs.LocalFileSystem(), str(directory), directory, directory.as_uri(), kept)


def at_uri(uri: str, folder: str) -> RunStorage:
    """Storage in `folder` below a pyarrow filesystem URI (`s3://bucket/prefix`, `gs://...`, `file:///...`).

    Raises:
        StorageNotWritable: the URI is not understood, or the place cannot be written.
    """
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise StorageNotWritable(f"spec.storage.uri: {uri} is not a usable filesystem URI ({error})") from error
    path = posixpath.join(root, folder)
    if isinstance(filesystem, fs.LocalFileSystem):
        return at_directory(Path(path))
    try:
        filesystem.create_dir(path, recursive=True)
        _try_write(filesystem, path)
    except OSError as error:
        raise StorageNotWritable(
            f"spec.storage.uri: {uri} cannot be written ({error}); check the credentials in spec.storage.secretRef"
        ) from error
    return RunStorage(filesystem, path, new_scratch(), below(uri, folder), True)


def to_read(uri: str) -> RunStorage:
    """A folder that is only read, behind a pyarrow filesystem URI. Discard its scratch directory at the end.

    Raises:
        ValueError: the URI is not understood, or there is no such folder.
        OSError: the filesystem does not answer.
    """
    try:
        filesystem, path = fs.FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise ValueError(f"is not a usable filesystem URI ({error})") from error
    if filesystem.get_file_info(path).type != fs.FileType.Directory:
        raise ValueError("is no folder that can be seen from here")
    if isinstance(filesystem, fs.LocalFileSystem):
        return RunStorage(filesystem, path, Path(path), uri, True)
    return RunStorage(filesystem, path, new_scratch(), uri, True)


def _try_write(filesystem: fs.FileSystem, path: str) -> None:
    probe = posixpath.join(path, ".trainyard-write-test")
    with filesystem.open_output_stream(probe) as stream:
        stream.write(b"ok")
    filesystem.delete_file(probe)


def new_scratch() -> Path:
    """A temporary folder that this process holds with a lock; those that nobody holds any more are removed first.

    It can have a replay buffer in it, and a driver that is killed removes nothing.
    """
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{_SCRATCH}*"):
        if (lock := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)
    unnamed = Path(tempfile.mkdtemp(prefix=f".{_SCRATCH}"))
    lock = _lock(unnamed)
    assert lock is not None
    # It gets the name by which others look for it when it is locked.
    folder = unnamed.rename(root / unnamed.name[1:])
    _held[folder] = lock
    return folder


def _lock(folder: Path) -> int | None:
    """Lock a folder while the returned descriptor is open; None where another process has it, or it is another's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _discard(scratch: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    if (lock := _held.pop(scratch, None)) is not None:
        os.close(lock)
