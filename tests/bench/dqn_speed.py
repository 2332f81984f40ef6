"""DQN on CartPole at matched work: one update of 32 transitions per environment step, after 1,000 steps."""

from __future__ import annotations

import argparse
import time

from tests.bench.measure import Result, main, start_ray

LEARNING_STARTS = 1000


def rllib(options: argparse.Namespace, *, lean: bool) -> Result:
    import torch
    from ray.rllib.algorithms.dqn import DQNConfig

    from trainyard.learners import choose_learner

    start_ray(2)
    config = DQNConfig().environment("CartPole-v1").debugging(seed=1).env_runners(num_env_runners=0)
    config.rl_module(model_config={"fcnet_hiddens": [64, 64], "head_fcnet_hiddens": []})
    config.training(
        lr=1e-3, train_batch_size_per_learner=32, num_steps_sampled_before_learning_starts=LEARNING_STARTS,
        double_q=False, dueling=False, target_network_update_freq=500, n_step=1,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 50_000},
    )  # fmt: skip
    config.env_runners(rollout_fragment_length=1)
    config.reporting(min_sample_timesteps_per_iteration=LEARNING_STARTS, min_time_s_per_iteration=0)
    if lean:
        torch.set_num_threads(1)
        config.training(learner_class=config.get_default_learner_class())
        config.training(learner_class=choose_learner(config).learner_class)
    algorithm = config.build_algo()
    algorithm.train()
    start, before = time.perf_counter(), _steps(algorithm)
    while _steps(algorithm) - before < options.steps:
        algorithm.train()
    return _result(time.perf_counter() - start, _steps(algorithm) - before)


def _steps(algorithm) -> int:
    return int(algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0))


def stable_baselines(options: argparse.Namespace) -> Result:
    import torch
    from stable_baselines3 import DQN

    torch.set_num_threads(1)
    model = DQN(
        "MlpPolicy", "CartPole-v1", learning_rate=1e-3, batch_size=32, learning_starts=LEARNING_STARTS, train_freq=1,
        gradient_steps=1, target_update_interval=500, buffer_size=50_000, device="cpu", seed=1,
    )  # fmt: skip
    model.learn(LEARNING_STARTS)
    start = time.perf_counter()
    model.learn(options.steps, reset_num_timesteps=False)
    return _result(time.perf_counter() - start, options.steps)


def _result(seconds: float, updates: int) -> Result:
    return {"seconds": seconds, "updates": updates, "ms/update": 1000 * seconds / updates}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=3000)


if __name__ == "__main__":
    main(
        "DQN on CartPole-v1 at matched work",
        {
            "Stable-Baselines3": stable_baselines,
            "RLlib": lambda options: rllib(options, lean=False),
            "Trainyard": lambda options: rllib(options, lean=True),
        },
        columns=("seconds", "updates", "ms/update"),
        baseline="Stable-Baselines3",
        arguments=_arguments,
        ratio_of="ms/update",
    )
