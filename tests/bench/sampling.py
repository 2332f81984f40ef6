"""Env runners alone: steps per second of PPO's sampling on CartPole with one runner and with two, in turns.

Every round takes `--steps` of each runner and brings the episodes to the driver, which waits, as an iteration does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

from tests.bench.measure import Result, main, start_ray


def rllib(options: argparse.Namespace, *, envs: int) -> Result:
    from ray.rllib.algorithms.ppo import PPOConfig

    start_ray(2)
    config = PPOConfig().environment("CartPole-v1").debugging(seed=1)
    config.env_runners(num_env_runners=2, num_envs_per_env_runner=envs)
    return _rates(config.build_algo(), options)


def trainyard(options: argparse.Namespace, *, envs: int) -> Result:
    start_ray(2)
    from trainyard.spec.parsing import parse
    from trainyard.training.config import build_config
    from trainyard.training.trainer import Trainer

    specification = parse(
        {
            "seed": 1,
            "algorithm": {"name": "PPO"},
            "environment": {"name": "CartPole-v1"},
            "sampling": {"envRunners": 2, "envsPerRunner": envs},
            "stop": {"iterations": 1},
        }
    )
    return _rates(Trainer(build_config(specification)).algorithm, options)


def _rates(algorithm: Any, options: argparse.Namespace) -> Result:
    """Medians over the rounds; the first of each does not count."""
    one, two = [], []
    for _ in range(options.rounds + 1):
        one.append(_rate(algorithm, [1], options.steps))
        two.append(_rate(algorithm, [1, 2], options.steps))
    scaling = statistics.median(both / single for single, both in zip(one[1:], two[1:], strict=True))
    return {"1 runner": statistics.median(one[1:]), "2 runners": statistics.median(two[1:]), "2 / 1": scaling}


def _rate(algorithm: Any, runners: Sequence[int], steps: int) -> float:
    start = time.perf_counter()
    samples = algorithm.env_runner_group.foreach_env_runner(
        lambda runner: runner.sample(num_timesteps=steps), remote_worker_ids=list(runners), local_env_runner=False
    )
    sampled = sum(len(episode) for episodes in samples for episode in episodes)
    return sampled / (time.perf_counter() - start)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=4_000, help="of a runner, per round")


if __name__ == "__main__":
    main(
        "PPO's sampling on CartPole, steps/s",
        {
            "RLlib, 8 envs": lambda options: rllib(options, envs=8),
            "Trainyard, 8 envs": lambda options: trainyard(options, envs=8),
            "Trainyard, 32 envs": lambda options: trainyard(options, envs=32),
        },
        columns=("1 runner", "2 runners", "2 / 1"),
        baseline="RLlib, 8 envs",
        arguments=_arguments,
        ratio_of="2 runners",
    )
