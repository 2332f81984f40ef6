"""The nine-trial grid of manifests/samples/tune-grid.yaml, three at a time: plain Tune and Trainyard.

Every trial is ten epochs of 0.1 s, so nothing can be faster than 3.0 s. `seconds` is from fit() to the results (all
trials, the best of them, table and summary on disk), on a Ray that already runs and that the driver has joined as it
does in a cluster, processes for the trials ordered; `with report` adds Trainyard's report and its pictures, which plain
Tune has none of; `first trial` is when its function was called; `since process start` is the whole time that the
driver needed for the results, starting a Ray and all imports included.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from tests.bench.measure import REPOSITORY, Result, main, start_ray

STARTED = time.time()
LEARNING_RATES, TRIALS = [0.001, 0.005, 0.01], [1, 2, 3]


def plain_tune(options: argparse.Namespace) -> Result:
    start_ray(3)
    from ray import tune

    from trainyard.examples.tune_grid import train

    began = Path(tempfile.mkdtemp()) / "began"

    def timed(config):
        with began.open("a") as file:
            file.write(f"{time.time()}\n")
        yield from train(config)

    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            timed,
            param_space={"lr": tune.grid_search(LEARNING_RATES), "trial_id": tune.grid_search(TRIALS)},
            tune_config=tune.TuneConfig(metric="reward", mode="max", max_concurrent_trials=3),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        start, clock = time.perf_counter(), time.time()
        results = tuner.fit()
        best = results.get_best_result()
        seconds = time.perf_counter() - start
    first = min(float(line) for line in began.read_text().splitlines()) - clock
    return {"seconds": seconds, "first trial": first, "since process start": clock + seconds - STARTED,
            "best": best.metrics["reward"], "trials": len(results)}  # fmt: skip


def trainyard(options: argparse.Namespace) -> Result:
    import yaml
    from rich.console import Console

    from trainyard.launch.connection import connect
    from trainyard.progress.channel import Progress, ProgressFile
    from trainyard.runs import storage
    from trainyard.runs.job import Job
    from trainyard.runs.run import Identity
    from trainyard.spec.parsing import parse

    document = yaml.safe_load((REPOSITORY / "manifests/samples/tune-grid.yaml").read_text())
    document["spec"].pop("storage", None)
    with tempfile.TemporaryDirectory() as folder:
        progress = ProgressFile(Path(folder) / "progress.jsonl", "bench")
        started = Job(
            Identity("grid"), parse(document["spec"]), document, storage.at_directory(Path(folder) / "run"),
            Progress(progress, interval=0.0), Console(quiet=True),
        )  # fmt: skip
        connect(lambda ray: start_ray(3), started)
        from trainyard.launch import workloads  # noqa: F401 - as the driver does, which imports them now
        from trainyard.search import driver

        start, clock = time.perf_counter(), time.time()
        summary = driver.run(started)
        whole = time.perf_counter() - start
        seconds = (Path(folder) / "run/summary.json").stat().st_mtime - clock
        lines = [json.loads(line) for line in progress.path.read_text().splitlines()]
    first = next(line["time"] for line in lines if line["trials"]["running"]) - clock
    return {"seconds": seconds, "with report": whole, "first trial": first,
            "since process start": clock + seconds - STARTED,
            "best": summary["bestValue"], "trials": summary["trials"]}  # fmt: skip


if __name__ == "__main__":
    main(
        "Nine trials of ten epochs, three at a time",
        {"plain Tune": plain_tune, "Trainyard": trainyard},
        columns=("seconds", "with report", "first trial", "since process start", "best", "trials"),
        baseline="plain Tune",
    )
