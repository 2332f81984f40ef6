"""What the driver loop tells the operator about an algorithm run."""

import json

from trainyard.callbacks import Iteration
from trainyard.progress import Progress, ProgressFile
from trainyard.progress_reporter import ProgressReporter
from trainyard.run import Identity, Run
from trainyard.specification import parse
from trainyard.stopping import Counters
from trainyard.storage import at_directory

SPEC = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"episodes": 100}}


def test_the_estimate_of_episodes_per_iteration_is_that_of_the_latest_ten(tmp_path):
    run = Run(Identity("run"), parse(SPEC), {"spec": SPEC}, at_directory(tmp_path))
    reporter = ProgressReporter(Progress(ProgressFile(tmp_path / "progress.jsonl", "job"), interval=0.0))
    reporter.on_run_start(run)
    finished = 0
    for number, episodes in enumerate([0, 30, 4, 2, 2, 2, 2, 2, 2, 2, 2, 0], 1):
        finished += episodes
        run.counters = Counters(iteration=number, episodes=finished)
        reporter.on_iteration(run, Iteration(number, {}, [{"return": 1.0}] * episodes, 1.0))
    sections = [json.loads(line)["progress"] for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [section.get("episodesPerIteration") for section in sections[:4]] == [None, 0, 15, 34 / 3]
    assert sections[-1]["episodesPerIteration"] == 2
    assert sections[-1]["percent"] == 50
