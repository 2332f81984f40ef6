"""`make demo`: apply the CartPole sample on the development cluster, show it live, and say what is left at the end."""

import yaml
from kubernetes import client, config
from rich.console import Console

from dev.watching import NAMESPACE, SAMPLES, Run, apply, current_kubeconfig, follow, remove_previous

SAMPLE = SAMPLES / "cartpole-ppo.yaml"


def main() -> int:
    console = Console()
    kubeconfig = current_kubeconfig()
    config.load_kube_config(kubeconfig)
    name = yaml.safe_load(SAMPLE.read_text())["metadata"]["name"]
    custom = client.CustomObjectsApi()
    remove_previous(custom, name, console)
    apply(kubeconfig, SAMPLE, console)
    run = follow(custom, name, console)
    report(custom, run, console)
    console.print(
        f"\nLook around: [bold]kubectl --kubeconfig {kubeconfig} get trainingruns[/bold]; remove the cluster with "
        "[bold]make cluster-down[/bold].",
        soft_wrap=True,
    )
    return 0 if run["status"]["phase"] == "Succeeded" else 1


def report(custom: client.CustomObjectsApi, run: Run, console: Console) -> None:
    """What the run leaves: its result in the status and in a ConfigMap, metrics for Prometheus, and no RayCluster."""
    status, core = run["status"], client.CoreV1Api()
    console.rule(f"{run['metadata']['name']}: {status['phase']}")
    if failure := status.get("failure"):
        console.print(f"[red]{failure.get('reason')}: {failure.get('message')}[/red]\n{failure.get('logTail', '')}")
    for kind, checkpoint in status.get("checkpoint", {}).items():
        console.print(f"{kind} checkpoint: {checkpoint['uri']} (iteration {checkpoint['iteration']})", soft_wrap=True)
    if name := status.get("results", {}).get("configMap"):
        files = ", ".join(sorted(core.read_namespaced_config_map(name, NAMESPACE).data))
        console.print(f"results: ConfigMap {name} with {files}", soft_wrap=True)
    clusters = custom.list_namespaced_custom_object("ray.io", "v1", NAMESPACE, "rayclusters")["items"]
    console.print(f"RayClusters left: {len(clusters)}")
    metrics = core.connect_get_namespaced_service_proxy_with_path("trainyard:8080", "trainyard-system", "metrics")
    lines = [line for line in metrics.splitlines() if f'name="{run["metadata"]["name"]}"' in line]
    console.print(f"metrics of the run for Prometheus ({len(lines)} series; only those that are not 0):")
    for line in (line for line in lines if not line.endswith(" 0.0")):
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    raise SystemExit(main())
