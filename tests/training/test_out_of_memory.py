"""A process that Ray's own memory monitor ends, on a Ray of its own whose limit is below what is in use."""

import json
import os
import subprocess
import sys

PROGRAM = """
import json, time, ray
from trainyard.errors import described
from trainyard.launch.endings import execute
from trainyard.progress.channel import Progress, ProgressFile
from pathlib import Path
from rich.console import Console

ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False, address="local")

def use():
    kept = bytearray(200 * 2**20)
    time.sleep(60)

class Runner:
    use = lambda self: use()

waiting = {
    "task": ray.remote(max_retries=0)(use).remote(),
    "actor": ray.remote(Runner).options(name="runner").remote().use.remote(),
}
found = {}
for name, reference in waiting.items():
    try:
        ray.get(reference, timeout=120)
    except Exception as error:
        found[name], last = described(error), error

def body():
    raise last

execute(body, Progress(ProgressFile(Path("progress.jsonl"), "job")), Console())
print(json.dumps(found))
"""


def test_workers_and_the_run_say_how_much_was_used_and_what_to_raise(tmp_path):
    environment = os.environ | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_memory_usage_threshold": "0.005",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert sorted(found) == ["actor", "task"]
    for told in found.values():
        assert told.startswith("OOMKilled: Ray ended a process of the run because its node ran out of memory: ")
        assert "raise spec.cluster.head.memory" in told
        assert "GB were used on the node " in told
    failure = json.loads((tmp_path / "progress.jsonl").read_text().splitlines()[-1])["failure"]
    assert (failure["kind"], failure["reason"]) == ("Run", "OOMKilled")
    assert failure["message"] in "\n".join(found.values())
