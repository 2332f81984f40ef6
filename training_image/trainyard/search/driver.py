"""Searches, and single trainables (a search of one trial), on Ray Tune.

The points are drawn by `trainyard.spec.search_points`; Tune schedules the trials. Results are compared here, because
Tune ranks by the last value and stops at a metric that is missing in one result.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.errors import InvalidConfiguration, TrainyardError, UserError
from trainyard.reports import build as report
from trainyard.reports.run_facts import now
from trainyard.runs import seeds, storage
from trainyard.runs.run import Identity, Run
from trainyard.runs.storage import RunStorage
from trainyard.search import on_tasks
from trainyard.search.recording import recorded
from trainyard.search.trainables import iterations_of, load, with_values
from trainyard.search.trial_files import CSV_FILE, TrialLogs, trial_folder
from trainyard.search.trial_files import FOLDER as TRIALS_FOLDER
from trainyard.search.trials import TrialTable, trials_of
from trainyard.search.view import View
from trainyard.spec import sizing
from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse, typed
from trainyard.spec.search_points import Point, points
from trainyard.spec.sections import Specification

if TYPE_CHECKING:
    from trainyard.runs.job import Job


POINT = "point"
TABLE_FILE = "trials.csv"
JOIN_SECONDS = 60.0
TRIED_ENVIRONMENTS = 20
"""Different ones of a search that are tried before its trials start; each trial tries its own anyway."""

# Tune writes CSV, JSON and TensorBoard files for every trial unless told not to, which took a fifth of a short grid's
# time; and it stops a search at the first result that lacks the metric.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "300",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
}


class AllTrialsFailed(TrainyardError):
    """No trial of the search succeeded."""


class AllTrialsRefused(UserError):
    """No trial of the search succeeded, each because of what only the user can correct."""


def run(job: Job) -> dict[str, Any]:
    """Run all trials, keep the table, return the summary.

    Raises:
        AllTrialsFailed, AllTrialsRefused: with the first trial's error.
        MetricNotReported: no trial ever had the metric that compares them.
    """
    specification, search = job.specification, job.specification.search
    found = points(search, specification.seed) if search else [{}]
    check_points(job.document["spec"], found)
    table = TrialTable(
        found,
        search.metric if search else None,
        search.mode if search else "max",
        search.best if search else "Last",
        TrialLogs(job.storage.local) if specification.trainable is not None else None,
    )
    begun, before = now(), time.monotonic()
    view = View(job, table)
    try:
        with _recorded(job, table), view:
            # Nothing is left to import when the last trial ends; the driver only waits until then.
            view.when_running = report.import_ahead
            _run_trials(job, found, table, view)
    except KeyboardInterrupt:
        # What has run has its results.
        job.storage.keep_text(TABLE_FILE, table.csv())
        raise
    seconds = time.monotonic() - before
    job.storage.keep_text(TABLE_FILE, table.csv())
    _keep_curves(job, len(found))
    if search:
        job.console.print(table.rich_table())
    failed = [trial for trial in table.trials if trial.state != "Succeeded"]
    facts = {"started": begun, "finished": now(), "seconds": round(seconds, 3)}
    try:
        if len(failed) == len(table.trials):
            kind = AllTrialsRefused if all(trial.users_error for trial in failed) else AllTrialsFailed
            raise kind(f"all {len(failed)} trials failed; the first: {failed[0].error or 'it did not run'}")
        view.awaited.require()
    except TrainyardError as error:
        report.after_search(job, facts | {"error": str(error)})
        raise
    summary = _summary(job, table, seconds)
    job.storage.keep_text("summary.json", json.dumps(summary, indent=2) + "\n")
    report.after_search(job, facts)
    return summary


def _recorded(job: Job, table: TrialTable) -> AbstractContextManager[None]:
    return nullcontext() if job.specification.recording is None else recorded(job.run(), table)


def _keep_curves(job: Job, trials: int) -> None:
    """Bring the trials' files and this folder together where the storage is remote."""
    place = job.storage
    if place.is_local:
        return
    if job.specification.trainable is not None:
        place.publish(TRIALS_FOLDER)
        return
    for index in range(trials):
        name = f"{TRIALS_FOLDER}/{trial_folder(index)}/{CSV_FILE}"
        text = place.read_text(name)
        if text is not None:
            (place.local / name).parent.mkdir(parents=True, exist_ok=True)
            (place.local / name).write_text(text)


def check_points(spec: dict[str, Any], found: list[Point]) -> None:
    """Refuse a search whose values make a specification that would be refused (all faults, once each)."""
    faults: dict[Any, None] = {}
    for point in found:
        try:
            trial_specification(spec, point)
        except InvalidConfiguration as error:
            faults |= dict.fromkeys(error.faults)
    if faults:
        raise InvalidConfiguration(faults)


def trial_specification(spec: dict[str, Any], point: Point) -> Specification:
    """The specification of one trial: the point's values in their places, and no search."""
    plain = {key: value for key, value in spec.items() if key != "search"}
    specification = typed(normalise_numbers(with_values(plain, point)))
    if specification.algorithm is not None:
        from trainyard.training import config as algorithms

        if found := algorithms.faults(specification):
            raise InvalidConfiguration(found)
    return specification


def _run_trials(job: Job, found: list[Point], table: TrialTable, view: View) -> None:
    """As plain Ray tasks where the trainable allows it, else on Tune."""
    specification, spec = job.specification, job.document["spec"]
    _wait_for_cpus(sizing.logical_cpus(specification))
    if specification.trainable is not None and on_tasks.suits(load(specification.trainable.function)):
        own = specification.trial_resources
        specifications = [trial_specification(spec, point) for point in found]
        concurrent = sizing.concurrent_trials(specification)
        on_tasks.run_trials(specifications, own, concurrent, table, view.refresh)
    else:
        _fit(job, found, table, view)


def _wait_for_cpus(cpus: float) -> None:
    """Give the cluster's other pods a moment to join: trials that all run before they do would all share one pod."""
    import ray

    deadline = time.monotonic() + JOIN_SECONDS
    while ray.cluster_resources().get("CPU", 0) < cpus and time.monotonic() < deadline:
        time.sleep(0.1)


def _fit(job: Job, found: list[Point], table: TrialTable, view: View) -> None:
    for name, value in _TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from ray import tune

    from trainyard.search.on_tune import TableCallback, TableStopper

    specification = job.specification
    target = _target(job, found)

    def trial(config: dict[str, Any]) -> None:
        target(config[POINT])

    with tempfile.TemporaryDirectory(prefix="trainyard-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(trial, _resources(specification)),
            param_space={POINT: tune.grid_search(list(range(len(found))))},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=sizing.concurrent_trials(specification),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial_folder(trial.config[POINT]),
            ),
            run_config=tune.RunConfig(
                name=experiment_name(job.storage),
                storage_path=str(job.storage.local / TRIALS_FOLDER if job.storage.is_local else scratch),
                callbacks=[TableCallback(table, view.refresh)],
                stop=TableStopper(specification) if specification.trainable else None,
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        tuner.fit()


def experiment_name(place: RunStorage) -> str:
    """What Tune calls the search, of this run alone and the same in every attempt.

    On each node Tune keeps files in a folder of this name below one of the second in which the search began, and the
    clean-up removes it.
    """
    return f"tune-{hashlib.sha256(place.uri.encode()).hexdigest()[:16]}"


def _target(job: Job, found: list[Point]) -> Callable[[int], None]:
    """What one trial does, given the number of its point. Fails here, once, for what would fail in every trial."""
    specification, spec = job.specification, job.document["spec"]
    if specification.trainable is not None:
        load(specification.trainable.function)
        return partial(_run_function, spec, found)
    from trainyard.training import config as algorithms

    algorithms.build_config(trial_specification(spec, found[0]))
    try_environments(spec, found)
    place = job.storage.uri if not job.storage.is_local else str(job.storage.local)
    return partial(_run_algorithm, spec, found, job.identity, place)


def try_environments(spec: dict[str, Any], found: list[Point]) -> None:
    """Try every environment that the points make of the first one's, the first few of them.

    Raises:
        UserError: one cannot be made or used, with the parameters that make it.
    """
    from trainyard.training.environment import chosen

    of_the_environment = [
        {path: value for path, value in point.items() if path.startswith("environment.")} for point in found
    ]
    different = {json.dumps(own, sort_keys=True, default=str): own for own in of_the_environment}
    for own in list(different.values())[1:TRIED_ENVIRONMENTS]:
        try:
            chosen(trial_specification(spec, own))
        except InvalidConfiguration as error:
            values = ", ".join(f"{path} {value}" for path, value in own.items())
            faults = [replace(fault, problem=f"with {values}: {fault.problem}") for fault in error.faults]
            raise InvalidConfiguration(faults) from error


def _run_function(spec: dict[str, Any], found: list[Point], index: int) -> None:
    from ray import tune

    specification = trial_specification(spec, found[index])
    assert specification.trainable is not None
    iterations_of(load(specification.trainable.function), specification.trainable.config, tune.report)


def _run_algorithm(spec: dict[str, Any], found: list[Point], identity: Identity, place: str, index: int) -> None:
    from trainyard.observers.curves import Curves
    from trainyard.recording.driver_side import TrialRecording
    from trainyard.search.on_tune import TuneReports
    from trainyard.training import loop

    specification = trial_specification(spec, found[index])
    repetition = index // (len(found) // parse(spec).search.samples)  # type: ignore[union-attr]
    specification = specification.model_copy(update={"seed": seeds.repetition(specification.seed, repetition)})
    folder = f"{TRIALS_FOLDER}/{trial_folder(index)}"
    target = storage.at_uri(place, folder) if "://" in place else storage.at_directory(Path(place) / folder)
    run = Run(identity, specification, {"spec": spec}, target)
    trial = trials_of(found)[index]
    # Records come first: what Tune is told of is in the database then.
    recording = [TrialRecording(trial.id, trial.parameters)] if specification.recording is not None else []
    try:
        loop.train(run, [*recording, TuneReports(), Curves()])
    finally:
        target.discard_scratch()


def _resources(specification: Specification) -> Any:
    """A trial's own process, and what it starts: env runners and learners."""
    from ray import tune

    own = specification.trial_resources
    trial = {"CPU": own.cpu} | ({"GPU": own.gpu} if own.gpu else {})
    if specification.algorithm is None:
        return tune.PlacementGroupFactory([trial])
    sampling, learner = specification.sampling, specification.learner
    if learner.gpus and not learner.count:
        trial["GPU"] = max(own.gpu, learner.gpus)
    runners = [{"CPU": sampling.cpus_per_env_runner}] * (sampling.env_runners if sampling.cpus_per_env_runner else 0)
    learners = [{"CPU": learner.cpus} | ({"GPU": learner.gpus} if learner.gpus else {})] * learner.count
    return tune.PlacementGroupFactory([trial, *runners, *learners])


def _summary(job: Job, table: TrialTable, seconds: float) -> dict[str, Any]:
    section = table.section()
    summary: dict[str, Any] = {
        "trials": section["total"],
        "succeeded": section["succeeded"],
        "failed": section["failed"],
        "seconds": round(seconds, 3),
        "seed": job.specification.seed,
    }
    if not job.specification.search:
        (trial,) = table.trials
        return {
            "iterations": trial.iteration,
            "seconds": round(seconds, 3),
            "hostname": trial.hostname,
            **trial.metrics,
        }
    best = section.get("best")
    if best is not None:
        summary |= {"bestTrial": best["trial"], "bestMetric": best["metric"], "bestValue": best["value"]}
        summary |= {f"best.{name}": value for name, value in best["parameters"].items()}
        summary |= {f"best.{name}": value for name, value in best["metrics"].items()}
    return summary
