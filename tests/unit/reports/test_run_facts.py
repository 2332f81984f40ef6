"""What a run writes down for its report."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.unit.reports.folders import iteration, write_table
from trainyard.callbacks import Evaluation
from trainyard.environments.registry import make
from trainyard.launch import workloads
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.reports import account_episodes
from trainyard.reports.build import build
from trainyard.reports.run_facts import ReportRecords
from trainyard.runs.checkpoints import Checkpoint
from trainyard.runs.job import Job
from trainyard.runs.run import Best, Identity, Outcome, Run
from trainyard.runs.stopping import Counters
from trainyard.runs.storage import at_directory
from trainyard.spec.parsing import parse
from trainyard.training import provenance

TRADING = {"asset": "AAPL", "start": "2018-01-01", "end": "2018-03-31"}
SPEC: dict[str, Any] = {
    "algorithm": {"name": "PPO"},
    "environment": {"name": "trading", "config": {"asset": "AAPL", "start": "2010-01-01", "end": "2017-12-31"}},
    "stop": {"iterations": 3},
    "evaluation": {"episodes": 1, "environmentConfig": TRADING},
    "test": {"episodes": 1, "environmentConfig": {"start": "2019-01-01", "end": "2019-02-28"}},
}


def play(name: str, config: dict[str, Any], action: Any) -> list[dict[str, Any]]:
    """Infos of the reset and of every step of an episode that repeats one action."""
    environment = make(name, config)
    _, info = environment.reset(seed=0)
    infos, done = [info], False
    while not done:
        _, _, terminated, truncated, info = environment.step(action)
        infos.append(info)
        done = terminated or truncated
    return infos


class TestTheRecordOfAnEpisode:
    def test_a_policy_that_is_always_long_is_buy_and_hold(self) -> None:
        # 2 is long; with neither slippage nor cost nothing else separates the two.
        config = TRADING | {"cost": 0.0, "slippage": 0.0}
        found = account_episodes.record("trading", config, play("trading", config, 2))
        assert found is not None
        np.testing.assert_allclose(found["value"], found["benchmarks"]["buy_and_hold"])
        assert found["figures"]["policy"]["sharpe"] == pytest.approx(found["figures"]["buy_and_hold"]["sharpe"])
        assert [trade["row"] for trade in found["trades"]] == [1]

    def test_a_benchmark_pays_the_costs_of_the_environment(self) -> None:
        found = account_episodes.record("trading", TRADING, play("trading", TRADING, 2))
        assert found is not None
        # Both buy once; the environment's own solution of the purchase and the benchmark's agree.
        np.testing.assert_allclose(found["value"], found["benchmarks"]["buy_and_hold"], rtol=1e-9)

    def test_equal_logits_without_cash_come_close_to_equal_weight(self) -> None:
        config = {"start": "2018-01-01", "end": "2018-02-28", "assets": ["AAPL", "XOM"], "cost": 0.0}
        # The softmax leaves e^-6 / (2 + e^-6) of the portfolio in cash.
        found = account_episodes.record("portfolio", config, play("portfolio", config, np.array([-1.0, 1.0, 1.0])))
        assert found is not None
        np.testing.assert_allclose(found["value"], found["benchmarks"]["equal_weight"], rtol=5e-4)
        assert set(found["benchmarks"]) == {"equal_weight", "buy_and_hold"}
        assert found["assets"] == ["AAPL", "XOM"]
        assert np.sum(found["weights"][-1]) == pytest.approx(1)

    def test_it_survives_json(self) -> None:
        found = account_episodes.record("trading", TRADING, play("trading", TRADING, 0))
        assert json.loads(json.dumps(found, allow_nan=False)) == found

    def test_an_account_of_an_unknown_environment_has_no_benchmarks(self) -> None:
        found = account_episodes.record("my.module:Env", {}, [{"portfolio_value": 1.0}, {"portfolio_value": 1.1}])
        assert found is not None
        assert found["benchmarks"] == {}
        assert found["figures"]["policy"]["total_return"] == pytest.approx(0.1)

    def test_an_episode_without_an_account_has_no_record(self) -> None:
        assert account_episodes.record("CartPole-v1", {}, [{}, {}]) is None


def a_run(folder: Path, **more: Any) -> Run:
    run = Run(Identity("made-up"), parse(SPEC), {"spec": SPEC}, at_directory(folder), **more)
    run.counters = Counters(iteration=3)
    return run


def evaluation(kind: Any, iteration: int, action: int) -> Evaluation:
    config = TRADING if kind == "validation" else SPEC["environment"]["config"] | SPEC["test"]["environmentConfig"]
    infos = play("trading", config, action)
    return Evaluation(kind, iteration, {}, [SimpleNamespace(get_infos=lambda: infos)])


def read(run: Run, name: str) -> dict[str, Any]:
    return json.loads((run.storage.local / name).read_text())


def failing(error: Exception) -> None:
    raise error


class TestTheCallback:
    def test_run_json_tells_where_the_numbers_come_from(self, tmp_path: Path) -> None:
        run, records = a_run(tmp_path), ReportRecords(failing)
        records.on_run_start(run)
        run.best = Best(0.5, 2)
        run.findings = {"convergence/trend": "TooShort"}
        records.on_run_end(run, Outcome("3 of 3 iterations", 12.3456))
        facts = read(run, "run.json")
        assert facts["specification"] == SPEC
        assert facts["selection"] == {"metric": "validation/return_mean", "mode": "max"}
        assert facts["best"] == {"value": 0.5, "iteration": 2}
        assert (facts["ended"], facts["seconds"], facts["iterations"]) == ("3 of 3 iterations", 12.346, 3)
        assert facts["findings"] == {"convergence/trend": "TooShort"}
        (data,) = facts["data"]
        assert len(data["sha256"]) == 64
        assert {"python", "ray", "torch", "gymnasium"} <= set(facts["versions"])

    def test_a_failed_run_keeps_its_error(self, tmp_path: Path) -> None:
        run, records = a_run(tmp_path), ReportRecords(failing)
        records.on_run_start(run)
        records.on_run_end(run, Outcome("ValueError", 1.0, ValueError("no")))
        assert read(run, "run.json")["error"] == "ValueError: no"

    def test_the_episode_of_the_best_checkpoint_stays(self, tmp_path: Path) -> None:
        run, records = a_run(tmp_path), ReportRecords(failing)
        records.on_run_start(run)
        for number, best in ((1, False), (2, True), (3, False)):
            records.on_evaluation(run, evaluation("validation", number, 2))
            if best:
                records.on_checkpoint(run, Checkpoint(number, "checkpoints/best", "", 0.0, best=True))
        records.on_evaluation(run, evaluation("test", 2, 0))
        assert read(run, "report/validation-episode.json")["iteration"] == 2
        test = read(run, "report/test-episode.json")
        assert (test["kind"], test["date"][0][:7], test["greedy"]) == ("test", "2019-01", True)

    def test_a_resumed_run_keeps_the_episodes_of_its_earlier_attempt_and_a_fresh_one_does_not(
        self, tmp_path: Path
    ) -> None:
        first = ReportRecords(failing)
        run = a_run(tmp_path)
        first.on_run_start(run)
        first.on_evaluation(run, evaluation("validation", 1, 2))
        ReportRecords(failing).on_run_start(a_run(tmp_path, restored_iteration=1))
        assert (tmp_path / "report/validation-episode.json").exists()
        ReportRecords(failing).on_run_start(a_run(tmp_path))
        assert not (tmp_path / "report/validation-episode.json").exists()

    def test_an_error_is_told_and_does_not_reach_the_run(self, tmp_path: Path) -> None:
        told: list[Exception] = []
        records = ReportRecords(told.append)
        broken = SimpleNamespace(get_infos=lambda: [{"portfolio_value": "?"}, {"portfolio_value": "?"}])
        records.on_evaluation(a_run(tmp_path), Evaluation("validation", 1, {}, [broken]))
        assert [type(error) for error in told] == [ValueError]


class TestProvenance:
    def test_a_folder_without_a_repository_has_the_revision_of_the_image(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv(provenance.REVISION_VARIABLE, raising=False)
        assert provenance.git_revision(tmp_path) is None
        monkeypatch.setenv(provenance.REVISION_VARIABLE, "4f2a")
        assert provenance.git_revision(tmp_path) == {"revision": "4f2a", "changed": False}
        monkeypatch.setenv(provenance.REVISION_VARIABLE, "4f2a+changed")
        assert provenance.git_revision(tmp_path) == {"revision": "4f2a", "changed": True}

    def test_hardware_and_versions_are_plain_data(self) -> None:
        json.dumps(provenance.hardware())
        assert provenance.versions()["python"].startswith("3.")

    def test_environments_without_price_data_have_no_checksums(self) -> None:
        spec = SPEC | {"environment": {"name": "CartPole-v1"}, "evaluation": {"episodes": 1}, "test": {"episodes": 1}}
        assert provenance.data_sets(parse(spec)) == []


class TestTheDataOfARun:
    @pytest.fixture
    def prices(self, tmp_path: Path) -> str:
        """Asset B halves on 2020-02-03, A never does."""
        days = [str(day) for day in np.arange("2020-01-01", "2020-12-31", dtype="datetime64[D]")]
        rows = "".join(f"{day},{100 + row % 7},{100 if day < '2020-02-03' else 50}\n" for row, day in enumerate(days))
        path = tmp_path / "prices.csv"
        path.write_text("Date,A,B\n" + rows)
        return str(path)

    @staticmethod
    def started(folder: Path, environment: dict[str, Any], **other: Any) -> Job:
        document = {"spec": {key: SPEC[key] for key in ("algorithm", "stop")} | {"environment": environment} | other}
        progress = Progress(ProgressFile(folder / "progress.jsonl", "job"), interval=0.0)
        console = Console(file=StringIO(), width=200)
        return Job(Identity("run"), parse(document["spec"]), document, at_directory(folder), progress, console)

    def test_the_log_says_how_a_file_was_understood(self, tmp_path: Path, prices: str) -> None:
        started = self.started(tmp_path, {"name": "trading", "config": {"data": prices, "asset": "A"}})
        workloads.tell_of_data(started)
        assert started.console.file.getvalue() == (
            f"prices: {prices}: 2 assets (A, B), 365 rows from 2020-01-01 to 2020-12-30, mostly 1 day apart, "
            "dates without a zone\n"
        )
        assert not started.progress.snapshot.get("conditions")

    @pytest.mark.parametrize(
        ("name", "config", "told"),
        [
            ("portfolio", {}, True),
            ("portfolio", {"assets": ["A"]}, False),
            ("trading", {"asset": "B"}, True),
            ("trading", {"asset": "B", "start": "2020-03-01"}, False),
        ],
    )
    def test_what_may_be_a_split_is_a_condition_where_the_run_would_learn_from_it(
        self, tmp_path: Path, prices: str, name: str, config: dict[str, Any], told: bool
    ) -> None:
        started = self.started(tmp_path, {"name": name, "config": {"data": prices} | config})
        workloads.tell_of_data(started)
        conditions = started.progress.snapshot.get("conditions", [])
        assert [(item["type"], item["status"]) for item in conditions] == ([("PricesJump", "True")] if told else [])
        assert ("B goes from 100 to 50 on 2020-02-03" in started.console.file.getvalue()) is told
        assert all("B goes from 100 to 50 on 2020-02-03" in item["message"] for item in conditions)

    def test_a_split_in_the_test_alone_is_told_too(self, tmp_path: Path, prices: str) -> None:
        config = {"data": prices, "asset": "B", "start": "2020-03-01"}
        section = {"test": {"environmentConfig": {"start": "2020-01-01"}}}
        started = self.started(tmp_path, {"name": "trading", "config": config}, **section)
        (found,) = provenance.data_sets(started.specification)
        assert found["jumps"] == ["B goes from 100 to 50 on 2020-02-03"]

    def test_run_json_and_the_report_have_both(self, tmp_path: Path, prices: str) -> None:
        started = self.started(tmp_path, {"name": "trading", "config": {"data": prices, "asset": "B"}})
        ReportRecords(pytest.fail).on_run_start(started.run())
        (data,) = json.loads((tmp_path / "run.json").read_text())["data"]
        assert "mostly 1 day apart" in data["reading"]
        write_table(tmp_path / "progress.csv", [iteration(number) for number in (1, 2, 3)])
        page = build(tmp_path).read_text()
        assert "mostly 1 day apart" in page
        assert "B goes from 100 to 50 on 2020-02-03" in page

    def test_a_search_whose_trials_may_name_other_data_goes_on(self, tmp_path: Path) -> None:
        search = {
            "search": {
                "metric": "train/return_mean",
                "mode": "max",
                "parameters": [{"path": "environment.config.data", "grid": ["a.csv"]}],
            }
        }
        environment = {"name": "trading", "config": {"data": "none.csv", "asset": "B"}}
        started = self.started(tmp_path, environment, **search)
        workloads.tell_of_data(started)
        assert "'none.csv' cannot be read" in started.console.file.getvalue()
