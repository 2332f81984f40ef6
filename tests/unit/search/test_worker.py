"""What a worker process does with a trial of a generator function, and what it imports for it."""

import subprocess
import sys

import pytest

from trainyard.search.worker import RESULT, STARTED, import_ahead, play
from trainyard.spec.sections import Stop

FUNCTION = "trainyard.examples.tune_grid:train"


@pytest.fixture(autouse=True)
def without_sleep(monkeypatch):
    monkeypatch.setattr("trainyard.examples.tune_grid.SECONDS_PER_EPOCH", 0.0)


@pytest.mark.parametrize(
    ("stop", "results"),
    [(None, 4), (Stop(iterations=3), 3), (Stop.model_validate({"metrics": [{"metric": "reward", "atLeast": 150}]}), 2)],
)
def test_a_trial_says_where_it_runs_then_every_result_up_to_the_stop(stop, results):
    (first, hostname), *others = play(FUNCTION, {"lr": 0.001, "trial_id": 1, "epochs": 4}, stop)
    assert (first, bool(hostname)) == (STARTED, True)
    assert [(kind, value["epoch"]) for kind, value in others] == [(RESULT, n + 1) for n in range(results)]


def test_a_process_of_a_trial_imports_neither_specification_nor_tables():
    names = ("pydantic", "rich", "numpy", "ray")
    code = f"import sys, trainyard.search.worker; print([name for name in {names} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_process_that_was_prepared_has_imported_the_function(monkeypatch):
    monkeypatch.delitem(sys.modules, "trainyard.examples.tune_grid")
    import_ahead(FUNCTION)
    assert "trainyard.examples.tune_grid" in sys.modules


def test_the_report_can_be_imported_ahead():
    code = (
        "import sys, threading; from trainyard.reports import build; build.import_ahead();"
        "[t.join() for t in threading.enumerate() if t is not threading.current_thread()];"
        "print('trainyard.reports.page' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"
