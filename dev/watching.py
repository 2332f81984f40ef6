"""Applying a TrainingRun on the development cluster and watching it to its end; for the demo and the ladder."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kubernetes import client
from rich.console import Console
from rich.live import Live
from rich.table import Table

Run = dict[str, Any]
ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "manifests" / "samples"
NAMESPACE = "default"
API = ("trainyard.dev", "v1alpha1", NAMESPACE, "trainingruns")
TERMINAL = {"Succeeded", "Failed"}


def current_kubeconfig() -> str:
    """The kubeconfig of the cluster that `make cluster` found or made."""
    command = [sys.executable, "-m", "dev.cluster", "kubeconfig"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return out.strip().splitlines()[-1]


def remove_previous(custom: client.CustomObjectsApi, name: str, console: Console) -> None:
    """A finished run may have the same name from an earlier time, and a started run's spec cannot change: delete it."""
    runs = custom.list_namespaced_custom_object(*API, field_selector=f"metadata.name={name}")["items"]
    if not runs:
        return
    console.print(f"removing the earlier run {name}")
    custom.delete_namespaced_custom_object(*API, name)
    while custom.list_namespaced_custom_object(*API, field_selector=f"metadata.name={name}")["items"]:
        time.sleep(0.3)


def apply(kubeconfig: str, sample: Path, console: Console) -> None:
    """Apply a file as a user does, showing the command."""
    console.print(
        f"[bold]$ kubectl --kubeconfig {kubeconfig} apply -f {sample.relative_to(ROOT)}[/bold]", soft_wrap=True
    )
    subprocess.run(["kubectl", "--kubeconfig", kubeconfig, "apply", "-f", str(sample)], check=True)


def polled(custom: client.CustomObjectsApi, name: str) -> Iterator[Run]:
    while True:
        run = custom.get_namespaced_custom_object(*API, name)
        yield run
        if run.get("status", {}).get("phase") in TERMINAL:
            return
        time.sleep(0.5)


def follow(custom: client.CustomObjectsApi, name: str, console: Console) -> Run:
    """Show the run until it ends; without a terminal, one line for every change."""
    started, last, run = time.monotonic(), None, {}
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        for run in polled(custom, name):
            if console.is_terminal:
                live.update(view(run, time.monotonic() - started))
                continue
            state = summary_line(run)
            if state != last:
                console.print(f"[{time.monotonic() - started:6.1f} s] {state}")
                last = state
    return run


def view(run: Run, elapsed: float) -> Table:
    status = run.get("status", {})
    progress = status.get("progress", {})
    table = Table(
        "phase",
        "progress",
        "iteration",
        "env steps",
        "steps/s",
        "episode return",
        "trials",
        "elapsed",
        title=run["metadata"]["name"],
    )
    table.add_row(
        status.get("phase", "Pending"),
        f"{progress.get('percent', 0):.0f} %",
        str(progress.get("iteration", "")),
        str(progress.get("envSteps", "")),
        f"{progress['envStepsPerSecond']:.0f}" if "envStepsPerSecond" in progress else "",
        f"{progress['episodeReturnMean']:.1f}" if "episodeReturnMean" in progress else "",
        ended_trials(run),
        f"{elapsed:.0f} s",
    )
    return table


def summary_line(run: Run) -> str:
    status = run.get("status", {})
    progress = status.get("progress", {})
    named = ("iteration", "lostIterations", "envSteps", "episodeReturnMean")
    shown = [f"{key} {progress[key]:g}" for key in named if key in progress]
    trials = [f"trials {ended_trials(run)}"] if "trials" in status else []
    return ", ".join([status.get("phase", "Pending"), *shown, *trials])


def ended_trials(run: Run) -> str:
    """How many of a search's trials have ended; nothing for a run without a search."""
    trials = run.get("status", {}).get("trials")
    return f"{trials.get('succeeded', 0) + trials.get('failed', 0)}/{trials['total']}" if trials else ""
