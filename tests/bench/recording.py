"""What recording every step costs an env runner: steps/s and CPU time with the recorder and without, alternating.

python -m tests.bench.recording [--steps 20000] [--repeats 5] [--url postgresql://...]

CPU time of the runner's process does not depend on what else the machine does; steps/s does.
"""

import argparse
import statistics
import tempfile
import time

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import register_env

from trainyard import environments
from trainyard.recording.actor import start_recorder
from trainyard.recording.records import RunRecord, Settings
from trainyard.recording.runner import RecordEpisodes, flush_runner

TRADING = {"asset": "KO", "start": "1990-01-01", "end": "2017-12-31", "episode_length": 252}
ENVIRONMENTS = {"CartPole-v1": {}, "trading": TRADING}
ENVS = 8
PER_SAMPLE = 2_000


def runner(environment: str, *, recorded: bool) -> SingleAgentEnvRunner:
    """An env runner in this process, with 8 environments, as PPO's presets use them."""
    mode = "vector_entry_point"
    config = PPOConfig().environment(environment, env_config=ENVIRONMENTS[environment])
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=ENVS, gym_env_vectorize_mode=mode)
    config.callbacks([RecordEpisodes] if recorded else [])
    return SingleAgentEnvRunner(config=config, worker_index=0)


def measure(env_runner: SingleAgentEnvRunner, steps: int) -> tuple[float, float]:
    """Steps per second of wall time, and microseconds of this process's CPU time per step."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps // PER_SAMPLE):
        env_runner.sample(num_timesteps=PER_SAMPLE)
    flush_runner(env_runner)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return steps / wall, 1e6 * cpu / steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--url", help="a database; without it a SQLite file")
    arguments = parser.parse_args()
    register_env("trading", environments.creator("trading"))
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        url = arguments.url or f"sqlite:///{folder}/recording.sqlite"
        fields = {"namespace": "default", "uid": "", "job_id": "", "hostname": "", "versions": {}, "specification": {}}
        record = RunRecord(f"bench-{time.time()}", "bench", seed=0, cluster_attempt=1, submission=1, **fields)
        start_recorder(url, record, Settings("All"))
        print("| environment | steps/s without | steps/s with | change | CPU per step without | with | change |")
        print("|---|---|---|---|---|---|---|")
        for environment in ENVIRONMENTS:
            runners = {recorded: runner(environment, recorded=recorded) for recorded in (False, True)}
            found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
            for env_runner in runners.values():
                measure(env_runner, PER_SAMPLE)
            for _ in range(arguments.repeats):
                for recorded, env_runner in runners.items():
                    found[recorded].append(measure(env_runner, arguments.steps))
            (rate, cpu), (rate_with, cpu_with) = (
                [statistics.median(column) for column in zip(*found[recorded], strict=True)]
                for recorded in (False, True)
            )
            print(
                f"| {environment} | {rate:,.0f} | {rate_with:,.0f} | {rate_with / rate - 1:+.1%} "
                f"| {cpu:.1f} us | {cpu_with:.1f} us | {cpu_with / cpu - 1:+.1%} |"
            )
    ray.shutdown()


if __name__ == "__main__":
    main()
