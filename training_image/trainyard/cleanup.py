"""Removing what a training left on the nodes of a Ray cluster, and nothing else.

What is the run's own follows from how it is made, not from its age or its name:

- its temporary folder, made by this module with a file in it that says whose it is;
- what Ray Tune keeps on every node for the experiments of this process, `<Ray session>/artifacts/<time>/<experiment>`:
  those that this process was seen to make a folder for (Python tells about it through an audit hook).

Results that were asked for (Tune's `storage_path`, checkpoints) are never touched.
"""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import socket
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any

logger = logging.getLogger(__name__)

FOLDER_VARIABLE = "TRAINYARD_TEMPORARY_FOLDER"
ARTIFACTS = "artifacts"
OWNER_FILE = ".trainyard-owner"
REMOVAL_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class NodeReport:
    """What was removed on one node (or would be, in a dry run).

    Attributes:
        server: the node's address, or a listed server that is no alive node.
        hostname: None for such a server.
        bytes: size of the files.
        removed: the folders.
        errors: what could not be removed and why, and why a node was not cleaned.
    """

    server: str
    hostname: str | None = None
    bytes: int = 0
    files: int = 0
    removed: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


@dataclass(frozen=True)
class CleanupReport:
    """What the clean-up did on all nodes."""

    nodes: tuple[NodeReport, ...] = ()
    dry_run: bool = False

    @property
    def bytes(self) -> int:
        return sum(node.bytes for node in self.nodes)

    @property
    def errors(self) -> tuple[str, ...]:
        return tuple(f"{node.server}: {error}" for node in self.nodes for error in node.errors)

    def __str__(self) -> str:
        did = "would free" if self.dry_run else "freed"
        lines = [f"{node.server}: {did} {node.bytes:,} bytes in {node.files:,} files" for node in self.nodes]
        return "\n".join([*lines, *self.errors])


@dataclass
class RayTrainingCleanup:
    """Cleans up after the training inside a ``with`` block, whether it succeeds, raises or is interrupted::

        with RayTrainingCleanup(cleanup_servers=["10.0.0.7", "worker-3"]) as cleanup:
            tuner.fit()
        print(cleanup.report)

    Where Ray is not connected yet, entering connects it (``RAY_ADDRESS``, or a Ray of this machine) such that every
    process of the job has the run's folder as its temporary folder (``TMPDIR``). Where it is, ``folder`` is for the
    program to use; Tune's own files are found in either case.

    Args:
        cleanup_servers: addresses or hostnames of the nodes to clean; None for every alive node. A listed server that
            is no alive node is reported.
        dry_run: only measure what would be removed.
        ray_options: what ``ray.init`` is called with where Ray is not connected yet; a ``worker_process_setup_hook`` of
            its ``runtime_env`` must be a ``module.function``.
    """

    cleanup_servers: Sequence[str] | None = None
    dry_run: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    report: CleanupReport = field(default_factory=CleanupReport, init=False)
    folder: Path = field(init=False)
    _watch: _FolderWatch = field(init=False, repr=False)
    _others: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.cleanup_servers, str):
            raise TypeError(f"cleanup_servers is the string {self.cleanup_servers!r}; give a list of servers")
        self._token = uuid.uuid4().hex
        self.folder = Path(tempfile.gettempdir()) / f"trainyard-run-{self._token[:12]}"

    def __enter__(self) -> RayTrainingCleanup:
        import ray

        if not ray.is_initialized():
            variables = {"TMPDIR": str(self.folder), FOLDER_VARIABLE: f"{self.folder}:{self._token}"}
            by_value()
            environment = _with_folder(self.ray_options.get("runtime_env") or {}, variables)
            ray.init(**{**self.ray_options, "runtime_env": environment})
            self._others = tempfile.gettempdir()
        make_folder(self.folder, self._token)
        if self._others is not None:
            tempfile.tempdir = str(self.folder)
        self._watch = _FolderWatch(ARTIFACTS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.stop()
        if self._others is not None:
            tempfile.tempdir = self._others
        self.report = self._clean()
        log = logger.warning if self.report.errors else logger.info
        log("clean-up after the training: %s", self.report)

    def _clean(self) -> CleanupReport:
        import ray

        if not ray.is_initialized():
            own = remove({str(self.folder): self._token}, [], dry_run=self.dry_run)
            gone = NodeReport("the other nodes", errors=("Ray was shut down inside the block; they were not cleaned",))
            return CleanupReport((own, gone), self.dry_run)
        notes = [] if self.dry_run else _end(self._token)
        nodes, unknown = select_nodes(ray.nodes(), self.cleanup_servers)
        experiments = experiments_of(self._watch.folders)
        by_value()
        task = ray.remote(num_cpus=0, max_retries=0)(remove)
        waiting = [(node, self._start(task, node, experiments)) for node in nodes]
        reports = [_result(node, reference) for node, reference in waiting]
        return CleanupReport((*reports, *unknown, *notes), self.dry_run)

    def _start(self, task: Any, node: Mapping[str, Any], experiments: Iterable[str]) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        artifacts = [str(session_folder(node) / ARTIFACTS / experiment) for experiment in experiments]
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        return task.options(scheduling_strategy=strategy).remote(
            {str(self.folder): self._token}, artifacts, dry_run=self.dry_run
        )


def _with_folder(given: Mapping[str, Any], variables: Mapping[str, str]) -> dict[str, Any]:
    """A runtime environment whose processes have the run's folder before a hook of its own is called."""
    hook = given.get("worker_process_setup_hook")
    return {
        **given,
        "env_vars": {**given.get("env_vars", {}), **variables},
        "worker_process_setup_hook": _with_folder_of_environment(hook),
    }


def _with_folder_of_environment(hook: str | None) -> Callable[[], None]:
    """What a worker process does as it starts, before anything there asks for a temporary folder."""

    def set_up() -> None:
        folder, token = _of_environment()
        made = make_folder(Path(folder), token)
        tempfile.tempdir = folder
        if hook:
            module, _, name = hook.rpartition(".")
            getattr(importlib.import_module(module), name)()
        # Asked last: a clean-up that begins later finds the folder; one that began before may have passed here already.
        if made and _is_over(token):
            for error in remove({folder: token}, [], dry_run=False).errors:
                logger.warning("clean-up after the training: %s", error)
            tempfile.tempdir = None

    return set_up


def is_removed(path: Path) -> bool:
    """Whether `path` is in the folder of this worker process's run, and the clean-up has removed that one."""
    folder, token = _of_environment()
    return bool(token) and Path(folder) in path.parents and _is_over(token)


def _of_environment() -> tuple[str, str]:
    """The run's folder and its token, in a worker process; both empty where its job has no clean-up."""
    folder, _, token = os.environ.get(FOLDER_VARIABLE, "").rpartition(":")
    return folder, token


def _end(token: str) -> list[NodeReport]:
    """Tell the processes of the job that have yet to start that the run's folder is gone; what keeps them from it.

    The key stays in the Ray cluster's key-value store, as what Ray itself knows of a job that is over does.
    """
    try:
        from ray.experimental.internal_kv import _internal_kv_put
    except ImportError as error:
        return [NodeReport("processes that start late", errors=(f"may leave the run's folder: {error}",))]
    _internal_kv_put(f"{FOLDER_VARIABLE}:{token}", b"removed")
    return []


def _is_over(token: str) -> bool:
    try:
        from ray.experimental.internal_kv import _internal_kv_exists
    except ImportError:  # reported by the driver's clean-up
        return False
    return _internal_kv_exists(f"{FOLDER_VARIABLE}:{token}")


class _FolderWatch:
    """The folders below one of a certain name that this process makes, until it is stopped.

    An audit hook (PEP 578) cannot be removed again; a stopped one does nothing.
    """

    def __init__(self, below: str) -> None:
        self.folders: list[str] = []
        self._below = f"/{below}/"
        self._watching = True
        sys.addaudithook(self._hear)

    def stop(self) -> None:
        self._watching = False

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._watching and event == "os.mkdir":
            folder = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
            if self._below in folder:
                self.folders.append(folder)


def experiments_of(folders: Iterable[str]) -> list[str]:
    """``<time>/<experiment>`` of the folders ``.../artifacts/<time>/<experiment>/...``, each once."""
    tails = (folder.rpartition(f"/{ARTIFACTS}/")[2].split("/") for folder in folders)
    return sorted({"/".join(tail[:2]) for tail in tails if len(tail) >= 2 and all(tail[:2])})


def by_value() -> None:
    """Send this module's functions to other nodes whole: those nodes may not have this package."""
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def session_folder(node: Mapping[str, Any]) -> Path:
    """The folder of the Ray session on a node, from an entry of ``ray.nodes()``."""
    return Path(node["RayletSocketName"]).parent.parent


def select_nodes(
    nodes: Iterable[Mapping[str, Any]], servers: Sequence[str] | None
) -> tuple[list[Mapping[str, Any]], list[NodeReport]]:
    """Choose the alive nodes that are listed; report the listed servers that none of them is.

    Args:
        nodes: entries of ``ray.nodes()``.
        servers: addresses or hostnames; None for every alive node.
    """
    alive = [node for node in nodes if node["Alive"]]
    if servers is None:
        return alive, []
    chosen: dict[str, Mapping[str, Any]] = {}
    unknown = []
    for server in dict.fromkeys(servers):
        found = [node for node in alive if server in (node["NodeManagerAddress"], node["NodeManagerHostname"])]
        chosen |= {node["NodeID"]: node for node in found}
        if not found:
            known = ", ".join(sorted(f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']})" for node in alive))
            unknown.append(NodeReport(server, errors=(f"is no alive node of the Ray cluster, which has {known}",)))
    return list(chosen.values()), unknown


def make_folder(folder: Path, token: str) -> bool:
    """Make the run's folder on this node, with its owner in it; return whether it was not there yet."""
    try:
        folder.mkdir(mode=0o700, parents=True)
        made = True
    except FileExistsError:
        made = False
    (folder / OWNER_FILE).write_text(token)
    return made


def remove(owned: Mapping[str, str], artifacts: Sequence[str], *, dry_run: bool) -> NodeReport:
    """Remove folders on this node.

    Args:
        owned: folder -> the token that its owner file must hold, or it stays.
        artifacts: folders that are the run's own by their path. The folder above them, Tune's of that second, goes too
            when it is empty.
        dry_run: only measure.
    """
    removed, errors, size, count = [], [], 0, 0
    for name in [*owned, *artifacts]:
        folder = Path(name)
        if not folder.is_dir():
            continue
        if folder.is_symlink() or (name in owned and not _is_owned(folder, owned[name])):
            # Gone since: another Ray node of this machine was faster.
            if folder.is_dir():
                errors.append(f"{folder} is not the run's own and stays")
            continue
        claimed = folder if dry_run else _claim(folder)
        if claimed is None:
            continue
        folder_size, folder_count = _measure(claimed)
        size, count = size + folder_size, count + folder_count
        removed.append(name)
        if not dry_run:
            errors += _remove_tree(claimed)
            if name in artifacts:
                # Not empty: another experiment began in the same second.
                with suppress(OSError):
                    folder.parent.rmdir()
    hostname = socket.gethostname()
    return NodeReport(hostname, hostname, size, count, tuple(removed), tuple(errors))


def _is_owned(folder: Path, token: str) -> bool:
    owner = folder / OWNER_FILE
    try:
        return not owner.is_symlink() and owner.read_text() == token
    except (FileNotFoundError, IsADirectoryError):
        return False


def _claim(folder: Path) -> Path | None:
    """Rename a folder, so that of the Ray nodes that share a machine one removes it; None where another came first."""
    claimed = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.removed")
    try:
        return folder.rename(claimed)
    except FileNotFoundError:
        return None


def _remove_tree(folder: Path) -> list[str]:
    """Remove a folder; return what could not be removed."""
    errors = []

    def note(_: Any, path: str, reason: Any) -> None:
        # A file that a process of the training still removed itself.
        if not isinstance(reason[1], FileNotFoundError):
            errors.append(f"{path}: {reason[1]}")

    shutil.rmtree(folder, onerror=note)
    return errors


def _measure(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files below a folder; links are not followed."""
    size = count = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.lstat(os.path.join(parent, name)).st_size
                count += 1
    return size, count


def _result(node: Mapping[str, Any], reference: Any) -> NodeReport:
    import ray

    address, hostname = node["NodeManagerAddress"], node["NodeManagerHostname"]
    try:
        return replace(ray.get(reference, timeout=REMOVAL_TIMEOUT_SECONDS), server=address, hostname=hostname)
    except (ray.exceptions.RayError, TimeoutError) as error:
        return NodeReport(address, hostname, errors=(f"could not be cleaned: {type(error).__name__}: {error}",))
