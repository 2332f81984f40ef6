"""Parallel against sequential training on the trading sample: validation Sharpe over seeds, and steps per second.

The sample's own environment, evaluation and PPO (manifests/samples/trading-ppo.yaml) without early stopping, through
the driver's loop, and the same with DQN and prioritised replay, one update for every eight steps. Sequential is one
runner with one environment (for DQN also without a process of its own), parallel two with eight each. `Sharpe` is the
best validation's, its mean and standard deviation over the seeds, which are 0, 1, ... (`by seed`, on standard error,
has steps/s and Sharpe of each); steps/s (medians) are of the iterations without their evaluations.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.bench.measure import REPOSITORY, Result, main, start_ray
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.metrics import VALIDATION
from trainyard.runs.run import Identity, Run
from trainyard.runs.storage import at_directory
from trainyard.spec.parsing import parse
from trainyard.training.loop import train
from trainyard.training.trainer import limit_threads

SEQUENTIAL = {"envRunners": 1, "envsPerRunner": 1}
IN_THE_DRIVER = {"envRunners": 0, "envsPerRunner": 1}
PARALLEL = {"envRunners": 2, "envsPerRunner": 8}
PRIORITISED_DQN = {
    "name": "DQN",
    "config": {
        "lr": 0.0005, "gamma": 0.99, "train_batch_size_per_learner": 64, "training_intensity": 8,
        "num_steps_sampled_before_learning_starts": 1000, "target_network_update_freq": 1000,
        "replay_buffer_config": {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 50_000},
    },
}  # fmt: skip


class Watch(Callback):
    """Seconds of the iterations, and the Sharpe ratio of every validation."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.sharpe: list[float] = []

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        self.seconds += iteration.seconds

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        self.sharpe.append(evaluation.metrics[f"{VALIDATION}sharpe"])


def over_seeds(options: argparse.Namespace, sampling: dict[str, int], dqn: dict[str, Any] | None = None) -> Result:
    start_ray(3)
    limit_threads(1)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    found = [trained(specification(seed, options.steps, sampling, dqn)) for seed in seeds]
    rates, sharpe = zip(*found, strict=True)
    return {
        "steps/s": statistics.median(rates),
        "Sharpe": statistics.fmean(sharpe),
        "spread": statistics.stdev(sharpe) if len(sharpe) > 1 else None,
        "by seed": found,
    }


def specification(seed: int, steps: int, sampling: dict[str, int], dqn: dict[str, Any] | None) -> dict[str, Any]:
    sample = yaml.safe_load((REPOSITORY / "manifests" / "samples" / "trading-ppo.yaml").read_text())["spec"]
    every = 4 if dqn else 1
    return {
        "seed": seed,
        "algorithm": dqn or sample["algorithm"],
        "environment": sample["environment"],
        "evaluation": sample["evaluation"] | {"everyIterations": every},
        "sampling": sampling,
        "stop": {"envSteps": steps},
    }


def trained(spec: dict[str, Any]) -> tuple[float, float]:
    """Environment steps per second, and the Sharpe ratio of the best validation."""
    with tempfile.TemporaryDirectory() as folder:
        run, watch = Run(Identity("bench"), parse(spec), {"spec": spec}, at_directory(Path(folder))), Watch()
        train(run, [watch])
    return run.counters.env_steps / watch.seconds, max(watch.sharpe)


VARIANTS = {
    "PPO, sequential": lambda options: over_seeds(options, SEQUENTIAL),
    "PPO, parallel": lambda options: over_seeds(options, PARALLEL),
    "DQN, prioritised, sequential": lambda options: over_seeds(options, SEQUENTIAL, PRIORITISED_DQN),
    "DQN, prioritised, in the driver": lambda options: over_seeds(options, IN_THE_DRIVER, PRIORITISED_DQN),
    "DQN, prioritised, parallel": lambda options: over_seeds(options, PARALLEL, PRIORITISED_DQN),
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=40_000, help="of each training")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="to measure the seeds in several pieces")


if __name__ == "__main__":
    main(
        "Parallel against sequential training on the trading sample",
        VARIANTS,
        columns=("steps/s", "Sharpe", "spread"),
        baseline="PPO, sequential",
        arguments=_arguments,
        ratio_of="steps/s",
    )
