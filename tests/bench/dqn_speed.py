"""DQN on CartPole at matched work: one update of 32 transitions per environment step, after 1,000 steps."""

from __future__ import annotations

import argparse
import time

from tests.bench.measure import Result, main, start_ray

LEARNING_STARTS = 1000
BUFFERS = {"uniform": "EpisodeReplayBuffer", "prioritised": "PrioritizedEpisodeReplayBuffer"}


def trainyard(options: argparse.Namespace, *, implementation: str, buffer: str = "uniform") -> Result:
    """Through the library's own code; implementation is the file's learner.implementation."""
    start_ray(2)
    from trainyard.spec.parsing import parse
    from trainyard.training.config import build_config
    from trainyard.training.trainer import Trainer, limit_threads

    limit_threads(1)
    specification = parse(
        {
            "seed": 1,
            "algorithm": {
                "name": "DQN",
                "model": {"fcnet_hiddens": [64, 64], "head_fcnet_hiddens": []},
                "config": {
                    "lr": 0.001,
                    "train_batch_size_per_learner": 32,
                    "num_steps_sampled_before_learning_starts": LEARNING_STARTS,
                    "target_network_update_freq": 500,
                    "double_q": False,
                    "dueling": False,
                    "n_step": 1,
                    "replay_buffer_config": {"type": BUFFERS[buffer], "capacity": 50_000, "alpha": 0.6, "beta": 0.4},
                },
            },
            "environment": {"name": "CartPole-v1"},
            "sampling": {"envRunners": 0},
            "learner": {"implementation": implementation},
            "stop": {"envSteps": 1_000_000},
        }
    )
    trainer = Trainer(build_config(specification))
    # The first iteration fills the buffer; with the 1,000th step updates begin.
    trainer.train()
    start, processor, before = time.perf_counter(), time.process_time(), trainer.env_steps()
    while trainer.env_steps() - before < options.steps:
        trainer.train()
    return _result(start, processor, trainer.env_steps() - before)


def stable_baselines(options: argparse.Namespace) -> Result:
    import torch
    from stable_baselines3 import DQN

    torch.set_num_threads(1)
    model = DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=1e-3, batch_size=32, learning_starts=LEARNING_STARTS, train_freq=1,
        gradient_steps=1, target_update_interval=500, buffer_size=50_000, device="cpu", seed=1,
    )  # fmt: skip
    model.learn(LEARNING_STARTS)
    start, processor = time.perf_counter(), time.process_time()
    model.learn(options.steps, reset_num_timesteps=False)
    return _result(start, processor, options.steps)


def _result(start: float, processor: float, updates: int) -> Result:
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - processor
    return {
        "seconds": seconds,
        "updates": updates,
        "ms/update": 1000 * seconds / updates,
        "CPU ms/update": 1000 * cpu_seconds / updates,
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=3000)


if __name__ == "__main__":
    main(
        "DQN on CartPole-v1 at matched work",
        {
            "Stable-Baselines3": stable_baselines,
            "RLlib": lambda options: trainyard(options, implementation="RLlib"),
            "Trainyard": lambda options: trainyard(options, implementation="Auto"),
            "Trainyard, prioritised": lambda options: trainyard(options, implementation="Auto", buffer="prioritised"),
        },
        columns=("seconds", "updates", "ms/update", "CPU ms/update"),
        baseline="Stable-Baselines3",
        arguments=_arguments,
        # What the update needs; the wall time of a busy machine is mostly other people's.
        ratio_of="CPU ms/update",
    )
