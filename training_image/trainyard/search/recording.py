"""The recording of a search: one recorder, started and ended by the search's driver, joined by every trial."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainyard.recording import driver_side

if TYPE_CHECKING:
    from trainyard.runs.run import Run
    from trainyard.search.trials import TrialTable

logger = logging.getLogger(__name__)


@contextmanager
def recorded(run: Run, table: TrialTable) -> Iterator[None]:
    """Have a recorder while the trials of `table` run. Like a single run, a search whose records are lost fails."""
    import ray

    recorder = driver_side.start(run, is_search=True)
    try:
        try:
            yield
        except BaseException as error:
            _try_finish(recorder, type(error).__name__)
            raise
        _end_killed_trials(recorder, table)
        succeeded = sum(trial.state == "Succeeded" for trial in table.trials)
        ray.get(recorder.finish.remote(f"{succeeded} of {len(table.trials)} trials succeeded"))
    finally:
        # Its name is free then, for another search of the same process.
        ray.kill(recorder)


def _end_killed_trials(recorder: Any, table: TrialTable) -> None:
    """A trial notes its own end, unless its process was killed; the table knows of that."""
    import ray

    for trial in table.trials:
        if trial.state == "Failed":
            ray.get(recorder.end_trial.remote(trial.id, trial.error.partition(":")[0]))


def _try_finish(recorder: Any, outcome: str) -> None:
    import ray

    try:
        ray.get(recorder.finish.remote(outcome))
    except Exception:
        # It may well be what ended the search; the search's own error is the one to show.
        logger.exception("the end of the failed search could not be recorded")
