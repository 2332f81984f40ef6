"""What a search does once as many trials run as may."""

from rich.console import Console

from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs import storage
from trainyard.runs.job import Job
from trainyard.runs.run import Identity
from trainyard.search.trials import TrialTable
from trainyard.search.view import View
from trainyard.spec.parsing import parse


def test_it_uses_the_time_that_the_trials_take_once_and_not_before_all_processes_have_started(tmp_path):
    points = [{"trainable.config.lr": rate} for rate in (0.1, 0.2, 0.3)]
    spec = {
        "trainable": {"function": "trainyard.examples.tune_grid:train"},
        "search": {
            "parameters": [{"path": "trainable.config.lr", "grid": [0.1, 0.2, 0.3]}],
            "maxConcurrentTrials": 2,
            "metric": "reward",
            "mode": "max",
        },
    }
    progress = Progress(ProgressFile(tmp_path / "progress.jsonl", "test"), interval=0.0)
    place = storage.at_directory(tmp_path / "run")
    started = Job(Identity("grid"), parse(spec), {"spec": spec}, place, progress, Console(quiet=True))
    table, calls = TrialTable(points, "reward", "max", "Last"), []
    view = View(started, table)
    view.when_running = lambda: calls.append("report")
    with view:
        assert calls == []
        table.start(0)
        view.refresh(changed_state=True)
        assert calls == []
        table.finish(0)
        table.start(1)
        view.refresh(changed_state=True)
        view.refresh(changed_state=True)
        assert calls == ["report"]
