import csv
import io
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from rich.console import Console

from trainyard.progress.channel import encode
from trainyard.progress.text import summary_table
from trainyard.search.trials import TrialTable

NAN = float("nan")
SCHEMA = json.loads(
    (Path(__file__).parents[3] / "manifests" / "contract" / "progress.schema.json").read_text(encoding="utf-8")
)


def table(scope="BestEver", mode="max", count=2):
    points = [{"trainable.config.lr": 0.1 * (index + 1)} for index in range(count)]
    return TrialTable(points, "reward", mode, scope)


def play(trials, index, rewards, error=""):
    trials.start(index, "host")
    for reward in rewards:
        trials.report(index, {} if reward is None else {"reward": reward, "loss": 1.0})
    trials.finish(index, error)


@pytest.mark.parametrize(
    ("scope", "mode", "first", "second", "expected", "value"),
    [
        ("BestEver", "max", [1, 9, 2], [3, 4], "1", 9),
        ("Last", "max", [1, 9, 2], [3, 4], "2", 4),
        ("BestEver", "min", [1, 9], [3, 0.5, 7], "2", 0.5),
        ("Last", "max", [1, 9, NAN], [3], "1", 9),
        ("BestEver", "max", [NAN, None], [NAN, 0.1], "2", 0.1),
        ("BestEver", "max", [5], [5], "1", 5),
    ],
)
def test_the_best_trial_is_by_last_or_best_ever_value_and_never_by_nan(scope, mode, first, second, expected, value):
    trials = table(scope, mode)
    play(trials, 0, first)
    play(trials, 1, second)
    best = trials.best()
    assert (best.id, trials.value(best)) == (expected, value)


def test_a_failed_trial_is_never_the_best():
    trials = table()
    play(trials, 0, [100], error="ValueError: boom")
    play(trials, 1, [1])
    assert trials.best().id == "2"
    play(trials, 1, [1], error="ValueError: boom")
    assert trials.best() is None


def test_the_section_of_a_progress_line_counts_states_and_names_the_best():
    trials = table(count=4)
    play(trials, 0, [1, 5, 3])
    play(trials, 1, [], error="ValueError: boom")
    trials.start(2, "other")
    section = trials.section()
    assert (section["total"], section["pending"], section["running"], section["succeeded"], section["failed"]) == (
        4, 1, 1, 1, 1,
    )  # fmt: skip
    assert section["best"] == {
        "metric": "reward",
        "value": 5,
        "iteration": 2,
        "trial": "1",
        "parameters": {"lr": 0.1},
        "metrics": {"reward": 5, "loss": 1.0},
    }
    header = {"schemaVersion": 1, "jobId": "job", "seq": 1, "time": 1.0, "final": False, "progress": {}}
    jsonschema.validate(json.loads(encode(header | {"trials": section})), SCHEMA)


def test_the_file_has_a_row_for_each_trial_and_a_column_for_each_metric():
    trials = table()
    play(trials, 0, [1, 2])
    play(trials, 1, [], error="ValueError: boom")
    rows = list(csv.DictReader(io.StringIO(trials.csv())))
    assert [row["state"] for row in rows] == ["Succeeded", "Failed"]
    assert (rows[0]["lr"], rows[0]["reward"], rows[0]["loss"], rows[0]["epochs"]) == ("0.1", "2", "1.0", "2")
    assert (rows[1]["reward"], rows[1]["error"]) == ("", "ValueError: boom")


def test_bookkeeping_of_tune_is_no_metric():
    trials = table()
    trials.report(0, {"reward": 1.0, "training_iteration": 7, "pid": 3, "time_total_s": 1.0, "hostname": "h"})
    assert trials.trials[0].metrics == {"reward": 1.0}
    assert trials.trials[0].hostname == "h"


def test_truth_values_of_parameters_are_written_as_in_the_file():
    trials = TrialTable([{"trainable.config.bias": True}], "reward", "max", "Last")
    play(trials, 0, [1.5])
    output = io.StringIO()
    Console(file=output, width=120).print(trials.rich_table())
    Console(file=output, width=120).print(summary_table({"best.bias": True, "other": 1}, "finished"))
    assert "True" not in output.getvalue()
    assert output.getvalue().count("true") == 2


def test_the_iterations_of_a_trial_that_goes_on_are_its_own_count():
    trials = table("BestEver")
    trials.start(0)
    # What the attempt before had found, what it goes on from, and what it does then.
    for iteration, reward in ((17, 100.0), (10, 50.0), (11, 60.0)):
        trials.report(0, {"reward": reward, "time/iteration": iteration})
    trials.finish(0)
    best = trials.section()["best"]
    assert (best["value"], best["iteration"]) == (100.0, 17)
    assert trials.trials[0].iteration == 11


def test_scalars_of_numpy_and_torch_compare_trials():
    trials = table()
    play(trials, 0, [np.array([4.0]), np.float32(4)])
    play(trials, 1, [torch.tensor([9.0])])
    assert (trials.best().id, trials.value(trials.best())) == ("2", 9)
    assert trials.trials[0].metrics["reward"] == 4


def test_numbers_in_a_dictionary_of_a_result_count_by_their_path():
    trials = TrialTable([{"trainable.config.lr": 0.1}], "eval/reward", "max", "BestEver")
    trials.report(0, {"eval": {"reward": 3.0, "all": [1, 2]}})
    assert trials.best().best == 3.0
    assert trials.dropped == {"eval/all": "list"}
