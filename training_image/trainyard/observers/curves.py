"""Learning curves as files: progress.csv (a row per iteration) and TensorBoard events."""

from __future__ import annotations

import csv
import shutil
from typing import Any, TextIO

from trainyard import metrics as names
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import Metrics, is_finite_number
from trainyard.runs.checkpoints import Checkpoint
from trainyard.runs.run import Outcome, Run
from trainyard.runs.storage import RunStorage

CSV_FILE = "progress.csv"
TENSORBOARD_FOLDER = "tensorboard"
FIRST_COLUMNS = [
    names.TIME_ITERATION,
    names.TIME_ENV_STEPS,
    names.TIME_SECONDS,
    names.TRAIN_EPISODES,
    names.TRAIN_RETURN_MEAN,
    names.TRAIN_RETURN_MIN,
    names.TRAIN_RETURN_MAX,
    names.TRAIN_FRESH_RETURN_MEAN,
    names.TRAIN_EPISODE_LENGTH_MEAN,
    names.TRAIN_LOSS,
    names.ENV_STEPS_PER_SECOND,
    names.EPISODES_PER_SECOND,
]


class Curves(Callback):
    """Writes both below the run's local folder; publishes them to remote storage with every checkpoint and at the end.

    A row of the table is written with a checkpoint or when the next iteration ends, because an evaluation may still add
    values to it. So an attempt that continues from a checkpoint finds the curve up to that checkpoint.
    """

    def __init__(self) -> None:
        self._row: Metrics = {}
        self._rows: list[Metrics] = []
        self._columns: list[str] = []
        self._file: TextIO | None = None
        self._tensorboard: Any = None

    def on_run_start(self, run: Run) -> None:
        from tensorboardX import SummaryWriter  # takes seconds unless torch is there already

        if run.restored_iteration:
            _take_over_events(run.storage)
        self._tensorboard = SummaryWriter(str(run.storage.local / TENSORBOARD_FOLDER))
        self._rows = _rows_until(run)
        self._columns = list(dict.fromkeys(name for row in self._rows for name in row))

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self._flush_row(run)
        self._row = {name: value for name, value in iteration.metrics.items() if not name.startswith(names.RLLIB)}
        for name, value in iteration.metrics.items():
            if is_finite_number(value):
                self._tensorboard.add_scalar(name, value, run.counters.env_steps)

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        if not self._row and self._rows:
            # Written already, with the last checkpoint: the whole table is written again.
            self._row = self._rows.pop()
            self._close()
        self._row |= evaluation.metrics
        for name, value in evaluation.metrics.items():
            if is_finite_number(value):
                self._tensorboard.add_scalar(name, value, run.counters.env_steps)

    def on_checkpoint(self, run: Run, checkpoint: Checkpoint) -> None:
        if not checkpoint.best:
            self._flush_row(run)
            self._tensorboard.flush()
            run.storage.publish(CSV_FILE, TENSORBOARD_FOLDER)

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        self._flush_row(run)
        self._close()
        if self._tensorboard is not None:
            self._tensorboard.close()
        run.storage.publish(CSV_FILE, TENSORBOARD_FOLDER)

    def _flush_row(self, run: Run) -> None:
        """Append the pending row. If it has a new metric, the whole table is written again, with a new column."""
        if not self._row:
            return
        row, self._row = self._row, {}
        self._rows.append(row)
        new = [name for name in row if name not in self._columns]
        if new or self._file is None:
            known = {*self._columns, *row}
            rest = sorted(known - set(FIRST_COLUMNS))
            self._columns = [*FIRST_COLUMNS, *rest]
            self._rewrite(run)
        else:
            csv.DictWriter(self._file, self._columns).writerow(row)
        if self._file is not None:
            self._file.flush()

    def _rewrite(self, run: Run) -> None:
        self._close()
        self._file = (run.storage.local / CSV_FILE).open("w", newline="")
        writer = csv.DictWriter(self._file, self._columns)
        writer.writeheader()
        writer.writerows(self._rows)

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


def _take_over_events(storage: RunStorage) -> None:
    """Publishing replaces the folder, so the files that an earlier attempt has published must be here too."""
    if not storage.is_local and TENSORBOARD_FOLDER in storage.list_folders("."):
        shutil.copytree(storage.download(TENSORBOARD_FOLDER), storage.local / TENSORBOARD_FOLDER, dirs_exist_ok=True)


def _rows_until(run: Run) -> list[Metrics]:
    """Rows of an earlier attempt up to the restored iteration; later iterations are done again."""
    text = run.storage.read_text(CSV_FILE)
    if text is None or not run.restored_iteration:
        return []
    rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(text.splitlines())]
    return [row for row in rows if row.get(names.TIME_ITERATION, 0) <= run.restored_iteration]
