"""Starting a run: where its document, its Ray and its storage come from, and what its end means.

`drive` is the operator's way in (docs/decisions/0001), `run_file` a person's. Both end in `execute`, which turns
every end into the final progress line and an exit code.
"""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from trainyard import manifest, progress, requirements, resuming, sizing, storage, trainables, trial_tasks
from trainyard.cleanup import RayTrainingCleanup
from trainyard.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_TERMINATED,
    EXIT_USER_ERROR,
    InsufficientResources,
    InvalidConfiguration,
    Terminated,
    TrainyardError,
    UserError,
    root_cause,
)
from trainyard.progress import Progress, ProgressFile
from trainyard.reporting import JOB_ID_VARIABLE, PROGRESS_FILE_VARIABLE
from trainyard.requirements import Requirements
from trainyard.run import Identity, Run
from trainyard.specification import Cleanup, Specification, parse
from trainyard.storage import RunStorage
from trainyard.terminal import duration, summary_table

RUN_VARIABLE = "TRAINYARD_RUN"
ATTEMPT_VARIABLE = "TRAINYARD_ATTEMPT"
SUBMISSION_VARIABLE = "TRAINYARD_SUBMISSION"
PROGRESS_FOLDER_VARIABLE = "TRAINYARD_PROGRESS_DIR"

_REMEDIES = {"CPU": "spec.sampling.envRunners or cpusPerEnvRunner", "GPU": "spec.learner.gpus"}


@dataclass(frozen=True)
class Started:
    """A run whose document was read; what remains is to connect to Ray and to work.

    requirements: the run's own packages; None without spec.runtimeEnv.pip.
    """

    identity: Identity
    specification: Specification
    document: dict[str, Any]
    storage: RunStorage
    progress: Progress
    console: Console
    requirements: Requirements | None = None

    def run(self) -> Run:
        return Run(self.identity, self.specification, self.document, self.storage)


def read_document(text: str) -> tuple[dict[str, Any], Specification]:
    """Read the document and report all its faults together, those that only RLlib's signatures show included."""
    document = manifest.read_text(text, source=RUN_VARIABLE)
    return document, _parse_completely(document)


def _parse_completely(document: dict[str, Any]) -> Specification:
    try:
        return parse(document["spec"])
    except InvalidConfiguration as error:
        raise InvalidConfiguration([*error.faults, *_parameter_faults(document["spec"])]) from error


def _parameter_faults(spec: dict[str, Any]) -> list[Any]:
    """Only asked for a specification that is refused anyway, because it imports RLlib."""
    try:
        algorithm = parse({"algorithm": spec.get("algorithm"), "environment": {"name": "x"}, "stop": {"iterations": 1}})
    except InvalidConfiguration:
        return []
    from trainyard import algorithms

    return algorithms.faults(algorithm)


def identity_of(document: Mapping[str, Any], environ: Mapping[str, str]) -> Identity:
    metadata = document.get("metadata", {})
    return Identity(
        name=metadata.get("name") or metadata.get("generateName") or "run",
        namespace=metadata.get("namespace") or "default",
        uid=metadata.get("uid") or "",
        job_id=environ.get(JOB_ID_VARIABLE) or "local",
        attempt=int(environ.get(ATTEMPT_VARIABLE) or 1),
        submission=int(environ.get(SUBMISSION_VARIABLE) or 1),
    )


def progress_path(environ: Mapping[str, str]) -> Path:
    """The progress file of a job: in the log folder of the head's Ray session, which the dashboard serves."""
    default = Path(environ.get("RAY_TMPDIR") or "/tmp") / "ray" / "session_latest" / "logs"
    folder = Path(environ.get(PROGRESS_FOLDER_VARIABLE) or default)
    return folder / f"trainyard-{environ.get(JOB_ID_VARIABLE) or 'local'}.jsonl"


def open_storage(specification: Specification, identity: Identity, sink: Progress) -> RunStorage:
    """The run's folder in a cluster (docs/decisions/0001); without storage, one that is lost with the pod."""
    folder = f"{identity.namespace}/{identity.name}/{identity.uid or identity.job_id}"
    wanted = specification.storage
    if wanted is not None and wanted.uri is not None:
        return storage.at_uri(wanted.uri, folder)
    if wanted is not None:
        return storage.at_directory(storage.MOUNT / folder)
    sink.condition(
        "CheckpointsNotKept",
        "True",
        "NoStorage",
        "the run has no spec.storage: checkpoints, tables and curves are lost with its cluster",
    )
    return storage.at_directory(storage.EPHEMERAL / (identity.uid or identity.job_id), kept=False)


def drive(environ: Mapping[str, str]) -> int:
    """Run what TRAINYARD_RUN says on the Ray cluster whose head this process runs on; return the exit code."""
    console = Console(force_terminal=False, width=160)
    path = progress_path(environ)
    if not path.parent.is_dir():
        console.print(f"{path.parent} does not exist: trainyard drive runs on the head of a Ray cluster", style="red")
        return EXIT_FAILED
    sink = Progress(ProgressFile(path, environ.get(JOB_ID_VARIABLE) or "local"))

    def body() -> dict[str, Any]:
        text = environ.get(RUN_VARIABLE)
        if not text:
            raise InvalidConfiguration.of(
                RUN_VARIABLE, "is not set", "the operator sets it; use trainyard run -f FILE to run a file"
            )
        document, specification = read_document(text)
        sink.publish(now=True)
        identity = identity_of(document, environ)
        resuming.check(specification)
        place = open_storage(specification, identity, sink)
        own = requirements.of(specification)
        started = Started(identity, specification, document, place, sink, console, own)
        if specification.cluster.selector is not None:
            return _work_on_existing_cluster(started)
        connect(lambda ray: ray.init(**_ray_options(started, address="auto")), started)
        return work(started)

    return execute(body, sink, console)


def _ray_options(started: Started, **options: Any) -> dict[str, Any]:
    """What `ray.init` is called with."""
    own = {"runtime_env": started.requirements.runtime_env()} if started.requirements is not None else {}
    return {"logging_level": "WARNING", "log_to_driver": True, **own, **options}


def _work_on_existing_cluster(started: Started) -> dict[str, Any]:
    """Work on a Ray cluster that stays: what this run needs only while it runs is removed from its nodes."""
    place = started.storage
    try:
        with connected(started, "auto") as started:
            # Not refused: its other nodes may still be starting, and an autoscaler may bring more.
            for kind, message in _shortages(sizing.need(started.specification), "the Ray cluster"):
                started.progress.condition(f"TooFew{kind.capitalize()}s", "True", "WaitingForNodes", f"{message} now")
            summary = work(started)
        if not place.kept:
            shutil.rmtree(place.local, ignore_errors=True)  # only a later attempt of the same run could use it
        return summary
    finally:
        place.discard_scratch()


@contextmanager
def connected(started: Started, address: str) -> Iterator[Started]:
    """Connected to a Ray cluster that goes on running; at the end the clean-up that the specification asks for."""
    wanted = started.specification.cluster.cleanup or Cleanup()
    if not wanted.enabled:
        connect(lambda ray: ray.init(**_ray_options(started, address=address)), started)
        yield started
        return
    cleanup = RayTrainingCleanup(wanted.servers, wanted.dry_run)
    # In the folder that is removed on every node.
    started = replace(started, requirements=requirements.of(started.specification, cleanup.folder))
    cleanup.ray_options = _ray_options(started, address=address)
    with ExitStack() as stack:
        # After the clean-up, whatever the end was.
        stack.callback(lambda: started.console.print(str(cleanup.report), highlight=False))
        connect(lambda ray: stack.enter_context(cleanup), started)
        yield started


def run_file(path: Path, *, ray_address: str | None, results: Path) -> int:
    """Run a file on this machine, or on the Ray cluster at `ray_address`; return the exit code."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    started_at = time.monotonic()
    sink = Progress(ProgressFile(Path(os.devnull), "local"))
    try:
        document = manifest.read_file(path)
        specification = _parse_completely(document)
        resuming.check(specification)
        identity = identity_of(document, {})
        place = storage.at_directory(_new_folder(results, identity.name))
    except UserError as error:
        console.print(f"[bold red]{error.reason}[/]", highlight=False)
        console.print(str(error), style="red", highlight=False, markup=False)
        return EXIT_USER_ERROR
    sink = Progress(ProgressFile(place.local / "progress.jsonl", "local"))
    os.environ[PROGRESS_FILE_VARIABLE] = str(place.local / "progress.jsonl")
    started = Started(identity, specification, document, place, sink, console, requirements.of(specification))

    def body() -> dict[str, Any]:
        console.print(
            f"[bold]{identity.name}[/] from {path}, results in {place.local}", highlight=False, soft_wrap=True
        )
        summary = _work_at(ray_address, started) if ray_address else _work_here(started)
        console.print(summary_table(summary | {"results": str(place.local)}, f"{identity.name}: finished"))
        console.print(f"total time {duration(time.monotonic() - started_at)}", highlight=False)
        return summary

    return execute(body, sink, console)


def _new_folder(results: Path, name: str) -> Path:
    """A folder of its own for every run: one that holds checkpoints would be resumed."""
    base = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    candidates = (results / (base if number == 1 else f"{base}-{number}") for number in itertools.count(1))
    return next(folder for folder in candidates if not folder.exists())


def _work_at(address: str, started: Started) -> dict[str, Any]:
    need = sizing.need(started.specification)
    with connected(started, address) as started:
        _check_resources(need, f"the Ray cluster at {address}")
        return work(started)


def _check_resources(need: sizing.Need, where: str) -> None:
    """Refuse what would wait for ever on the connected Ray."""
    for kind, message in _shortages(need, where):
        raise InsufficientResources(
            f"{message}; lower {_REMEDIES[kind]} (search: maxConcurrentTrials or resourcesPerTrial.{kind.lower()}; "
            "a program: spec.resources), or use more machines"
        )


def _shortages(need: sizing.Need, where: str) -> Iterator[tuple[str, str]]:
    """What the connected Ray has too little of: CPU or GPU, and how much."""
    import ray

    have = ray.cluster_resources()
    for kind, name, needed in (("CPU", "logical CPUs", need.logical_cpus), ("GPU", "GPUs", need.gpus)):
        if needed > (found := have.get(kind, 0)):
            yield kind, f"the run needs {needed:g} {name} at the same time and {where} has {found:g}"


def _work_here(started: Started) -> dict[str, Any]:
    need = sizing.need(started.specification)
    available = _memory_bytes()
    if need.memory_bytes > available:
        raise InsufficientResources(
            f"the run needs about {need.explanation}, and this machine has {available / sizing.GIB:.1f} GiB; "
            "lower spec.sampling.envRunners or spec.search.maxConcurrentTrials"
        )
    machine = os.cpu_count() or 1
    if need.logical_cpus > machine:
        started.console.print(
            f"{need.logical_cpus:g} logical CPUs are needed and this machine has {machine}: processes share them",
            style="yellow",
        )
    cpus = max(int(-(-need.logical_cpus // 1)), machine)
    options = _ray_options(started, address="local", num_cpus=cpus, include_dashboard=False)
    try:
        connect(lambda ray: ray.init(**options), started)
        _check_resources(need, "this machine")
        return work(started)
    finally:
        if started.requirements is not None:
            shutil.rmtree(started.requirements.folder, ignore_errors=True)  # of this run alone


def _memory_bytes() -> int:
    """Memory of this machine, or of this container where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(total, int(text)) if text.isdigit() else total


def connect(initialise: Callable[[Any], object], started: Started) -> None:
    """Connect to Ray while RLlib is being imported; processes of future trials start and import meanwhile.

    Raises:
        InvalidConfiguration: the environment cannot be made or there is no such trainable, which is known before there
            is a Ray.
    """
    specification = started.specification
    with ThreadPoolExecutor(1, thread_name_prefix="import-rllib") as pool:
        pool.submit(importlib.import_module, "ray")
        # Packages of the run's own are installed later.
        if started.requirements is None:
            _check_what_is_named(specification)
        import ray

        rllib = "trainyard.algorithms"
        importing = pool.submit(importlib.import_module, rllib) if specification.algorithm is not None else None
        initialise(ray)
        _SIGTERM.install()
        if started.requirements is not None:
            started.console.print(f"installing {', '.join(started.requirements.packages)}", markup=False)
            started.requirements.enter()
        if specification.trainable is not None:
            trial_tasks.prepare(specification)
        if importing is not None:
            importing.result()


def _check_what_is_named(specification: Specification) -> None:
    """Make the environment, or import the trainable; in the main thread, which some environments need."""
    if specification.trainable is not None:
        trainables.load(specification.trainable.function)
    elif specification.algorithm is not None and specification.search is None:  # trials may differ in it
        from trainyard.environment_names import chosen

        chosen(specification)


class Sigterm:
    """Handler of SIGTERM: raises Terminated, and remembers it, since Ray passes on a plain KeyboardInterrupt."""

    def __init__(self) -> None:
        self.arrived = False

    def install(self) -> None:
        """Ray replaces the handler when it connects, so this is called after that too."""
        signal.signal(signal.SIGTERM, self)

    def __call__(self, number: int, frame: Any) -> None:
        self.arrived = True
        raise Terminated("SIGTERM")


_SIGTERM = Sigterm()


def work(started: Started) -> dict[str, Any]:
    """Do what the specification says on the connected Ray; return the summary."""
    from trainyard import workloads

    with started.requirements.blamed() if started.requirements is not None else nullcontext():
        return workloads.run(started)


def execute(body: Callable[[], dict[str, Any]], sink: Progress, console: Console) -> int:
    """Run `body`, write the final line whatever happens, shut Ray down, return the exit code."""
    _SIGTERM.arrived = False
    _SIGTERM.install()
    failure: dict[str, str] | None = None
    summary: dict[str, Any] | None = None
    code = EXIT_OK
    try:
        summary = body()
    except KeyboardInterrupt as error:
        failure, code = _interrupted(terminated=_SIGTERM.arrived or isinstance(error, Terminated), console=console)
    except Exception as error:  # noqa: BLE001 - every end is reported
        failure, code = _explain(error, console)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        sink.finish(failure=failure, summary=summary)
    finally:
        if "ray" in sys.modules:
            sys.modules["ray"].shutdown()
    return code


def _interrupted(*, terminated: bool, console: Console) -> tuple[dict[str, str], int]:
    if terminated:
        console.print("terminated by SIGTERM")
        return progress.failure("Run", "Terminated", "the driver got SIGTERM"), EXIT_TERMINATED
    console.print("interrupted")
    return progress.failure("Run", "Interrupted", "the driver got SIGINT"), EXIT_INTERRUPTED


def _explain(error: Exception, console: Console) -> tuple[dict[str, str], int]:
    """Show the error; our own in words, any other with its traceback."""
    cause = root_cause(error)
    if isinstance(cause, TrainyardError):
        console.print(f"{cause.reason}: {cause}", style="red", highlight=False, markup=False)
        if isinstance(cause, UserError):
            return progress.failure("User", cause.reason, str(cause), cause.field), cause.exit_code
        return progress.failure("Run", cause.reason, str(cause)), cause.exit_code
    traceback.print_exception(error)
    return progress.failure("Run", type(cause).__name__, _trace(error, cause)), EXIT_FAILED


def _trace(error: BaseException, cause: BaseException) -> str:
    """The message, and the traceback as far as it is known (Ray's wrapping carries the remote one as text)."""
    remote = str(error) if error is not cause else ""
    text = remote or "".join(traceback.format_exception(error))
    return f"{type(cause).__name__}: {cause}\n{text}" if str(cause) not in text else text
