"""Ten Ray tasks spread over the pods of the cluster; run by the simple Ray job sample through `entrypoint`.

    python -m trainyard.examples.simple_ray_job [--tasks 10] [--seconds 1] [--hosts 1]

Prints the hostname that each task ran on, and fails when fewer than `--hosts` distinct ones took part.
"""

import argparse
import socket
import time

import ray

import trainyard


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def work(number: int, seconds: float) -> tuple[int, str]:
    time.sleep(seconds)
    return number, socket.gethostname()


def wait_for_nodes(count: int, timeout: float) -> int:
    """Wait until `count` nodes with CPUs have joined, at most `timeout` seconds; return how many have."""
    deadline = time.monotonic() + timeout
    while True:
        nodes = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) > 0)
        if nodes >= count or time.monotonic() > deadline:
            return nodes
        time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0, help="duration of one task")
    parser.add_argument("--hosts", type=int, default=1, help="distinct hostnames that must take part")
    parser.add_argument("--wait", type=float, default=120.0, help="seconds to wait for that many nodes")
    arguments = parser.parse_args()

    ray.init(address="auto")
    print(f"{wait_for_nodes(arguments.hosts, arguments.wait)} nodes with CPUs", flush=True)
    started = time.monotonic()
    pending = [work.remote(number, arguments.seconds) for number in range(1, arguments.tasks + 1)]
    tasks_by_host: dict[str, int] = {}
    while pending:
        (done,), pending = ray.wait(pending, num_returns=1)
        number, hostname = ray.get(done)
        tasks_by_host[hostname] = tasks_by_host.get(hostname, 0) + 1
        finished = arguments.tasks - len(pending)
        print(f"task {number:>2} on {hostname}  ({finished}/{arguments.tasks})", flush=True)
        trainyard.report(percent=100 * finished / arguments.tasks, iteration=finished, metrics={"tasks": finished})
    trainyard.report(metrics={"hosts": len(tasks_by_host), "seconds": time.monotonic() - started})

    for hostname, count in sorted(tasks_by_host.items()):
        print(f"{hostname}: {count} tasks")
    if len(tasks_by_host) < arguments.hosts:
        print(f"{len(tasks_by_host)} distinct hostnames, {arguments.hosts} expected")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
