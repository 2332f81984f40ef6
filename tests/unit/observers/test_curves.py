"""progress.csv over attempts: a resumed run keeps the rows and the columns of the attempt before it."""

import csv

from pyarrow import fs

from trainyard.callbacks import Evaluation, Iteration
from trainyard.observers.curves import CSV_FILE, Curves
from trainyard.runs.checkpoints import Checkpoint
from trainyard.runs.run import Identity, Outcome, Run
from trainyard.runs.storage import RunStorage, at_directory
from trainyard.spec.parsing import parse

FOLDER = "tensorboard"
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


def begun(storage, restored=0):
    run = Run(Identity("run"), parse(SPEC), {"spec": SPEC}, storage, restored_iteration=restored)
    curves = Curves()
    curves.on_run_start(run)
    return run, curves


def iterate(run, curves, number):
    curves.on_iteration(run, Iteration(number, {"time/iteration": float(number)}, [], 1.0))


def checkpoint(run, curves, number):
    curves.on_checkpoint(run, Checkpoint(number, f"checkpoints/{number}", "", 0.0))


def iterations(text):
    return [float(row["time/iteration"]) for row in csv.DictReader(text.splitlines())]


def test_a_driver_that_is_killed_after_a_checkpoint_has_written_the_row_of_that_iteration(tmp_path):
    run, curves = begun(at_directory(tmp_path))
    iterate(run, curves, 1)
    iterate(run, curves, 2)
    assert iterations((tmp_path / CSV_FILE).read_text()) == [1]
    checkpoint(run, curves, 2)
    assert iterations((tmp_path / CSV_FILE).read_text()) == [1, 2]


def test_a_test_after_the_last_checkpoint_is_in_the_row_of_the_last_iteration(tmp_path):
    run, curves = begun(at_directory(tmp_path))
    iterate(run, curves, 1)
    iterate(run, curves, 2)
    checkpoint(run, curves, 2)
    curves.on_evaluation(run, Evaluation("test", 2, {"test/return_mean": 7.5}))
    curves.on_run_end(run, Outcome("ended", 1.0))
    rows = list(csv.DictReader((tmp_path / CSV_FILE).read_text().splitlines()))
    assert [(row["time/iteration"], row["test/return_mean"]) for row in rows] == [("1.0", ""), ("2.0", "7.5")]


def test_another_machine_finds_the_curve_that_led_to_the_checkpoint(tmp_path):
    filesystem = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())

    def machine(name):
        (tmp_path / name).mkdir()
        return RunStorage(filesystem, "run", tmp_path / name, "s3://bucket/run", True)

    (tmp_path / "bucket").mkdir()
    run, curves = begun(machine("first"))
    for number in (1, 2, 3):
        iterate(run, curves, number)
        if number == 2:
            checkpoint(run, curves, number)
    # The first machine is lost here, in iteration 4.
    folder = tmp_path / "bucket" / "run" / FOLDER
    (events,) = folder.iterdir()
    events.rename(folder / "events.of-the-first-machine")  # both begin in the same second, which names the file
    run, curves = begun(machine("second"), restored=2)
    iterate(run, curves, 3)
    curves.on_run_end(run, Outcome("ended", 1.0))
    assert iterations(run.storage.read_text(CSV_FILE)) == [1, 2, 3]
    assert {"events.of-the-first-machine", events.name} == {path.name for path in folder.iterdir()}
