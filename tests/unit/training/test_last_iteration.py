"""How far an attempt got, as the next attempt reads it, and where a person sees it."""

import io
import json
import logging
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from pyarrow import fs
from rich.console import Console

from trainyard.callbacks import Iteration
from trainyard.observers.progress import ProgressReporter
from trainyard.observers.terminal import IterationLines
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs.run import Identity, Outcome, Run
from trainyard.runs.stopping import Counters
from trainyard.runs.storage import RunStorage, at_directory
from trainyard.spec.parsing import parse
from trainyard.training.last_iteration import FILE, Reached, reached

SPEC = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 9}}
CONTRACT = Path(__file__).parents[3] / "manifests" / "contract" / "progress.schema.json"


def run_at(storage, **changes):
    return Run(Identity("run"), parse(SPEC), {"spec": SPEC}, storage, **changes)


def bucket(tmp_path):
    """A place that is not this machine's: a folder seen through a SubTreeFileSystem."""
    for folder in ("bucket", "scratch"):
        (tmp_path / folder).mkdir(exist_ok=True)
    filesystem = fs.SubTreeFileSystem(str(tmp_path / "bucket"), fs.LocalFileSystem())
    return RunStorage(filesystem, "run", tmp_path / "scratch", "s3://bucket/run", True)


def iterate(kept, run, number):
    run.counters = replace(run.counters, iteration=number)
    kept.on_iteration(run, Iteration(number, {}, [], 1.0))


def test_without_an_attempt_before_nothing_was_reached(tmp_path):
    assert reached(at_directory(tmp_path)) == 0


def test_every_iteration_is_known_at_once_on_a_volume(tmp_path):
    run, kept = run_at(at_directory(tmp_path)), Reached(clock=lambda: 0.0)
    kept.on_run_start(run)
    for number in (1, 2, 3):
        iterate(kept, run, number)
        assert reached(at_directory(tmp_path)) == number


def test_an_attempt_that_starts_says_where_so_that_the_next_one_counts_only_its_iterations(tmp_path):
    iterate(Reached(), run_at(at_directory(tmp_path)), 7)
    Reached().on_run_start(run_at(at_directory(tmp_path), counters=Counters(iteration=5)))
    assert reached(at_directory(tmp_path)) == 5


def test_an_object_store_is_written_every_five_seconds_and_at_the_end(tmp_path):
    now = [100.0]
    run, kept = run_at(bucket(tmp_path)), Reached(clock=lambda: now[0])
    kept.on_run_start(run)
    for number, at in ((1, 104.9), (2, 105.0), (3, 106.0)):
        now[0] = at
        iterate(kept, run, number)
        assert reached(bucket(tmp_path)) == (0, 2, 2)[number - 1]
    kept.on_run_end(run, Outcome("interrupted", 1.0))
    assert reached(bucket(tmp_path)) == 3


def test_an_attempt_that_ends_before_it_restored_anything_leaves_the_number(tmp_path):
    iterate(Reached(), run_at(at_directory(tmp_path)), 7)
    Reached().on_run_end(run_at(at_directory(tmp_path)), Outcome("InvalidConfiguration", 1.0))
    assert reached(at_directory(tmp_path)) == 7


def test_a_storage_that_fails_for_a_moment_does_not_end_the_run(tmp_path, caplog):
    run, kept = run_at(at_directory(tmp_path)), Reached()
    (tmp_path / FILE).mkdir()
    with caplog.at_level(logging.WARNING):
        iterate(kept, run, 1)
    assert "could not be kept" in caplog.text
    (tmp_path / FILE).rmdir()
    iterate(kept, run, 2)
    assert reached(run.storage) == 2


@pytest.mark.parametrize(("restored", "lost"), [(5, 2), (0, 3), (5, 0), (0, 0)])
def test_the_progress_line_and_the_terminal_say_what_is_done_again(tmp_path, restored, lost):
    run = run_at(at_directory(tmp_path), restored_iteration=restored, lost_iterations=lost)
    console = Console(file=io.StringIO(), width=160)
    for callback in (
        ProgressReporter(Progress(ProgressFile(tmp_path / "progress.jsonl", "job"))),
        IterationLines(console),
    ):
        callback.on_run_start(run)
    line = json.loads((tmp_path / "progress.jsonl").read_text())
    jsonschema.validate(line, json.loads(CONTRACT.read_text()))
    assert (line.get("startedIteration", 0), line.get("lostIterations", 0)) == (restored, lost)
    said = console.file.getvalue()
    assert ("goes on from the checkpoint of iteration 5" in said) == bool(restored)
    assert (f"done again: {lost}" in said) == bool(lost)
