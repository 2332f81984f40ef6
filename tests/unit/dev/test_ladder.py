"""The ladder's table, and that its files say what its rungs promise."""

import io
from typing import Any

import pytest
import yaml
from rich.console import Console

from dev.ladder import RUNGS, Climbed, epochs, parallel, status, table, trials
from dev.watching import ended_trials, summary_line


def spec_of(test: str) -> dict[str, Any]:
    (rung,) = [rung for rung in RUNGS if rung.test == test]
    return yaml.safe_load(rung.path.read_text())["spec"]


def ended(test: str, seconds: float, **state: Any) -> Climbed:
    return Climbed({"spec": spec_of(test), "status": {"phase": "Succeeded"} | state}, seconds)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("simple Ray job", ("-", "2 CPUs")),
        ("Tuner test", ("5", "1 trial")),
        ("2 epochs", ("2", "2 env runners")),
        ("10 epochs x 9 trials", ("10", "3 trials")),
        ("50-epoch portfolio", ("50", "2 env runners")),
    ],
)
def test_each_rung_is_a_sample_with_the_epochs_of_its_name(test: str, expected: tuple[str, str]) -> None:
    assert (epochs(spec_of(test)), parallel(spec_of(test))) == expected


def test_the_two_portfolios_differ_only_in_how_long_they_train_and_whether_they_are_tested() -> None:
    short, long = spec_of("2 epochs"), spec_of("50-epoch portfolio")
    assert {key for key in short | long if short.get(key) != long.get(key)} == {"stop", "evaluation", "test"}


def test_trials_are_those_that_succeeded() -> None:
    grid = ended("10 epochs x 9 trials", 20, trials={"total": 9, "running": 0, "succeeded": 8, "failed": 1})
    assert trials(grid.run) == "8 of 9"
    assert trials(ended("50-epoch portfolio", 20).run) == "1"
    assert trials(ended("simple Ray job", 20).run) == "-"


def test_the_table_has_a_row_for_every_rung_and_says_which_were_not_tried() -> None:
    failure = {"reason": "AllTrialsFailed", "message": "all 1 trials failed"}
    climbed = [
        ended("simple Ray job", 12.34),
        ended("Tuner test", 75, phase="Failed", failure=failure, trials={"total": 1, "failed": 1}),
    ]
    out = io.StringIO()
    Console(file=out, width=120).print(table(RUNGS, climbed))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "│" in line]
    assert rows == [
        ["simple Ray job", "-", "-", "2 CPUs", "12 s", "Succeeded"],
        ["Tuner test", "5", "0 of 1", "1 trial", "1 min 15 s", "Failed: AllTrialsFailed"],
        ["2 epochs", "2", "-", "2 env runners", "-", "not tried"],
        ["10 epochs x 9 trials", "10", "-", "3 trials", "-", "not tried"],
        ["50-epoch portfolio", "50", "-", "2 env runners", "-", "not tried"],
    ]


def test_a_rung_that_was_not_reached_has_no_phase() -> None:
    assert status(None) == "not tried"


def test_a_search_is_watched_by_its_trials() -> None:
    run = {"status": {"phase": "Running", "progress": {"iteration": 2}, "trials": {"total": 9, "succeeded": 2}}}
    assert ended_trials(run) == "2/9"
    assert summary_line(run) == "Running, iteration 2, trials 2/9"
    assert ended_trials({"status": {}}) == ""
