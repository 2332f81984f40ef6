"""Made-up run folders, written as a run writes them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SPEC = {
    "algorithm": {"name": "PPO", "config": {"lr": 0.0003}},
    "environment": {"name": "CartPole-v1"},
    "stop": {"iterations": 10},
}
SEARCH_SPEC = {
    "trainable": {"function": "module:train"},
    "search": {
        "parameters": [
            {"path": "trainable.config.lr", "grid": [0.001, 0.01]},
            {"path": "trainable.config.layers", "grid": ["small", "large"]},
        ],
        "metric": "reward",
        "mode": "max",
    },
}


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


def iteration(number: int, **more: float) -> dict[str, float]:
    """A row of progress.csv: 1,000 steps in 2 s per iteration, the return 10 per iteration."""
    return {
        "time/iteration": number,
        "time/env_steps": 1000 * number,
        "time/seconds": 2.0 * number,
        "train/episodes": 20 * number,
        "train/return_mean": 10.0 * number,
        "train/return_min": 5.0 * number,
        "train/return_max": 15.0 * number,
        "train/loss": 1 / number,
        "perf/env_steps_per_s": 500.0,
    } | {name.replace("__", "/"): value for name, value in more.items()}


def run_facts(**more: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 1,
        "name": "made-up",
        "attempt": 1,
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "seconds": 60.0,
        "iterations": 10,
        "ended": "10 of 10 iterations",
        "seed": 7,
        "versions": {"python": "3.11.0", "ray": "2.60.0"},
        "git": {"revision": "0123abc", "changed": True},
        "data": [],
        "hardware": {
            "host": "machine", "system": "Linux", "processor": "A processor", "logicalCpus": 2, "memoryGiB": 24.0
        },
        "specification": SPEC,
        "selection": {"metric": "train/return_mean", "mode": "max"},
        "findings": {},
    } | more  # fmt: skip


def training_run(path: Path, rows: Sequence[Mapping[str, Any]], **facts: Any) -> Path:
    """The folder of an algorithm run."""
    write_table(path / "progress.csv", rows)
    (path / "run.json").write_text(json.dumps(run_facts(**facts)))
    return path


def search_run(path: Path, *, failed: Sequence[int] = ()) -> Path:
    """Four trials, lr x layers, three results each; the reward is 1000 * lr per result, and 1 more for large layers."""
    rows = []
    for number, (lr, layers) in enumerate(
        [(0.001, "small"), (0.001, "large"), (0.01, "small"), (0.01, "large")], start=1
    ):
        history = [{"training_iteration": step, "reward": 1000 * lr * step + (layers == "large")} for step in (1, 2, 3)]
        works = number not in failed
        if works:
            write_table(path / "trials" / f"trial-{number}" / "progress.csv", history)
        rows.append(
            {"trial": number, "lr": lr, "layers": layers, "hostname": "host", "epochs": 3 * works}
            | {"reward": history[-1]["reward"] if works else "", "duration_seconds": "1.500"}
            | {"state": "Succeeded" if works else "Failed", "error": "" if works else "ValueError: no\nmore"}
        )
    write_table(path / "trials.csv", rows)
    facts = {key: value for key, value in run_facts().items() if key not in ("ended", "selection", "findings")}
    (path / "run.json").write_text(json.dumps(facts | {"specification": SEARCH_SPEC}))
    best = next((row for row in reversed(rows) if row["state"] == "Succeeded"), None)
    if best is not None:
        summary = {"bestTrial": str(best["trial"]), "bestMetric": "reward", "bestValue": best["reward"]}
        (path / "summary.json").write_text(json.dumps(summary))
    return path


def account(kind: str = "test", *, growth: float = 0.001, benchmark: float = 0.002) -> dict[str, Any]:
    """The record of 20 days that grow by a constant share, as its benchmark does."""
    days = [f"2020-01-{day:02d}" for day in range(1, 22)]
    value = [100.0 * (1 + growth) ** day for day in range(21)]
    other = [100.0 * (1 + benchmark) ** day for day in range(21)]
    return {
        "kind": kind, "iteration": 3, "greedy": True, "date": days, "value": value, "price": value,
        "position": [0.0] + [1.0] * 10 + [-1.0] * 10, "turnover": [0.0] * 21, "assets": ["AAPL"],
        "trades": [
            {"row": 1, "symbol": "AAPL", "quantity": 1.0, "price": 100.0},
            {"row": 11, "symbol": "AAPL", "quantity": -2.0, "price": 101.0},
        ],
        "benchmarks": {"buy_and_hold": other},
        "figures": {
            "policy": {"total_return": value[-1] / 100 - 1, "sharpe": 1.5, "max_drawdown": 0.0},
            "buy_and_hold": {"total_return": other[-1] / 100 - 1, "sharpe": 1.0, "max_drawdown": 0.0},
        },
    }  # fmt: skip


NAN = math.nan
