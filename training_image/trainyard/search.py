"""Searches, and single trainables (a search of one trial), on Ray Tune.

The points are drawn here (`trainyard.points`); Tune schedules the trials. Results are compared here too, because
Tune ranks by the last value and stops at a metric that is missing in one result.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.live import Live

from trainyard import sizing, storage, trial_tasks
from trainyard.errors import InvalidConfiguration, TrainyardError
from trainyard.manifest import normalise_numbers
from trainyard.points import Point, points
from trainyard.recording.search import recorded
from trainyard.reports import build as report
from trainyard.reports.records import now
from trainyard.run import Identity, Run
from trainyard.specification import Specification, parse
from trainyard.stopping import Counters, fraction_done
from trainyard.terminal import duration, number
from trainyard.trainables import iterations_of, load, with_values
from trainyard.trial_logs import CSV_FILE, TrialLogs, trial_folder
from trainyard.trial_logs import FOLDER as TRIALS_FOLDER
from trainyard.trials import Trial, TrialTable, trials_of

if TYPE_CHECKING:
    from trainyard.launch import Started


POINT = "point"
TABLE_FILE = "trials.csv"
REFRESH_SECONDS = 0.5
JOIN_SECONDS = 60.0

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


def run(started: Started) -> dict[str, Any]:
    """Run all trials, keep the table, return the summary.

    Raises:
        AllTrialsFailed: with the first trial's error.
    """
    specification, search = started.specification, started.specification.search
    found = points(search, specification.seed) if search else [{}]
    check_points(started.document["spec"], found)
    table = TrialTable(
        found,
        search.metric if search else None,
        search.mode if search else "max",
        search.best if search else "Last",
        TrialLogs(started.storage.local) if specification.trainable is not None else None,
    )
    begun, before = now(), time.monotonic()
    view = _View(started, table)
    try:
        with _recorded(started, table), view:
            # Nothing is left to import when the last trial ends; the driver only waits until then.
            view.when_running = report.import_ahead
            _run_trials(started, found, table, view)
    except KeyboardInterrupt:
        # What has run has its results.
        started.storage.keep_text(TABLE_FILE, table.csv())
        raise
    seconds = time.monotonic() - before
    started.storage.keep_text(TABLE_FILE, table.csv())
    _keep_curves(started, len(found))
    if search:
        started.console.print(table.rich_table())
    failed = [trial for trial in table.trials if trial.state != "Succeeded"]
    facts = {"started": begun, "finished": now(), "seconds": round(seconds, 3)}
    if len(failed) == len(table.trials):
        error = AllTrialsFailed(f"all {len(failed)} trials failed; the first: {failed[0].error or 'it did not run'}")
        report.after_search(started, facts | {"error": str(error)})
        raise error
    summary = _summary(started, table, seconds)
    started.storage.keep_text("summary.json", json.dumps(summary, indent=2) + "\n")
    report.after_search(started, facts)
    return summary


def _recorded(started: Started, table: TrialTable) -> AbstractContextManager[None]:
    return nullcontext() if started.specification.recording is None else recorded(started.run(), table)


def _keep_curves(started: Started, trials: int) -> None:
    """Bring the trials' files and this folder together where the storage is remote."""
    place = started.storage
    if place.is_local:
        return
    if started.specification.trainable is not None:
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
    specification = parse(normalise_numbers(with_values(plain, point)))
    if specification.algorithm is not None:
        from trainyard import algorithms

        if found := algorithms.faults(specification):
            raise InvalidConfiguration(found)
    return specification


def _run_trials(started: Started, found: list[Point], table: TrialTable, view: _View) -> None:
    """As plain Ray tasks where the trainable allows it, else on Tune."""
    specification, spec = started.specification, started.document["spec"]
    _wait_for_cpus(sizing.logical_cpus(specification))
    if specification.trainable is not None and trial_tasks.suits(load(specification.trainable.function)):
        own = specification.trial_resources
        specifications = [trial_specification(spec, point) for point in found]
        concurrent = sizing.concurrent_trials(specification)
        trial_tasks.run_trials(specifications, own, concurrent, table, view.refresh)
    else:
        _fit(started, found, table, view)


def _wait_for_cpus(cpus: float) -> None:
    """Give the cluster's other pods a moment to join: trials that all run before they do would all share one pod."""
    import ray

    deadline = time.monotonic() + JOIN_SECONDS
    while ray.cluster_resources().get("CPU", 0) < cpus and time.monotonic() < deadline:
        time.sleep(0.1)


def _fit(started: Started, found: list[Point], table: TrialTable, view: _View) -> None:
    for name, value in _TUNE_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from ray import tune

    from trainyard.tune_bridge import TableCallback, TableStopper

    specification = started.specification
    target = _target(started, found)

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
                name=TRIALS_FOLDER,
                storage_path=str(started.storage.local if started.storage.is_local else scratch),
                callbacks=[TableCallback(table, view.refresh)],
                stop=TableStopper(specification) if specification.trainable else None,
                failure_config=tune.FailureConfig(max_failures=0),
                verbose=0,
            ),
        )
        tuner.fit()


def _target(started: Started, found: list[Point]) -> Callable[[int], None]:
    """What one trial does, given the number of its point. Fails here, once, for what would fail in every trial."""
    specification, spec = started.specification, started.document["spec"]
    if specification.trainable is not None:
        load(specification.trainable.function)
        return partial(_run_function, spec, found)
    from trainyard import algorithms

    algorithms.build_config(trial_specification(spec, found[0]))
    place = started.storage.uri if not started.storage.is_local else str(started.storage.local)
    return partial(_run_algorithm, spec, found, started.identity, place)


def _run_function(spec: dict[str, Any], found: list[Point], index: int) -> None:
    from ray import tune

    specification = trial_specification(spec, found[index])
    assert specification.trainable is not None
    iterations_of(load(specification.trainable.function), specification.trainable.config, tune.report)


def _run_algorithm(spec: dict[str, Any], found: list[Point], identity: Identity, place: str, index: int) -> None:
    from trainyard import driver
    from trainyard.curves import Curves
    from trainyard.recording.callback import TrialRecording
    from trainyard.tune_bridge import TuneReports

    specification = trial_specification(spec, found[index])
    repetition = index // (len(found) // parse(spec).search.samples)  # type: ignore[union-attr]
    specification = specification.model_copy(update={"seed": specification.seed + repetition})
    folder = f"{TRIALS_FOLDER}/{trial_folder(index)}"
    target = storage.at_uri(place, folder) if "://" in place else storage.at_directory(Path(place) / folder)
    run = Run(identity, specification, {"spec": spec}, target)
    trial = trials_of(found)[index]
    # Records come first: what Tune is told of is in the database then.
    recording = [TrialRecording(trial.id, trial.parameters)] if specification.recording is not None else []
    driver.train(run, [*recording, TuneReports(), Curves()])


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


class _View:
    """Keeps the progress channel and the terminal up to date while trials run."""

    def __init__(self, started: Started, table: TrialTable) -> None:
        self._started = started
        self._table = table
        self._live: Live | None = None
        self._drawn = 0.0
        self._printed: set[str] = set()
        self._at_once = sizing.concurrent_trials(started.specification)
        self.when_running: Callable[[], None] | None = None

    def __enter__(self) -> _View:
        if self._started.console.is_terminal:
            self._live = Live(console=self._started.console, transient=True, auto_refresh=False)
            self._live.start()
        self.refresh(changed_state=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
        self.refresh(changed_state=True)

    def refresh(self, *, changed_state: bool) -> None:
        """Publish; `changed_state` says that a trial began or ended, which is never held back."""
        progress = self._started.progress
        section = self._table.section()
        search = self._started.specification.search
        progress.update(progress=self._progress(section), metrics=self._metrics(), trials=section if search else None)
        progress.publish(now=changed_state)
        # Not with the first trial: the processes of the others are still starting.
        if self.when_running is not None and section["total"] - section["pending"] >= self._at_once:
            self.when_running()
            self.when_running = None
        self._draw(changed_state)

    def _progress(self, section: dict[str, Any]) -> dict[str, Any]:
        finished = section["succeeded"] + section["failed"]
        if self._started.specification.search:
            return {"percent": 100 * finished / max(1, section["total"]), "iteration": finished}
        (trial,) = self._table.trials
        counters = Counters(iteration=trial.iteration, seconds=trial.seconds)
        fraction = 1.0 if finished else fraction_done(self._started.specification.stop, counters)
        percent = {} if fraction is None else {"percent": 100 * fraction}
        return {"iteration": trial.iteration, **percent}

    def _metrics(self) -> dict[str, float]:
        if self._started.specification.search:
            best = self._table.best()
            return dict(best.metrics) if best else {}
        return dict(self._table.trials[0].metrics)

    def _draw(self, changed_state: bool) -> None:
        if self._live is not None:
            if changed_state or time.monotonic() - self._drawn > REFRESH_SECONDS:
                self._drawn = time.monotonic()
                self._live.update(self._table.rich_table(limit=self._started.console.height - 6), refresh=True)
            return
        for trial in self._table.trials:
            if trial.state in ("Succeeded", "Failed") and trial.id not in self._printed:
                self._printed.add(trial.id)
                self._started.console.print(f"trial {trial.id} {self._line(trial)}", highlight=False, markup=False)

    def _line(self, trial: Trial) -> str:
        parameters = " ".join(f"{name}={value}" for name, value in trial.parameters.items())
        metrics = " ".join(f"{name}={number(value)}" for name, value in list(trial.metrics.items())[:4])
        words = f"{parameters}  on {trial.hostname or '?'}  {metrics}  {duration(trial.seconds)}  {trial.state}"
        return f"{words}: {trial.error.splitlines()[0]}" if trial.error else words


def _summary(started: Started, table: TrialTable, seconds: float) -> dict[str, Any]:
    section = table.section()
    summary: dict[str, Any] = {
        "trials": section["total"],
        "succeeded": section["succeeded"],
        "failed": section["failed"],
        "seconds": round(seconds, 3),
        "seed": started.specification.seed,
    }
    if not started.specification.search:
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
