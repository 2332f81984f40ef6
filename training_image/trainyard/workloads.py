"""The three kinds of work: an algorithm, a trainable, and either of them under a search."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from trainyard import summary
from trainyard.analyst import Analyst
from trainyard.callbacks import Callback
from trainyard.curves import Curves
from trainyard.errors import InvalidConfiguration
from trainyard.progress_reporter import ProgressReporter
from trainyard.recording.callback import Recording
from trainyard.reports import build as report
from trainyard.reports import provenance
from trainyard.reports.records import ReportRecords
from trainyard.run import Run
from trainyard.terminal import IterationLines

if TYPE_CHECKING:
    from trainyard.launch import Started


def run(started: Started) -> dict[str, Any]:
    """Do the work on the connected Ray; return the summary."""
    specification = started.specification
    tell_of_data(started)
    if specification.search is not None or specification.trainable is not None:
        from trainyard import search

        return search.run(started)
    if specification.entrypoint is not None:
        return _run_program(started, specification.entrypoint)
    return _train(started)


def tell_of_data(started: Started) -> None:
    """Say how the price files were understood, and what in them may be wrong."""
    try:
        found = provenance.data_sets(started.specification)
    except InvalidConfiguration as error:
        if started.specification.search is None:
            raise
        started.console.print(str(error), style="yellow", highlight=False, markup=False)  # trials may differ in it
        return
    for data in found:
        started.console.print(f"prices: {data['reading']}", highlight=False, markup=False, soft_wrap=True)
        if data["jumps"]:
            message = provenance.jumps_in_words(data)
            started.console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)
            started.progress.condition("PricesJump", "True", "PerhapsUnadjustedSplit", message)


def callbacks_of(started: Started) -> list[Callback]:
    """What watches an algorithm run."""
    recording = [Recording()] if started.specification.recording is not None else []
    return [
        Analyst(),  # before those that write down its findings
        ProgressReporter(started.progress),
        IterationLines(started.console),
        Curves(),
        *recording,
        ReportRecords(partial(report.tell_failure, started)),
    ]


def _run_program(started: Started, command: str) -> dict[str, Any]:
    import ray

    from trainyard import entrypoint

    address = ray.get_runtime_context().gcs_address
    last = entrypoint.run_here(command, address, started.progress.file, started.requirements)
    return last.get("summary", {})


def _exported(run: Run) -> dict[str, Any]:
    """The best policy by validation as a file; without a validation nobody waits for torch.export."""
    if not run.selection.by_validation:
        return {}
    from trainyard import exporting

    return exporting.export_best(run)


def _train(started: Started) -> dict[str, Any]:
    from trainyard import driver

    run = started.run()
    try:
        outcome = driver.train(run, callbacks_of(started))
    except Exception:
        report.after_run(started)
        raise
    result = summary.of_training(run, outcome) | _exported(run)
    summary.write(run, result)
    report.after_run(started)
    return result
