"""`make demo`: apply the CartPole sample on the development cluster, show it live, and say what is left at the end."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kubernetes import client, config
from rich.console import Console
from rich.live import Live
from rich.table import Table

Run = dict[str, Any]
ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "manifests" / "samples" / "cartpole-ppo.yaml"
NAMESPACE = "default"
API = ("trainyard.dev", "v1alpha1", NAMESPACE, "trainingruns")
TERMINAL = {"Succeeded", "Failed"}


def main() -> int:
    console = Console()
    kubeconfig = current_kubeconfig()
    config.load_kube_config(kubeconfig)
    name = yaml.safe_load(SAMPLE.read_text())["metadata"]["name"]
    custom = client.CustomObjectsApi()
    remove_previous(custom, name, console)
    shown = f"kubectl --kubeconfig {kubeconfig}"
    console.print(f"[bold]$ {shown} apply -f {SAMPLE.relative_to(ROOT)}[/bold]")
    subprocess.run(["kubectl", "--kubeconfig", kubeconfig, "apply", "-f", str(SAMPLE)], check=True)
    run = follow(custom, name, console)
    report(custom, run, console)
    console.print(
        f"\nLook around: [bold]{shown} get trainingruns[/bold]; remove the cluster with [bold]make cluster-down[/bold]."
    )
    return 0 if run["status"]["phase"] == "Succeeded" else 1


def current_kubeconfig() -> str:
    """The kubeconfig of the cluster that `make cluster` found or made."""
    command = [sys.executable, "-m", "dev.cluster", "kubeconfig"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return out.strip().splitlines()[-1]


def remove_previous(custom: client.CustomObjectsApi, name: str, console: Console) -> None:
    """A finished run of an earlier demo has the same name, and a started run's spec cannot change: delete it first."""
    runs = custom.list_namespaced_custom_object(*API, field_selector=f"metadata.name={name}")["items"]
    if not runs:
        return
    console.print(f"removing the run {name} of an earlier demo")
    custom.delete_namespaced_custom_object(*API, name)
    while custom.list_namespaced_custom_object(*API, field_selector=f"metadata.name={name}")["items"]:
        time.sleep(0.3)


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
        f"{elapsed:.0f} s",
    )
    return table


def summary_line(run: Run) -> str:
    status = run.get("status", {})
    progress = status.get("progress", {})
    shown = [f"{key} {progress[key]:g}" for key in ("iteration", "envSteps", "episodeReturnMean") if key in progress]
    return ", ".join([status.get("phase", "Pending"), *shown])


def report(custom: client.CustomObjectsApi, run: Run, console: Console) -> None:
    """What the run leaves: its result in the status and in a ConfigMap, metrics for Prometheus, and no RayCluster."""
    status, core = run["status"], client.CoreV1Api()
    console.rule(f"{run['metadata']['name']}: {status['phase']}")
    if failure := status.get("failure"):
        console.print(f"[red]{failure.get('reason')}: {failure.get('message')}[/red]\n{failure.get('logTail', '')}")
    for kind, checkpoint in status.get("checkpoint", {}).items():
        console.print(f"{kind} checkpoint: {checkpoint['uri']} (iteration {checkpoint['iteration']})")
    if name := status.get("results", {}).get("configMap"):
        console.print(
            f"results: ConfigMap {name} with {', '.join(sorted(core.read_namespaced_config_map(name, NAMESPACE).data))}"
        )
    clusters = custom.list_namespaced_custom_object("ray.io", "v1", NAMESPACE, "rayclusters")["items"]
    console.print(f"RayClusters left: {len(clusters)}")
    metrics = core.connect_get_namespaced_service_proxy_with_path("trainyard:8080", "trainyard-system", "metrics")
    lines = [line for line in metrics.splitlines() if f'name="{run["metadata"]["name"]}"' in line]
    console.print(f"what Prometheus scrapes about it ({len(lines)} series), among them:")
    for line in lines[:8]:
        console.print(f"  {line}", highlight=False, markup=False)


if __name__ == "__main__":
    raise SystemExit(main())
