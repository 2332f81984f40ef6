"""Making the report of a run's folder: report.html and the pictures in report/."""

from __future__ import annotations

import importlib
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainyard.reports.folder import PROGRESS_FILE, TRIALS_FILE, read
from trainyard.reports.run_facts import FOLDER, RUN_FILE, run_facts, write_json

if TYPE_CHECKING:
    from trainyard.runs.job import Job

PAGE_FILE = "report.html"


def build(path: Path) -> Path:
    """Write the report of the run in the folder `path`; return the page's path. The same folder gives the same bytes.

    Raises:
        NothingToReport: the folder has no table of a run.
    """
    from trainyard.reports import page

    run = read(path)
    pictures = path / FOLDER
    for old in pictures.glob("*.png"):
        old.unlink()
    text = page.render(run, pictures)
    (path / PAGE_FILE).write_text(text)
    return path / PAGE_FILE


def import_ahead() -> None:
    """Import the modules for `build` in the background; an error appears when the report is made."""

    def importing() -> None:
        with suppress(ImportError):
            importlib.import_module("trainyard.reports.page")

    threading.Thread(target=importing, name="import-report", daemon=True).start()


def tell_failure(job: Job, error: Exception) -> None:
    """Set the condition ReportFailed and show it on the terminal."""
    message = f"the report could not be made: {type(error).__name__}: {error}"
    job.progress.condition("ReportFailed", "True", "ReportError", message)
    job.console.print(message, style="yellow", highlight=False, markup=False)


def after_run(job: Job) -> None:
    """Make and keep the report of an algorithm run, whose callback has written run.json.

    A report never fails a run: an error here becomes a condition.
    """
    _make(job)


def after_search(job: Job, facts: dict[str, Any]) -> None:
    """Write run.json, with `facts` about the end, and make the report of a search or a trainable.

    This never fails the run either.
    """
    _make(job, facts)


def _make(job: Job, facts: dict[str, Any] | None = None) -> None:
    storage = job.storage
    if not any((storage.local / name).is_file() for name in (PROGRESS_FILE, TRIALS_FILE)):
        return
    try:
        if facts:
            found = run_facts(job.identity, job.specification, job.document.get("spec", {}))
            write_json(storage, RUN_FILE, found | facts)
        page = build(storage.local)
        storage.publish(PAGE_FILE, FOLDER)
    except Exception as error:  # noqa: BLE001 - whatever it is, the training itself went well
        tell_failure(job, error)
        return
    job.console.print(
        f"report: {page if storage.is_local else storage.uri_of(PAGE_FILE)}", highlight=False, soft_wrap=True
    )
