"""`trainyard run`: runs a file on this machine, or on an existing Ray cluster."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from trainyard.errors import (
    EXIT_USER_ERROR,
    InsufficientResources,
    RayNotStarted,
    StorageNotWritable,
    UserError,
)
from trainyard.launch.connection import check_resources, connect, connected, ray_options, work
from trainyard.launch.endings import execute
from trainyard.launch.reading import identity_of, parse_completely
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.progress.report import PROGRESS_FILE_VARIABLE
from trainyard.progress.text import duration, summary_table
from trainyard.runs import packages, resuming, storage
from trainyard.runs.job import Job
from trainyard.spec import document as manifest
from trainyard.spec import sizing


def run_file(path: Path, *, ray_address: str | None, results: Path) -> int:
    """Run a file on this machine, or on the Ray cluster at `ray_address`; return the exit code."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    started_at = time.monotonic()
    sink = Progress(ProgressFile(Path(os.devnull), "local"))
    try:
        document = manifest.read_file(path)
        specification = parse_completely(document)
        resuming.check(specification)
        identity = identity_of(document, {})
        place = storage.at_directory(_new_folder(results, identity.name))
    except UserError as error:
        console.print(f"[bold red]{error.reason}[/]", highlight=False)
        console.print(str(error), style="red", highlight=False, markup=False)
        return EXIT_USER_ERROR
    sink = Progress(ProgressFile(place.local / "progress.jsonl", "local"))
    os.environ[PROGRESS_FILE_VARIABLE] = str(place.local / "progress.jsonl")
    job = Job(identity, specification, document, place, sink, console, packages.of(specification))

    def body() -> dict[str, Any]:
        console.print(
            f"[bold]{identity.name}[/] from {path}, results in {place.local}", highlight=False, soft_wrap=True
        )
        summary = _work_at(ray_address, job) if ray_address else _work_here(job)
        console.print(summary_table(summary | {"results": str(place.local)}, f"{identity.name}: finished"))
        console.print(f"total time {duration(time.monotonic() - started_at)}", highlight=False)
        return summary

    return execute(body, sink, console)


def _new_folder(results: Path, name: str) -> Path:
    """Make a folder for this run alone: one that holds checkpoints would be resumed.

    Raises:
        StorageNotWritable: with the operating system's reason.
    """
    base = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            folder = results / (base if number == 1 else f"{base}-{number}")
            with suppress(FileExistsError):  # another run of this second has it
                folder.mkdir()
                return folder
    except OSError as error:
        raise StorageNotWritable(
            f"--results: no folder can be made in {results.absolute()} ({error.strerror or error}); check its "
            "permissions and its free space, or give another one"
        ) from error
    raise AssertionError


def _work_at(address: str, job: Job) -> dict[str, Any]:
    need = sizing.need(job.specification)
    with connected(job, address) as job:
        check_resources(need, f"the Ray cluster at {address}")
        return work(job)


def _work_here(job: Job) -> dict[str, Any]:
    need = sizing.need(job.specification)
    available = _memory_bytes()
    if need.memory_bytes > available:
        raise InsufficientResources(
            f"the run needs about {need.explanation}, and this machine has {available / sizing.GIB:.1f} GiB; "
            "lower spec.sampling.envRunners or spec.search.maxConcurrentTrials"
        )
    machine = os.cpu_count() or 1
    if need.logical_cpus > machine:
        job.console.print(
            f"the run needs {need.logical_cpus:g} logical CPUs and this machine has {machine}: processes share them",
            style="yellow",
        )
    cpus = max(int(-(-need.logical_cpus // 1)), machine)
    options = ray_options(job, address="local", num_cpus=cpus, include_dashboard=False)
    try:
        connect(lambda ray: _start_ray(ray, options), job)
        check_resources(need, "this machine")
        return work(job)
    finally:
        if job.requirements is not None:
            shutil.rmtree(job.requirements.folder, ignore_errors=True)  # of this run alone


def _start_ray(ray: Any, options: dict[str, Any]) -> None:
    """Start a Ray of this machine.

    Raises:
        RayNotStarted: Ray gives its processes a time of its own for that, which no setting changes in full.
    """
    try:
        ray.init(**options)
    except Exception as error:
        load, cpus = os.getloadavg()[0], os.cpu_count() or 1
        busy = (
            f"this machine is busy ({load:.0f} processes want its {cpus} CPUs), and Ray's own processes get too little "
            "time to start; run it again when other programs have ended, or use --ray-address with a Ray that runs"
            if load > cpus
            else "run it again, and if that does not help, look at what its processes say"
        )
        raise RayNotStarted(
            f"Ray did not start: {str(error).strip()}\n{busy}; its logs are in "
            f"{os.environ.get('RAY_TMPDIR') or '/tmp'}/ray/session_latest/logs (raylet.err, dashboard_agent.log)"
        ) from error


def _memory_bytes() -> int:
    """Memory of this machine, or of this container if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total
