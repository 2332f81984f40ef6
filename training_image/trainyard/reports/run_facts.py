"""The files that a run writes for its report: run.json, and one episode each of the validation and the test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainyard.callbacks import Callback, Evaluation
from trainyard.reports import account_episodes
from trainyard.runs.checkpoints import Checkpoint
from trainyard.runs.run import Identity, Outcome, Run
from trainyard.runs.storage import RunStorage
from trainyard.spec.sections import Specification
from trainyard.training import provenance

RUN_FILE = "run.json"
FOLDER = "report"
SCHEMA_VERSION = 1


def episode_file(kind: str) -> str:
    return f"{FOLDER}/{kind}-episode.json"


def run_facts(identity: Identity, specification: Specification, spec: dict[str, Any]) -> dict[str, Any]:
    """The content of run.json from the start: the specification, and the sources of the run's numbers."""
    return {
        "schemaVersion": SCHEMA_VERSION,
        "name": identity.name,
        "namespace": identity.namespace,
        "uid": identity.uid,
        "attempt": identity.attempt,
        "started": now(),
        "seed": specification.seed,
        "versions": provenance.versions(),
        "git": provenance.git_revision(Path.cwd()),
        "data": provenance.data_sets(specification),
        "hardware": provenance.hardware(),
        "specification": spec,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_json(storage: RunStorage, name: str, content: dict[str, Any]) -> None:
    """Write the file here and, if the storage is remote, also there."""
    storage.keep_text(name, json.dumps(content, indent=1, allow_nan=False) + "\n")


class ReportRecords(Callback):
    """Writes run.json at the start and at the end, and the episodes when they are played.

    If validation selects the best checkpoint, the validation's episode is the one of that checkpoint, otherwise the
    latest. An error here never fails the run: `on_error` is called.
    """

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._facts: dict[str, Any] = {}
        self._latest: dict[str, Any] | None = None

    def on_run_start(self, run: Run) -> None:
        self._attempt(lambda: self._begin(run))

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        self._attempt(lambda: self._keep_episode(run, evaluation))

    def on_checkpoint(self, run: Run, checkpoint: Checkpoint) -> None:
        found = self._latest
        if checkpoint.best and found is not None:
            self._attempt(lambda: write_json(run.storage, episode_file("validation"), found))

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        if self._facts:
            self._attempt(lambda: self._end(run, outcome))

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - the training itself goes well
            self._on_error(error)

    def _begin(self, run: Run) -> None:
        self._facts = run_facts(run.identity, run.specification, run.document.get("spec", {}))
        self._facts["restoredIteration"] = run.restored_iteration
        self._facts["lostIterations"] = run.lost_iterations
        if run.resumed_from:
            self._facts["resumedFrom"] = run.resumed_from
        self._facts["selection"] = {"metric": run.selection.metric, "mode": run.selection.mode}
        _take_over(run)
        write_json(run.storage, RUN_FILE, self._facts)

    def _keep_episode(self, run: Run, evaluation: Evaluation) -> None:
        found = _record_of(run, evaluation)
        if found is None:
            return
        if evaluation.kind == "validation" and run.selection.by_validation:
            self._latest = found
            # The first episode is written at once: without a finite value there will be no best one.
            if (run.storage.local / episode_file("validation")).exists():
                return
        write_json(run.storage, episode_file(evaluation.kind), found)

    def _end(self, run: Run, outcome: Outcome) -> None:
        self._facts |= {
            "finished": now(),
            "seconds": round(outcome.seconds, 3),
            "iterations": run.counters.iteration,
            "ended": outcome.reason,
            "findings": run.findings,
        }
        if outcome.error is not None:
            self._facts["error"] = f"{type(outcome.error).__name__}: {outcome.error}"[:2000]
        if run.best is not None:
            self._facts["best"] = {"value": run.best.value, "iteration": run.best.iteration}
        write_json(run.storage, RUN_FILE, self._facts)


def _record_of(run: Run, evaluation: Evaluation) -> dict[str, Any] | None:
    environment, specification = run.specification.environment, run.specification
    section = specification.evaluation if evaluation.kind == "validation" else specification.test
    if environment is None or section is None or not evaluation.episodes:
        return None
    config = {**environment.config, **section.environment_config}
    found = account_episodes.record(environment.name, config, evaluation.episodes[0].get_infos())
    if found is None:
        return None
    greedy = evaluation.kind == "test" or not specification.evaluation or not specification.evaluation.explore
    return {"kind": evaluation.kind, "iteration": evaluation.iteration, "greedy": greedy, **found}


def _take_over(run: Run) -> None:
    """Keep the earlier attempt's episodes if this attempt continues from its checkpoint; otherwise remove them."""
    storage = run.storage
    if not run.restored_iteration:
        shutil.rmtree(storage.local / FOLDER, ignore_errors=True)
        return
    if not storage.is_local and FOLDER in storage.list_folders("."):
        downloaded = storage.download(FOLDER)
        shutil.copytree(downloaded, storage.local / FOLDER, dirs_exist_ok=True)
