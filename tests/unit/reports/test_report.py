"""Files in, page and pictures out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

import trainyard
from tests.unit.reports.folders import (
    NAN,
    SEARCH_SPEC,
    account,
    iteration,
    run_facts,
    search_run,
    training_run,
    write_table,
)
from trainyard.reports import build as report
from trainyard.reports.build import build
from trainyard.reports.folder import NothingToReport, read
from trainyard.runs.storage import at_directory


class Page:
    """The page as a reader sees it."""

    def __init__(self, path: Path) -> None:
        self.source = path.read_text()
        plain = re.sub(r"<style>.*?</style>", "", self.source, flags=re.DOTALL)
        self.text = " ".join(re.sub(r"<[^>]+>", " ", plain).split())

    @property
    def sections(self) -> list[str]:
        return re.findall(r'<section id="([^"]+)"', self.source)

    @property
    def figure_titles(self) -> list[str]:
        return [title.replace("\N{NO-BREAK SPACE}", " ") for title in re.findall(r"<h3>(.*?)</h3>", self.source)]


def page_of(folder: Path) -> Page:
    return Page(build(folder))


def pictures(folder: Path) -> set[str]:
    return {path.name for path in (folder / "report").glob("*.png")}


def test_a_training_run_gets_its_curves_its_facts_and_its_specification(tmp_path: Path) -> None:
    page = page_of(training_run(tmp_path, [iteration(number) for number in range(1, 11)]))
    assert page.sections == ["learning", "throughput", "reproducing"]
    assert "Episode return 100 after 10 iterations" in page.text
    assert "The episode return rose from 10 to 100" in page.figure_titles
    assert "500 environment steps per second in the median iteration" in page.figure_titles
    for fact in (
        "PPO on CartPole-v1",
        "10 of 10 iterations",
        "0123abc with uncommitted changes",
        "ray 2.60.0",
        "lr: 0.0003",
    ):
        assert fact in page.text
    assert pictures(tmp_path) == {"learning.png", "throughput.png", "training-figures.png"}


def test_the_same_folder_gives_the_same_page_and_pictures(tmp_path: Path) -> None:
    folder = training_run(tmp_path, [iteration(number, validation__return_mean=number) for number in range(1, 6)])

    def everything() -> dict[str, bytes]:
        build(folder)
        files = [folder / "report.html", *(folder / "report").glob("*.png")]
        return {path.name: path.read_bytes() for path in files}

    assert everything() == everything()


def test_the_page_is_self_contained_and_its_drawings_are_well_formed(tmp_path: Path) -> None:
    source = page_of(training_run(tmp_path, [iteration(1), iteration(2)])).source
    assert not re.findall(r'(?:src|href)="(?!#)', source)
    assert "<script" not in source
    drawings = re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)
    assert len(drawings) == 3
    for drawing in drawings:
        ElementTree.fromstring(drawing.replace("xlink:", ""))
    identifiers = re.findall(r'\bid="([^"]+)"', source)
    assert len(identifiers) == len(set(identifiers))


def test_text_of_the_user_is_escaped(tmp_path: Path) -> None:
    page = page_of(training_run(tmp_path, [iteration(1)], name="<script>alert(1)</script>"))
    assert "<script" not in page.source


def test_one_iteration_shows_numbers_and_no_empty_figures(tmp_path: Path) -> None:
    page = page_of(training_run(tmp_path, [iteration(1)], iterations=1))
    assert "Episode return 10 after 1 iteration" in page.text
    assert page.figure_titles == []
    assert pictures(tmp_path) == set()


def test_missing_columns_and_values_leave_only_their_own_parts_out(tmp_path: Path) -> None:
    rows = [{"time/iteration": 1, "perf/env_steps_per_s": 5}, {"time/iteration": 2, "perf/env_steps_per_s": NAN}]
    page = page_of(training_run(tmp_path, rows))
    assert page.sections == ["reproducing"]
    assert "No episode has finished" in page.text


def test_nan_iterations_are_skipped(tmp_path: Path) -> None:
    rows = [iteration(number) for number in range(1, 7)]
    rows[0]["train/return_mean"] = rows[3]["train/return_mean"] = NAN
    assert "The episode return rose from 20 to 60" in page_of(training_run(tmp_path, rows)).figure_titles


def test_validation_names_its_best_iteration_the_early_stop_and_the_test(tmp_path: Path) -> None:
    sharpe = [0.1, 0.9, 0.4, 0.3, 0.2]
    rows = [iteration(number, validation__sharpe=value) for number, value in enumerate(sharpe, start=1)]
    rows[-1]["test/sharpe"] = 0.5
    folder = training_run(
        tmp_path,
        rows,
        iterations=5,
        ended="early stopping: validation/sharpe has not improved in 3 evaluations; best 0.9 in iteration 2",
        selection={"metric": "validation/sharpe", "mode": "max"},
        best={"value": 0.9, "iteration": 2},
    )
    page = page_of(folder)
    assert page.sections == ["learning", "validation", "throughput", "reproducing"]
    assert "Sharpe ratio was best in iteration 2: 0.900, then training was stopped early" in page.figure_titles
    assert "figure validation, best (iteration 2) validation, last test Sharpe ratio 0.900 0.200 0.500" in page.text
    for label in ("best checkpoint", "stopped early", ">test<"):
        assert label in page.source


def test_episodes_that_the_means_leave_out_or_cut_short_are_counted(tmp_path: Path) -> None:
    rows = [
        iteration(1, train__non_finite_episodes=1, validation__cut_episodes=1),
        iteration(2, train__non_finite_episodes=3, validation__non_finite_episodes=1, validation__cut_episodes=2),
    ]
    build(training_run(tmp_path, rows))
    page = (tmp_path / "report.html").read_text()
    assert "In training, 3 episodes had numbers that are not finite and were left out." in page
    assert "In the last validation, 1 episode had a number that is not finite and was left out." in page
    assert "In the last validation, 2 episodes did not end within maxStepsPerEpisode." in page


def test_verdicts_come_with_their_numbers(tmp_path: Path) -> None:
    found = {
        "convergence/trend": "Improving", "convergence/slope": 10.0, "convergence/slope_standard_error": 0.5,
        "convergence/late_gain": 0.3, "convergence/diminishing_returns": 0.6, "convergence/points": 10,
        "overfitting/verdict": "Yes", "overfitting/best_iteration": 4.0, "overfitting/fall": 0.8,
        "overfitting/train_change": 0.4, "overfitting/validation_slope": -1.0,
        "generalisation/metric": "total_return", "generalisation/test/gap": 0.12,
    }  # fmt: skip
    page = page_of(training_run(tmp_path, [iteration(1), iteration(2)], findings=found))
    assert "Still improving, at 60.0 % of its early pace: the last third gained 30.0 %" in page.text
    assert "late slope 10 ± 0.500 per iteration" in page.text
    assert "Yes: validation was best in iteration 4 and has lost 80.0 % of its range" in page.text
    assert "The total return is 12.0 percentage points better on training data than in the test." in page.text
    assert "More training may help" not in page.text
    assert "and is still rising" in page.text


def write_account(folder: Path, record: dict) -> None:
    (folder / "report").mkdir(exist_ok=True)
    (folder / "report" / f"{record['kind']}-episode.json").write_text(json.dumps(record))


def test_an_account_is_compared_with_its_benchmark_without_flattery(tmp_path: Path) -> None:
    folder = training_run(tmp_path, [iteration(1), iteration(2)])
    write_account(folder, account())
    page = page_of(folder)
    # 1.001^20 - 1 and 1.002^20 - 1
    assert "Out of sample, the policy earned +2.0 %, buy and hold +4.1 %" in page.text
    assert "The policy beat buy and hold out of sample by Sharpe ratio, but not by total return." in page.text
    assert "2 trades: long 50 % and short 50 % of the time" in page.figure_titles
    assert {"account-test.png", "trades-test.png"} <= pictures(folder)
    assert "weights-test.png" not in pictures(folder)


def test_a_portfolio_shows_its_weights_instead_of_trades(tmp_path: Path) -> None:
    folder = training_run(tmp_path, [iteration(1)])
    record = account("validation") | {"assets": ["A", "B"], "weights": [[0.2, 0.5, 0.3]] * 21}
    del record["price"], record["trades"]
    write_account(folder, record)
    page = page_of(folder)
    assert "Held most on average: A 50 % and B 30 %; cash 20 %" in page.figure_titles
    assert pictures(folder) == {"account-validation.png", "weights-validation.png"}


def test_an_account_without_dates_and_benchmarks_is_drawn_over_steps(tmp_path: Path) -> None:
    folder = training_run(tmp_path, [iteration(1)])
    record = account() | {"benchmarks": {}}
    del record["date"], record["figures"]["buy_and_hold"]
    write_account(folder, record)
    assert "The policy earned +2.0 %" in page_of(folder).figure_titles


def test_a_search_has_its_table_and_its_best_trial(tmp_path: Path) -> None:
    page = page_of(search_run(tmp_path))
    assert page.sections == ["search", "reproducing"]
    assert "Reward 31 with lr 0.01, layers large: the best of 4 trials" in page.text
    assert "4 0.01 large 31 3 1.5 s host Succeeded" in page.text
    assert page.source.count('<tr class="marked">') == 1
    assert pictures(tmp_path) == {"parallel-coordinates.png", "trial-curves.png"}


def test_equal_trials_are_said_to_be_equal(tmp_path: Path) -> None:
    folder = search_run(tmp_path)
    for number in (3, 4):
        write_table(folder / f"trials/trial-{number}/progress.csv", [{"training_iteration": 1, "reward": 31.0}])
    assert "(equal in 2 trials)" in page_of(folder).text


def test_failed_trials_show_their_errors(tmp_path: Path) -> None:
    page = page_of(search_run(tmp_path, failed=[2, 3]))
    assert "2 trials of 4 failed" in page.text
    assert "ValueError: no" in page.text
    assert "more" not in page.text.split("ValueError: no")[1][:10]


def test_a_search_of_which_all_trials_failed_still_has_a_page(tmp_path: Path) -> None:
    page = page_of(search_run(tmp_path, failed=[1, 2, 3, 4]))
    assert "No trial has a value of the metric" in page.text
    assert pictures(tmp_path) == set()


def test_a_table_without_trials_still_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("trial,hostname,epochs,duration_seconds,state,error\n")
    (tmp_path / "run.json").write_text(json.dumps(run_facts(specification=SEARCH_SPEC)))
    assert page_of(tmp_path).sections == ["reproducing"]


def test_a_trainable_that_runs_alone_shows_what_it_reported(tmp_path: Path) -> None:
    write_table(
        tmp_path / "trials.csv",
        [
            {
                "trial": 1,
                "hostname": "h",
                "epochs": 2,
                "score": 4,
                "duration_seconds": 1,
                "state": "Succeeded",
                "error": "",
            }
        ],
    )
    write_table(
        tmp_path / "trials/trial-1/progress.csv",
        [{"training_iteration": 1, "score": 3}, {"training_iteration": 2, "score": 4}],
    )
    (tmp_path / "run.json").write_text(json.dumps(run_facts(specification={"trainable": {"function": "m:f"}})))
    page = page_of(tmp_path)
    assert page.sections == ["metrics", "reproducing"]
    assert "What the trainable reported in 2 iterations" in page.figure_titles


def test_a_folder_from_before_run_json_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    write_table(tmp_path / "progress.csv", [iteration(1), iteration(2)])
    (tmp_path / "summary.json").write_text(
        json.dumps({"algorithm": "DQN", "environment": "E", "seed": 3, "seconds": 9})
    )
    page = page_of(tmp_path)
    assert "DQN on E" in page.text
    assert page.sections == ["learning", "throughput", "reproducing"]


def test_a_verdict_of_another_version_is_told_without_its_numbers(tmp_path: Path) -> None:
    found = {"convergence/trend": "Converged", "overfitting/verdict": "No", "overfitting/best_x": 2.0}
    page = page_of(training_run(tmp_path, [iteration(1), iteration(2)], findings=found))
    assert "Overfitting No." in page.text


def test_pictures_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    folder = training_run(tmp_path, [iteration(1)])
    (folder / "report").mkdir()
    (folder / "report" / "old.png").write_bytes(b"")
    build(folder)
    assert pictures(folder) == set()


def test_the_function_that_programs_call_stays_what_it_is() -> None:
    # A package of the same name would take its place once imported.
    assert callable(trainyard.report)


def test_a_folder_without_tables_is_refused_naming_them(tmp_path: Path) -> None:
    with pytest.raises(NothingToReport, match=r"neither progress.csv nor trials.csv"):
        read(tmp_path)


class Sink:
    def __init__(self) -> None:
        self.conditions: list[tuple[str, ...]] = []

    def condition(self, *given: str) -> None:
        self.conditions.append(given)


def started(folder: Path) -> SimpleNamespace:
    printed: list[str] = []
    console = SimpleNamespace(print=lambda text, **options: printed.append(text))
    return SimpleNamespace(storage=at_directory(folder), progress=Sink(), console=console, printed=printed)


def test_a_report_that_fails_becomes_a_condition_and_a_line_on_the_terminal(tmp_path: Path) -> None:
    run = started(training_run(tmp_path, [iteration(1)]))
    (tmp_path / "run.json").write_text("{")
    report.after_run(run)
    ((kind, status, reason, message),) = run.progress.conditions
    assert (kind, status, reason) == ("ReportFailed", "True", "ReportError")
    assert message.startswith("the report could not be made: JSONDecodeError")
    assert run.printed == [message]


def test_the_end_of_a_run_names_the_page(tmp_path: Path) -> None:
    run = started(training_run(tmp_path, [iteration(1)]))
    report.after_run(run)
    assert run.printed == [f"report: {tmp_path / 'report.html'}"]
    assert run.progress.conditions == []


def test_a_run_that_failed_before_its_first_iteration_has_no_report(tmp_path: Path) -> None:
    run = started(tmp_path)
    report.after_run(run)
    assert run.printed == []
    assert not (tmp_path / "report.html").exists()
