"""What a search does once its first trial runs."""

from rich.console import Console

from trainyard import storage
from trainyard.launch import Started
from trainyard.progress import Progress, ProgressFile
from trainyard.run import Identity
from trainyard.search import _View
from trainyard.specification import parse
from trainyard.trials import TrialTable


def test_it_uses_the_time_that_the_trials_take_once_and_not_before_one_runs(tmp_path):
    point = {"trainable.config.lr": 0.1}
    spec = {
        "trainable": {"function": "trainyard.examples.tune_grid:train"},
        "search": {
            "parameters": [{"path": "trainable.config.lr", "grid": [0.1]}],
            "maxConcurrentTrials": 1,
            "metric": "reward",
            "mode": "max",
        },
    }
    progress = Progress(ProgressFile(tmp_path / "progress.jsonl", "test"), interval=0.0)
    place = storage.at_directory(tmp_path / "run")
    started = Started(Identity("grid"), parse(spec), {"spec": spec}, place, progress, Console(quiet=True))
    table, calls = TrialTable([point], "reward", "max", "Last"), []
    view = _View(started, table)
    view.when_running = lambda: calls.append("report")
    with view:
        assert calls == []
        table.start(0)
        view.refresh(changed_state=True)
        view.refresh(changed_state=True)
        assert calls == ["report"]
