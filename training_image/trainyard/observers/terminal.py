"""The output for people: a line per iteration, a live bar on a terminal, and tables at the end."""

import time

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from trainyard import metrics as names
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.progress.text import duration, number
from trainyard.runs.run import Outcome, Run
from trainyard.runs.stopping import fraction_done


class IterationLines(Callback):
    """Prints a line per iteration; on a terminal also a bar with the finished share and the remaining time."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._started = time.monotonic()
        self._fraction_at_start = 0.0

    def on_run_start(self, run: Run) -> None:
        self._started = time.monotonic()
        self._fraction_at_start = fraction_done(run.specification.stop, run.counters) or 0.0
        if run.resumed_from:
            self._console.print(f"starts with {run.resumed_from} of the run in spec.resumeFrom")
        elif run.restored_iteration:
            self._console.print(f"goes on from the checkpoint of iteration {run.restored_iteration}")
        if run.lost_iterations:
            self._console.print(f"iterations lost with the previous attempt, and done again: {run.lost_iterations}")
        if self._console.is_terminal:
            self._live = Live(self._bar(run), console=self._console, transient=True, refresh_per_second=4)
            self._live.start()

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        values = iteration.metrics
        total = run.specification.stop.iterations
        of = f"/{total}" if total else ""
        self._console.print(
            f"iteration {iteration.number:>{len(str(total or 0))}}{of}"
            f"  return {number(values.get(names.TRAIN_RETURN_MEAN)):>8}"
            f"  ({number(values.get(names.TRAIN_RETURN_MIN))} to {number(values.get(names.TRAIN_RETURN_MAX))})"
            f"  {_episodes(run, values)}"
            f"  steps {run.counters.env_steps:,}"
            f"  {values[names.ENV_STEPS_PER_SECOND]:,.0f} steps/s"
            f"  {duration(iteration.seconds)}",
            highlight=False,
        )
        self._refresh(run)

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        shown = "  ".join(f"{name} {number(value)}" for name, value in list(evaluation.metrics.items())[:5])
        self._console.print(f"  {shown}  {duration(evaluation.seconds)}", style="cyan", highlight=False)
        self._refresh(run)

    def on_wait(self, run: Run, words: str) -> None:
        self._console.print(f"  {words}", style="yellow", highlight=False)

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        if self._live is not None:
            self._live.stop()

    def _refresh(self, run: Run) -> None:
        if self._live is not None:
            self._live.update(self._bar(run))

    def _bar(self, run: Run) -> Table:
        grid = Table.grid(padding=(0, 1))
        fraction = fraction_done(run.specification.stop, run.counters)
        elapsed = time.monotonic() - self._started
        left = ""
        if fraction is not None and fraction > self._fraction_at_start:
            left = f", {duration(elapsed * (1 - fraction) / (fraction - self._fraction_at_start))} left"
        share = f"{100 * fraction:.0f} %" if fraction is not None else "until a metric is reached"
        grid.add_row(
            Text(run.identity.name, style="bold"),
            ProgressBar(total=1.0, completed=fraction or 0.0, width=40),
            f"{share}  {duration(elapsed)}{left}",
        )
        return grid


def _episodes(run: Run, values: names.Metrics) -> str:
    """`20/100 episodes (9.8 eps/s)`."""
    total = run.specification.stop.episodes
    of = f"/{total:,}" if total else ""
    left_out = values.get(names.TRAIN_NON_FINITE)
    without = f", {left_out:.0f} of them left out" if left_out else ""
    return f"{run.counters.episodes:,}{of} episodes{without} ({values[names.EPISODES_PER_SECOND]:.1f} eps/s)"
