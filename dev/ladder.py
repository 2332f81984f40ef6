"""`make ladder`: from a simple Ray program to a portfolio over 50 epochs, each rung a sample, and one table at the end.

A rung is applied when the one before it has succeeded: what a rung needs, the lower ones have shown to work.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from rich.console import Console
from rich.table import Table

from dev.cluster.steps import duration
from dev.watching import SAMPLES, Run, apply, current_kubeconfig, follow, remove_previous


@dataclass(frozen=True)
class Rung:
    """A test of the ladder and its file below manifests/samples."""

    test: str
    file: str

    @property
    def path(self) -> Path:
        return SAMPLES / self.file


@dataclass(frozen=True)
class Climbed:
    """A run that has ended, and the seconds from its application to its end."""

    run: Run
    seconds: float


RUNGS = (
    Rung("simple Ray job", "simple-ray-job.yaml"),
    Rung("Tuner test", "tuner-test.yaml"),
    Rung("2 epochs", "portfolio-2-epochs.yaml"),
    Rung("10 epochs x 9 trials", "tune-grid.yaml"),
    Rung("50-epoch portfolio", "portfolio-50-epochs.yaml"),
)


def main() -> int:
    console = Console()
    kubeconfig = current_kubeconfig()
    config.load_kube_config(kubeconfig)
    climbed: list[Climbed] = []
    for rung in RUNGS:
        console.rule(rung.test)
        climbed.append(climb(rung, kubeconfig, console))
        if not succeeded(climbed[-1]):
            break
    console.print(table(RUNGS, climbed))
    return 0 if len(climbed) == len(RUNGS) and succeeded(climbed[-1]) else 1


def climb(rung: Rung, kubeconfig: str, console: Console) -> Climbed:
    custom = client.CustomObjectsApi()
    name = yaml.safe_load(rung.path.read_text())["metadata"]["name"]
    remove_previous(custom, name, console)
    started = time.monotonic()
    apply(kubeconfig, rung.path, console)
    run = follow(custom, name, console)
    return Climbed(run, time.monotonic() - started)


def succeeded(climbed: Climbed) -> bool:
    return climbed.run["status"]["phase"] == "Succeeded"


def table(rungs: Sequence[Rung], climbed: Sequence[Climbed]) -> Table:
    """A row for every rung; those above a failed one were not tried."""
    shown = Table(
        "test", "epochs", "trials", "parallel", "duration", "status", title="The ladder", title_justify="left"
    )
    for index, rung in enumerate(rungs):
        ended = climbed[index] if index < len(climbed) else None
        spec = ended.run["spec"] if ended else yaml.safe_load(rung.path.read_text())["spec"]
        shown.add_row(
            rung.test,
            epochs(spec),
            trials(ended.run if ended else {}),
            parallel(spec),
            duration(ended.seconds) if ended else "-",
            status(ended),
            style=None if ended is None else "green" if succeeded(ended) else "red",
        )
    return shown


def epochs(spec: dict[str, Any]) -> str:
    """Training iterations of an algorithm, or what a function is told in its configuration."""
    if "algorithm" in spec:
        return str(spec.get("stop", {}).get("iterations", "-"))
    return str(spec.get("trainable", {}).get("config", {}).get("epochs", "-"))


def trials(run: Run) -> str:
    """Trials that succeeded, of all; a training without a search is one."""
    if not run or "entrypoint" in run["spec"]:
        return "-"
    counts = run["status"].get("trials")
    if counts is None:
        return "1"
    return f"{counts.get('succeeded', 0)} of {counts['total']}"


def parallel(spec: dict[str, Any]) -> str:
    """What goes on at the same time: trials of a search, env runners of a training, CPUs of a program."""
    if "search" in spec:
        return counted(spec["search"].get("maxConcurrentTrials", 1), "trial")
    if "algorithm" in spec:
        return counted(spec.get("sampling", {}).get("envRunners", 1), "env runner")
    return counted(spec.get("resources", {}).get("cpus", 1), "CPU")


def counted(number: int | str, what: str) -> str:
    return f"{number} {what}" if str(number) == "1" else f"{number} {what}s"


def status(climbed: Climbed | None) -> str:
    if climbed is None:
        return "not tried"
    state = climbed.run["status"]
    reason = state.get("failure", {}).get("reason")
    return f"{state['phase']}: {reason}" if reason else str(state["phase"])


if __name__ == "__main__":
    raise SystemExit(main())
