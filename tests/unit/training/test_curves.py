"""progress.csv over attempts: a resumed run keeps the rows and the columns of the attempt before it."""

import csv

from trainyard.callbacks import Evaluation, Iteration
from trainyard.curves import CSV_FILE, Curves
from trainyard.run import Identity, Outcome, Run
from trainyard.specification import parse
from trainyard.storage import at_directory

SPEC = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 3}}


def test_a_resumed_run_keeps_columns_that_its_first_iteration_does_not_have(tmp_path):
    def attempt(number, restored, *, evaluated):
        run = Run(Identity("run"), parse(SPEC), {"spec": SPEC}, at_directory(tmp_path), restored_iteration=restored)
        curves = Curves()
        curves.on_run_start(run)
        curves.on_iteration(run, Iteration(number, {"time/iteration": float(number)}, [], 1.0))
        if evaluated:
            curves.on_evaluation(run, Evaluation("validation", number, {"validation/return_mean": 7.5}))
        curves.on_run_end(run, Outcome("ended", 1.0))

    attempt(1, 0, evaluated=True)
    attempt(2, 1, evaluated=False)
    rows = list(csv.DictReader((tmp_path / CSV_FILE).read_text().splitlines()))
    assert [(row["time/iteration"], row["validation/return_mean"]) for row in rows] == [("1.0", "7.5"), ("2.0", "")]
