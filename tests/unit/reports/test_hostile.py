"""No series that an environment or a learner makes up ends a report, a figure or a verdict."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.unit.reports.folders import NAN, account, iteration, run_facts, search_run, training_run, write_table
from trainyard.analysis import as_numbers, convergence, generalisation, overfitting
from trainyard.environments.market.performance import of_account, of_infos
from trainyard.reports.build import build

LARGEST = 1.7e308
POINTS = 12
SERIES = {
    "empty": [],
    "one point": [3.0],
    "two points": [3.0, 5.0],
    "constant": [3.0] * POINTS,
    "zero": [0.0] * POINTS,
    "NaN": [NAN] * POINTS,
    "infinite": [math.inf, -math.inf] * (POINTS // 2),
    "mostly NaN": [NAN] * (POINTS - 2) + [1.0, NAN],
    "infinite among numbers": [1.0, 2.0, math.inf, 3.0] * (POINTS // 4),
    "largest": [LARGEST] * POINTS,
    "from one end to the other": [-LARGEST, LARGEST] * (POINTS // 2),
    "smallest": [5e-324, 0.0] * (POINTS // 2),
    "growing beyond bounds": [10.0 ** (25 * power) for power in range(POINTS)],
    "from tiny to huge": [1e-300] * (POINTS - 1) + [1e300],
    "negative": [-float(number) for number in range(POINTS)],
    "a last bit apart": [1.0, 1.0 + 2**-52] * (POINTS // 2),
}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def hostile(test):
    return pytest.mark.parametrize("values", SERIES.values(), ids=SERIES.keys())(test)


def is_json_without_nan(found) -> bool:
    return json.loads(json.dumps(found, allow_nan=False)) == found


@hostile
@pytest.mark.parametrize("mode", ["max", "min"])
def test_verdicts_are_words_and_finite_numbers(values, mode):
    curve, rising = list(enumerate(values)), [(float(x), float(x)) for x in range(POINTS)]
    assert is_json_without_nan(as_numbers("convergence", convergence(curve, mode)))
    assert is_json_without_nan(as_numbers("overfitting", overfitting(rising, curve, mode)))
    assert is_json_without_nan(as_numbers("overfitting", overfitting(curve, rising, mode)))
    assert is_json_without_nan(as_numbers("generalisation", generalisation(values, range(POINTS), mode)))
    assert is_json_without_nan(as_numbers("generalisation", generalisation(range(POINTS), values, mode)))


@pytest.mark.parametrize("y", [None, "text", 10**400, True])
def test_points_that_are_no_numbers_are_left_out_of_a_verdict(y):
    line = [(x, 2.0 * x) for x in range(POINTS)]
    assert convergence([*line, (20, y)]) == convergence(line)


@pytest.mark.parametrize("x", [0.0, 1e308, 1e-320])
def test_points_all_at_one_place_have_no_trend(x):
    assert convergence([(x, float(y)) for y in range(POINTS)]).slope == 0


@hostile
@pytest.mark.parametrize("periods", [252, 525_600, 1e300, 1e-300, 0, -1, NAN, "daily", None])
def test_an_account_has_finite_figures_or_none(values, periods):
    assert all(math.isfinite(value) for value in of_account(values, values[1:], periods).values()) or len(values) < 2
    infos = [{"portfolio_value": value, "turnover": value, "periods_per_year": periods} for value in values]
    assert all(math.isfinite(value) for value in of_infos(infos).values())


def test_infos_of_which_only_some_tell_of_the_account_have_no_figures():
    assert of_infos([{}, {"portfolio_value": 1.0}, {"portfolio_value": 2.0}]) == {}


@hostile
def test_the_report_of_a_training_run_is_made(tmp_path: Path, values):
    padded = [*values, *[NAN] * (POINTS - len(values))][:POINTS]
    columns = [
        "train/return_mean", "train/return_min", "train/return_max", "train/loss", "perf/env_steps_per_s",
        "validation/return_mean", "validation/return_min", "validation/return_max", "validation/sharpe",
        "validation/total_return", "test/return_mean", "train/policy_lag",
    ]  # fmt: skip
    rows = [iteration(number) | dict.fromkeys(columns, value) for number, value in enumerate(padded, start=1)]
    facts = {"selection": {"metric": "validation/return_mean", "mode": "max"}}
    finite = [value for value in values if math.isfinite(value)]
    if finite:
        facts["best"] = {"value": finite[-1], "iteration": 1}
    found = as_numbers("convergence", convergence(list(enumerate(values))))
    found |= as_numbers("overfitting", overfitting(list(enumerate(values)), list(enumerate(values))))
    folder = training_run(tmp_path, rows, findings=found, **facts)
    assert build(folder).read_text().count("<section") >= 2


@hostile
def test_the_time_and_the_steps_of_a_training_run_may_be_anything(tmp_path: Path, values):
    padded = [*values, *[NAN] * (POINTS - len(values))][:POINTS]
    places = ["time/env_steps", "time/seconds", "train/episodes"]
    rows = [iteration(number) | dict.fromkeys(places, value) for number, value in enumerate(padded, start=1)]
    assert "<section" in build(training_run(tmp_path, rows)).read_text()


@hostile
def test_the_report_of_a_search_is_made(tmp_path: Path, values):
    folder = search_run(tmp_path)
    padded = [*values, NAN, NAN, NAN, NAN][:4]
    table = [
        {"trial": number, "lr": lr, "layers": layers, "hostname": "host", "epochs": 3, "reward": value}
        | {"duration_seconds": value, "state": "Succeeded", "error": ""}
        for number, (lr, layers, value) in enumerate(zip(padded, "abab", padded, strict=True), start=1)
    ]
    write_table(folder / "trials.csv", table)
    for number in range(1, 5):
        history = [{"training_iteration": step, "reward": value} for step, value in enumerate(values or [NAN])]
        write_table(folder / "trials" / f"trial-{number}" / "progress.csv", history)
    assert "<section" in build(folder).read_text()


@hostile
def test_the_report_of_a_trainable_is_made(tmp_path: Path, values):
    last = values[-1] if values else NAN
    row = {"trial": 1, "hostname": "host", "epochs": 3, "reward": last, "duration_seconds": last, "state": "Succeeded"}
    write_table(tmp_path / "trials.csv", [row | {"error": ""}])
    history = [{"training_iteration": step, "reward": value} for step, value in enumerate(values or [NAN])]
    write_table(tmp_path / "trials" / "trial-1" / "progress.csv", history)
    (tmp_path / "run.json").write_text(json.dumps(run_facts(specification={"trainable": {"function": "a:b"}})))
    assert "<section" in build(tmp_path).read_text()


@pytest.mark.parametrize("values", [v for v in SERIES.values() if len(v) > 1 and np.isfinite(v).all()], ids=str)
def test_the_report_of_an_account_is_made_with_dates_and_without(tmp_path: Path, values):
    folder = training_run(tmp_path, [{"time/iteration": 1}])
    (folder / "report").mkdir()
    for kind in ("test", "validation"):
        record = account(kind)
        rows = len(values)
        for key in ("date", "price", "position", "turnover"):
            record[key] = record[key][:rows]
        record |= {"value": values, "price": values, "benchmarks": {"buy_and_hold": values}, "trades": []}
        record |= {"assets": ["A", "B"], "weights": [[value, value, value] for value in values]}
        record["figures"] = {name: of_account(values, None, 525_600) for name in record["figures"]}
        if kind == "validation":
            del record["date"]
        (folder / "report" / f"{kind}-episode.json").write_text(json.dumps(record))
    page = build(folder).read_text()
    assert 'id="account-test"' in page
    assert 'id="account-validation"' in page
