"""What the training benchmarks share: variants in processes of their own, ratios, and a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Result = dict[str, Any]
Variant = Callable[[argparse.Namespace], Result]
MARK = "RESULT "
REPOSITORY = Path(__file__).resolve().parents[2]


def main(
    description: str,
    variants: dict[str, Variant],
    *,
    columns: Sequence[str],
    baseline: str,
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
    ratio_of: str = "seconds",
) -> None:
    """Runs the chosen variants, each in a new process, alternating over the repeats, and prints a table.

    A variant returns figures; `ratio_of` is divided by the baseline's (medians over the repeats).
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--variants", nargs="*", choices=list(variants), default=list(variants))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", choices=list(variants), help=argparse.SUPPRESS)
    arguments(parser)
    options = parser.parse_args()
    if options.only:
        print(MARK + json.dumps(variants[options.only](options)))
        return
    results: dict[str, list[Result]] = {name: [] for name in options.variants}
    for repeat in range(options.repeats):
        for name in options.variants:
            result = _in_a_new_process(name)
            results[name].append(result)
            print(f"{repeat + 1}/{options.repeats} {name}: {result}", file=sys.stderr, flush=True)
    print(f"\n`python -m {_module()} {' '.join(sys.argv[1:])}`".replace(" `", "`"))
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}, "
          f"{options.repeats} repeat(s), medians\n")  # fmt: skip
    print(table(results, columns, baseline if baseline in results else None, ratio_of))


def start_ray(cpus: int) -> None:
    """A Ray of its own with `cpus` logical CPUs, or the one that RAY_ADDRESS names."""
    import ray

    own = {} if "RAY_ADDRESS" in os.environ else {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    ray.init(log_to_driver=False, logging_level="ERROR", **own)


def _module() -> str:
    return "tests.bench." + Path(sys.argv[0]).stem


def _in_a_new_process(name: str) -> Result:
    command = [sys.executable, "-m", _module(), *sys.argv[1:], "--only", name]
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    process = subprocess.run(
        command, cwd=REPOSITORY, env={**environment, **os.environ}, stdout=subprocess.PIPE, text=True, check=False
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith(MARK)]
    if process.returncode or not lines:
        raise SystemExit(f"variant {name} ended with {process.returncode}:\n{process.stdout}")
    return json.loads(lines[-1].removeprefix(MARK))


def table(results: dict[str, list[Result]], columns: Sequence[str], baseline: str | None, ratio_of: str) -> str:
    """Markdown: one row per variant, medians; the last column is the ratio to the baseline."""
    rows = [["variant", *columns, *([f"{ratio_of} / {baseline}"] if baseline else [])]]
    reference = _median(results[baseline], ratio_of) if baseline else None
    for name, found in results.items():
        row = [name, *(_text(_median(found, column)) for column in columns)]
        if baseline:
            own = _median(found, ratio_of)
            row.append(f"{own / reference:.2f}" if own and reference else "-")
        rows.append(row)
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _median(results: list[Result], column: str) -> Any:
    values = [result[column] for result in results if result.get(column) is not None]
    if not values:
        return None
    return statistics.median(values) if isinstance(values[0], int | float) else values[0]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
