"""The three kinds of work: an algorithm, a trainable, and either of them under a search."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from trainyard.callbacks import Callback
from trainyard.errors import InvalidConfiguration
from trainyard.observers.curves import Curves
from trainyard.observers.progress import ProgressReporter
from trainyard.observers.terminal import IterationLines
from trainyard.observers.verdicts import Analyst
from trainyard.recording.driver_side import Recording
from trainyard.reports import build as report
from trainyard.reports import summary
from trainyard.reports.run_facts import ReportRecords
from trainyard.runs.run import Run
from trainyard.training import provenance

if TYPE_CHECKING:
    from trainyard.runs.job import Job


def run(job: Job) -> dict[str, Any]:
    """Do the work on the connected Ray; return the summary."""
    specification = job.specification
    tell_of_data(job)
    if specification.search is not None or specification.trainable is not None:
        from trainyard.search import driver

        return driver.run(job)
    if specification.entrypoint is not None:
        return _run_program(job, specification.entrypoint)
    return _train(job)


def tell_of_data(job: Job) -> None:
    """Report how the price files were read, and what in them may be wrong."""
    try:
        found = provenance.data_sets(job.specification)
    except InvalidConfiguration as error:
        if job.specification.search is None:
            raise
        job.console.print(str(error), style="yellow", highlight=False, markup=False)  # trials may differ in it
        return
    for data in found:
        job.console.print(f"prices: {data['reading']}", highlight=False, markup=False, soft_wrap=True)
        if data["jumps"]:
            message = provenance.jumps_in_words(data)
            job.console.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)
            job.progress.condition("PricesJump", "True", "PerhapsUnadjustedSplit", message)


def callbacks_of(job: Job) -> list[Callback]:
    """The observers of an algorithm run."""
    recording = [Recording()] if job.specification.recording is not None else []
    return [
        Analyst(),  # before those that write down its findings
        ProgressReporter(job.progress),
        IterationLines(job.console),
        Curves(),
        *recording,
        ReportRecords(partial(report.tell_failure, job)),
    ]


def _run_program(job: Job, command: str) -> dict[str, Any]:
    import ray

    from trainyard.launch import program

    address = ray.get_runtime_context().gcs_address
    last = program.run_here(command, address, job.progress.file, job.requirements)
    return last.get("summary", {})


def _exported(run: Run) -> dict[str, Any]:
    """Exports the best policy by validation to a file. Without a validation this is skipped, because it takes long."""
    if not run.selection.by_validation:
        return {}
    from trainyard.training import exporting

    return exporting.export_best(run)


def _train(job: Job) -> dict[str, Any]:
    from trainyard.training import loop

    run = job.run()
    try:
        outcome = loop.train(run, callbacks_of(job))
    except Exception:
        report.after_run(job)
        raise
    result = summary.of_training(run, outcome) | _exported(run)
    summary.write(run, result)
    report.after_run(job)
    return result
