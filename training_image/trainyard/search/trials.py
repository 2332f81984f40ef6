"""The table of a search's trials: states, latest metrics, the best one."""

import csv
import io
import time
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.table import Table

from trainyard.metrics import TIME_ITERATION, Metrics, as_number, better, finite, flatten, no_numbers
from trainyard.progress.report import count_trials
from trainyard.progress.text import duration, number
from trainyard.search.trial_files import TrialLogs, flat
from trainyard.spec.search_points import Point, short_names

State = Literal["Pending", "Running", "Succeeded", "Failed"]

# Bookkeeping that Tune adds to every result.
TUNE_KEYS = frozenset(
    {
        "timestamp", "checkpoint_dir_name", "done", "training_iteration", "trial_id", "date", "time_this_iter_s",
        "time_total_s", "pid", "hostname", "node_ip", "config", "time_since_restore", "iterations_since_restore",
        "experiment_tag", "auto_populated",
    }
)  # fmt: skip


@dataclass
class Trial:
    """One trial. `best` is its best value of the search's metric; None before a finite one.

    users_error: whether what it failed with is the user's to correct.
    """

    id: str
    parameters: Point
    state: State = "Pending"
    hostname: str = ""
    iteration: int = 0
    metrics: Metrics = field(default_factory=dict)
    best: float | None = None
    best_iteration: int = 0
    best_metrics: Metrics = field(default_factory=dict)
    started: float | None = None
    seconds: float = 0.0
    error: str = ""
    users_error: bool = False


def trials_of(points: list[Point]) -> list[Trial]:
    """A pending trial for each point, with its id and its parameters by their short names."""
    names = short_names(list(points[0])) if points else {}
    width = len(str(len(points)))
    return [
        Trial(f"{index + 1:0{width}}", {names[path]: value for path, value in point.items()})
        for index, point in enumerate(points)
    ]


class TrialTable:
    """All trials of a search, in the order of its points.

    Args:
        scope: `Last` compares the trials by their last value of the metric, `BestEver` by their best.
        logs: writes every result into files; None to write none.

    Attributes:
        names: metrics of which any trial has had a value.
        non_finite: metrics that were NaN or infinite once.
        dropped: what trials reported beside numbers, by its type.
    """

    def __init__(
        self, points: list[Point], metric: str | None, mode: str, scope: str, logs: TrialLogs | None = None
    ) -> None:
        self.trials = trials_of(points)
        self.metric = metric
        self.mode = mode
        self.scope = scope
        self._logs = logs
        self.names: dict[str, None] = {}
        self.non_finite: set[str] = set()
        self.dropped: dict[str, str] = {}

    def start(self, index: int, hostname: str = "") -> None:
        trial = self.trials[index]
        trial.state, trial.started, trial.hostname = "Running", time.monotonic(), hostname

    def report(self, index: int, result: dict[str, Any]) -> None:
        """Take over one result of a trial; a missing or NaN metric changes neither its last value nor its best.

        What is in a dictionary of the result is called `outer/inner`, as Tune calls it.
        """
        trial = self.trials[index]
        if trial.started is None:
            self.start(index)
        reported = {name: value for name, value in result.items() if name not in TUNE_KEYS}
        numbers = finite(flatten(reported))
        trial.metrics |= numbers
        self._note(reported, numbers)
        # An algorithm's own count goes on after a restart.
        trial.iteration = int(trial.metrics.get(TIME_ITERATION, trial.iteration + 1))
        trial.hostname = str(result.get("hostname", trial.hostname))
        trial.seconds = time.monotonic() - (trial.started or time.monotonic())
        value = numbers.get(self.metric or "")
        if value is not None and better(value, trial.best, self.mode):
            trial.best, trial.best_iteration, trial.best_metrics = value, trial.iteration, dict(trial.metrics)
        if self._logs is not None:
            self._logs.report(index, trial.parameters, result, trial.hostname)

    def _note(self, reported: dict[str, Any], numbers: Metrics) -> None:
        self.names |= dict.fromkeys(numbers)
        self.dropped |= no_numbers(flat(reported))
        wanted = reported.get(self.metric or "")
        if wanted is not None and self.metric and as_number(wanted) is None:
            self.dropped[self.metric] = type(wanted).__name__  # a text, too, where the trials are compared by it
        self.non_finite |= flatten(reported).keys() - numbers.keys()

    def finish(self, index: int, error: str = "", *, users_error: bool = False) -> None:
        trial = self.trials[index]
        trial.users_error = users_error
        trial.state, trial.error = ("Failed", error) if error else ("Succeeded", "")
        if trial.started is not None:
            trial.seconds = time.monotonic() - trial.started
        if self._logs is not None:
            self._logs.finish(index, trial.parameters)

    def value(self, trial: Trial) -> float | None:
        """The value by which the trial is compared with others; None when it has none."""
        return trial.best if self.scope == "BestEver" else trial.metrics.get(self.metric or "")

    def best(self) -> Trial | None:
        """The best trial that has not failed; the first if several are equal."""
        found: Trial | None = None
        for trial in self.trials:
            value = self.value(trial)
            if trial.state == "Failed" or value is None:
                continue
            if found is None or better(value, self.value(found), self.mode):
                found = trial
        return found

    def section(self) -> dict[str, Any]:
        """The `trials` section of a progress line."""
        section = count_trials([self._item(trial) for trial in self.trials])
        best = self.best()
        if best is not None:
            ever = self.scope == "BestEver"
            section["best"] = {
                "metric": self.metric,
                "value": self.value(best),
                "iteration": best.best_iteration if ever else best.iteration,
                "trial": best.id,
                "parameters": best.parameters,
                "metrics": best.best_metrics if ever else best.metrics,
            }
        return section

    def _item(self, trial: Trial) -> dict[str, Any]:
        item: dict[str, Any] = {"id": trial.id, "state": trial.state, "parameters": trial.parameters}
        if trial.state == "Pending":
            return item
        item |= {"iteration": trial.iteration, "durationSeconds": trial.seconds, "metrics": self._first(trial.metrics)}
        if trial.hostname:
            item["hostname"] = trial.hostname
        if trial.error:
            item["error"] = trial.error
        return item

    def _first(self, metrics: Metrics) -> Metrics:
        """The search's metric first, because a progress line holds only a few."""
        return {name: metrics[name] for name in sorted(metrics, key=lambda name: (name != self.metric, name))}

    def rich_table(self, limit: int = 50) -> Table:
        """Trial, parameters, hostname, epochs, metrics, duration, state; the best one is bold."""
        parameters = list(self.trials[0].parameters) if self.trials else []
        columns = self._metric_columns()
        table = Table(title=f"{len(self.trials)} trials", title_justify="left", title_style="bold")
        for name in ("trial", *parameters, "hostname", "epochs", *columns, "duration", "state"):
            table.add_column(name, overflow="fold")
        best = self.best()
        for trial in self.trials[:limit]:
            table.add_row(
                trial.id,
                *(_parameter(trial.parameters[name]) for name in parameters),
                trial.hostname or "-",
                str(trial.iteration),
                *(number(trial.metrics.get(name)) for name in columns),
                duration(trial.seconds),
                trial.state,
                style="bold" if trial is best else ("red" if trial.state == "Failed" else ""),
            )
        return table

    def _metric_columns(self, limit: int = 4) -> list[str]:
        seen = dict.fromkeys(name for trial in self.trials for name in self._first(trial.metrics))
        parameters = {name for trial in self.trials[:1] for name in trial.parameters}
        return [name for name in seen if name not in parameters][:limit]

    def csv(self) -> str:
        """The whole table, every metric a column."""
        parameters = list(self.trials[0].parameters) if self.trials else []
        metrics = sorted({name for trial in self.trials for name in trial.metrics} - set(parameters))
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["trial", *parameters, "hostname", "epochs", *metrics, "duration_seconds", "state", "error"])
        for trial in self.trials:
            writer.writerow(
                [
                    trial.id,
                    *(trial.parameters[name] for name in parameters),
                    trial.hostname,
                    trial.iteration,
                    *(trial.metrics.get(name, "") for name in metrics),
                    f"{trial.seconds:.3f}",
                    trial.state,
                    trial.error,
                ]
            )
        return text.getvalue()


def _parameter(value: Any) -> str:
    """As the user wrote it: 0.001, not 0.0010; true, not True."""
    if isinstance(value, bool):
        return number(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
