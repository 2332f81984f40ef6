"""Keeps the progress channel and the terminal up to date while trials run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rich.live import Live

from trainyard.progress.text import duration, number
from trainyard.runs.job import Job
from trainyard.runs.stopping import Counters, fraction_done
from trainyard.search.awaited import AwaitedMetrics
from trainyard.search.trials import Trial, TrialTable
from trainyard.spec import sizing

REFRESH_SECONDS = 0.5


class View:
    """Keeps the progress channel and the terminal up to date while trials run."""

    def __init__(self, job: Job, table: TrialTable) -> None:
        self._job = job
        self._table = table
        self.awaited = AwaitedMetrics(job, table)
        self._live: Live | None = None
        self._drawn = 0.0
        self._printed: set[str] = set()
        self._at_once = sizing.concurrent_trials(job.specification)
        self.when_running: Callable[[], None] | None = None

    def __enter__(self) -> View:
        if self._job.console.is_terminal:
            self._live = Live(console=self._job.console, transient=True, auto_refresh=False)
            self._live.start()
        self.refresh(changed_state=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()
        self.refresh(changed_state=True)

    def refresh(self, *, changed_state: bool) -> None:
        """Publish; `changed_state` says that a trial began or ended, which is never held back."""
        progress = self._job.progress
        section = self._table.section()
        search = self._job.specification.search
        progress.update(progress=self._progress(section), metrics=self._metrics(), trials=section if search else None)
        progress.publish(now=changed_state)
        self.awaited.look()
        # Not with the first trial: the processes of the others are still starting.
        if self.when_running is not None and section["total"] - section["pending"] >= self._at_once:
            self.when_running()
            self.when_running = None
        self._draw(changed_state)

    def _progress(self, section: dict[str, Any]) -> dict[str, Any]:
        finished = section["succeeded"] + section["failed"]
        if self._job.specification.search:
            return {"percent": 100 * finished / max(1, section["total"]), "iteration": finished}
        (trial,) = self._table.trials
        counters = Counters(iteration=trial.iteration, seconds=trial.seconds)
        fraction = 1.0 if finished else fraction_done(self._job.specification.stop, counters)
        percent = {} if fraction is None else {"percent": 100 * fraction}
        return {"iteration": trial.iteration, **percent}

    def _metrics(self) -> dict[str, float]:
        if self._job.specification.search:
            best = self._table.best()
            return dict(best.metrics) if best else {}
        return dict(self._table.trials[0].metrics)

    def _draw(self, changed_state: bool) -> None:
        if self._live is not None:
            if changed_state or time.monotonic() - self._drawn > REFRESH_SECONDS:
                self._drawn = time.monotonic()
                self._live.update(self._table.rich_table(limit=self._job.console.height - 6), refresh=True)
            return
        for trial in self._table.trials:
            if trial.state in ("Succeeded", "Failed") and trial.id not in self._printed:
                self._printed.add(trial.id)
                self._job.console.print(f"trial {trial.id} {self._line(trial)}", highlight=False, markup=False)

    def _line(self, trial: Trial) -> str:
        parameters = " ".join(f"{name}={value}" for name, value in trial.parameters.items())
        metrics = " ".join(f"{name}={number(value)}" for name, value in list(trial.metrics.items())[:4])
        words = f"{parameters}  on {trial.hostname or '?'}  {metrics}  {duration(trial.seconds)}  {trial.state}"
        return f"{words}: {trial.error.splitlines()[0]}" if trial.error else words
