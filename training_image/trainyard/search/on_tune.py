"""Connects Ray Tune with the trial table: Tune's events about trials, when Tune stops one, how a run reports to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import cloudpickle, tune

from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.errors import UserError, described, root_cause
from trainyard.metrics import RLLIB, Metrics, finite, flatten
from trainyard.rllib import compat
from trainyard.runs.run import Outcome, Run
from trainyard.runs.stopping import Counters, stop_reason
from trainyard.search.trials import TrialTable
from trainyard.spec.sections import Specification

# The one key of a trial's configuration: the number of its point.
POINT = "point"


class TableCallback(tune.Callback):
    """Keeps the table up to date with Tune's events."""

    def __init__(self, table: TrialTable, refresh: Callable[..., None]) -> None:
        self._table = table
        self._refresh = refresh

    def __getstate__(self) -> dict[str, Any]:
        # Tune saves its callbacks with the experiment; a terminal cannot be saved, and nothing is restored from it.
        return {"_table": self._table, "_refresh": None}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._table.start(trial.config[POINT])
        self._refresh(changed_state=True)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._table.report(trial.config[POINT], result)
        self._refresh(changed_state=False)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._table.finish(trial.config[POINT])
        self._refresh(changed_state=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        words, users_error = error_of(trial)
        self._table.finish(trial.config[POINT], words, users_error=users_error)
        self._refresh(changed_state=True)


def error_of(trial: Any) -> tuple[str, bool]:
    """What ended a failed trial, and whether that is the user's to correct.

    Read from the files that Tune has just written in this process. `Trial.get_error` looks for them in the
    experiment's storage, where Tune copies them later, and finds nothing yet.
    """
    reason = compat.why_not("failed trials")
    if reason is not None:
        return f"the trial failed, and its error is in Ray's log: {reason}", False
    if trial.pickled_error_file is not None:
        error = cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
        return described(error), isinstance(root_cause(error), UserError)
    # An error of Tune itself is kept as text only, below a line with the number of the failure.
    _, _, text = Path(trial.error_file).read_text().partition("\n")
    return text.strip(), False


class TableStopper(tune.Stopper):
    """Ends a trial of a trainable at `spec.stop`; its iterations are its reports."""

    def __init__(self, specification: Specification) -> None:
        self._stop = specification.stop

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        counters = Counters(
            iteration=int(result.get("training_iteration", 0)), seconds=float(result.get("time_total_s", 0.0))
        )
        return stop_reason(self._stop, counters, finite(flatten(result))) is not None

    def stop_all(self) -> bool:
        return False


class TuneReports(Callback):
    """Reports an algorithm trial's metrics to Tune, once per iteration, evaluation included."""

    def __init__(self) -> None:
        self._pending: Metrics = {}

    def on_run_start(self, run: Run) -> None:
        # A trial that had finished before the attempt began has only this to show.
        if run.restored_best:
            tune.report(dict(run.restored_best))
        if run.restored_iteration:
            tune.report(dict(run.metrics))

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self._pending = {name: value for name, value in iteration.metrics.items() if not name.startswith(RLLIB)}
        evaluation = run.specification.evaluation
        if evaluation is None or iteration.number % evaluation.every_iterations:
            self._flush()

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        self._pending |= evaluation.metrics
        self._flush()

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        if self._pending and outcome.error is None:
            self._flush()

    def _flush(self) -> None:
        pending, self._pending = self._pending, {}
        tune.report(pending)
