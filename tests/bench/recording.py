"""What recording every step costs an env runner: steps/s and CPU time with the recorder and without, alternating.

python -m tests.bench.recording [--steps 4000] [--repeats 20] [--url postgresql://...]

CPU time does not depend on how much of the machine others get, steps/s does; both depend on how busy its cores are,
hence many short turns. The recorder has a process of its own, beside the driver: its CPU time during the recorded turns
is in a column of its own.
"""

import argparse
import statistics
import tempfile
import time
from typing import Any

import ray
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from trainyard.episodes.records import RunRecord, Settings
from trainyard.recording.actor import start_recorder
from trainyard.recording.runner_side import RecordEpisodes, flush_runner
from trainyard.spec.parsing import parse
from trainyard.training.config import build_config
from trainyard.training.trainer import limit_threads

TRADING = {"asset": "KO", "start": "1990-01-01", "end": "2017-12-31", "episode_length": 252}
ENVIRONMENTS = {"CartPole-v1": {}, "trading": TRADING}
ENVS = 8
PER_SAMPLE = 2_000


def runner(environment: str, *, recorded: bool) -> SingleAgentEnvRunner:
    """An env runner in this process, as a PPO run has it: one torch thread, 8 environments."""
    specification = parse(
        {
            "seed": 1,
            "algorithm": {"name": "PPO"},
            "environment": {"name": environment, "config": ENVIRONMENTS[environment]},
            "sampling": {"envRunners": 0, "envsPerRunner": ENVS},
            "stop": {"iterations": 1},
        }
    )
    limit_threads(specification.learner.cpus)
    config = build_config(specification, [RecordEpisodes] if recorded else [])
    return config.env_runner_cls(config=config, worker_index=0)


def measure(env_runner: SingleAgentEnvRunner, steps: int) -> tuple[float, float]:
    """Steps per second of wall time, and microseconds of this process's CPU time per step."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps // PER_SAMPLE):
        env_runner.sample(num_timesteps=PER_SAMPLE)
    flush_runner(env_runner)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return steps / wall, 1e6 * cpu / steps


def cpu_of(recorder: Any) -> float:
    """Seconds of CPU time of the recorder's process, everything that it was given written."""
    ray.get(recorder.flush.remote())
    return float(ray.get(recorder.__ray_call__.remote(lambda _: time.process_time())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--url", help="a database; without it a SQLite file")
    arguments = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/recording.sqlite"
        fields = {"namespace": "default", "uid": "", "job_id": "", "hostname": "", "versions": {}, "specification": {}}
        record = RunRecord(f"bench-{time.time()}", "bench", seed=0, cluster_attempt=1, submission=1, **fields)
        recorder = start_recorder(url, record, Settings("All"))
        print(
            "| environment | steps/s without | steps/s with | change | CPU per step without | with | change "
            "| recorder's CPU per step |"
        )
        print("|---|---|---|---|---|---|---|---|")
        for environment in ENVIRONMENTS:
            runners = {recorded: runner(environment, recorded=recorded) for recorded in (False, True)}
            found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for env_runner in runners.values():
                measure(env_runner, PER_SAMPLE)
            written = []
            for _ in range(arguments.repeats):
                for recorded, env_runner in runners.items():
                    before = cpu_of(recorder)
                    found[recorded].append(measure(env_runner, arguments.steps))
                    if recorded:
                        written.append(1e6 * (cpu_of(recorder) - before) / arguments.steps)
            recorders = statistics.median(written)
            (rate, cpu), (rate_with, cpu_with) = (
                [statistics.median(column) for column in zip(*found[recorded], strict=True)]
                for recorded in (False, True)
            )
            print(
                f"| {environment} | {rate:,.0f} | {rate_with:,.0f} | {rate_with / rate - 1:+.1%} "
                f"| {cpu:.1f} us | {cpu_with:.1f} us | {cpu_with / cpu - 1:+.1%} | {recorders:.1f} us |",
                flush=True,
            )
    ray.shutdown()


if __name__ == "__main__":
    main()
