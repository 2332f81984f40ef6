"""PPO on CartPole at equal hyperparameters: RLlib as it comes, Trainyard, Stable-Baselines3, one file.

Matched work: lr 3e-4, gamma 0.99, RLlib's defaults for the rest (batches of 4,000 steps, 30 epochs, minibatches of 128,
two layers of 256 tanh each for policy and value). `seconds` is training alone; `start` is from the process's start to
the first update; `return` is the mean of the episodes that ended in the last iteration, which is what RLlib reports.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from tests.bench.measure import Result, main, start_ray

BATCH, EPOCHS, MINIBATCH = 4000, 30, 128
STARTED = time.perf_counter()


def rllib(options: argparse.Namespace, *, envs: int = 1) -> Result:
    """The seed script: nothing but RLlib's own API."""
    from ray.rllib.algorithms.ppo import PPOConfig

    start_ray(2)
    config = PPOConfig().environment("CartPole-v1").training(lr=3e-4, gamma=0.99).debugging(seed=options.seed)
    config.env_runners(num_env_runners=1, num_envs_per_env_runner=envs)
    algorithm = config.build_algo()
    start = time.perf_counter()
    for _ in range(options.iterations):
        result = algorithm.train()
    return _result(start, options, result["env_runners"]["episode_return_mean"])


def trainyard(options: argparse.Namespace, *, runners: int, envs: int | None = None) -> Result:
    """The same file as manifests/samples/cartpole-ppo.yaml, through the driver's own code."""

    start_ray(max(2, runners))
    from trainyard.spec.parsing import parse
    from trainyard.training.config import build_config
    from trainyard.training.trainer import Trainer, limit_threads

    limit_threads(1)
    specification = parse(
        {
            "seed": options.seed,
            "algorithm": {"name": "PPO", "config": {"lr": 3e-4, "gamma": 0.99}},
            "environment": {"name": "CartPole-v1"},
            "sampling": {"envRunners": runners, **({"envsPerRunner": envs} if envs else {})},
            "stop": {"iterations": options.iterations},
        }
    )
    trainer = Trainer(build_config(specification))
    start = time.perf_counter()
    for _ in range(options.iterations):
        episodes = trainer.train()[1]
    return _result(start, options, statistics.fmean(episode["return"] for episode in episodes))


def stable_baselines(options: argparse.Namespace) -> Result:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy", make_vec_env("CartPole-v1", 8, seed=options.seed), learning_rate=3e-4, gamma=0.99,
        n_steps=BATCH // 8, batch_size=MINIBATCH, n_epochs=EPOCHS, gae_lambda=1.0, clip_range=0.3, vf_coef=1.0,
        ent_coef=0.0, max_grad_norm=1e9, seed=options.seed, device="cpu",
        policy_kwargs={"activation_fn": torch.nn.Tanh, "net_arch": [256, 256]},
    )  # fmt: skip
    start = time.perf_counter()
    model.learn(BATCH * options.iterations)
    return _result(start, options, _last_iteration([episode["r"] for episode in model.ep_info_buffer]))


def one_file(options: argparse.Namespace) -> Result:
    from tests.bench.single_file_ppo import Settings, train

    start = time.perf_counter()
    _, curve = train(Settings(steps=BATCH * options.iterations, seed=options.seed))
    return _result(start, options, _last_iteration(curve.returns))


def _last_iteration(returns: Sequence[float]) -> float:
    """Mean return of the last episodes that fit one iteration's steps: in CartPole a step's reward is 1."""
    kept: list[float] = []
    for value in reversed(returns):
        if kept and sum(kept) + value > BATCH:
            break
        kept.append(value)
    return statistics.fmean(kept)


def _result(start: float, options: argparse.Namespace, mean_return: float) -> Result:
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "steps/s": BATCH * options.iterations / seconds,
        "return": mean_return,
        "start": start - STARTED,
    }


VARIANTS = {
    "RLlib, 1 runner": rllib,
    "RLlib, 1 runner x 8 envs": lambda options: rllib(options, envs=8),
    "Trainyard, 1 runner (8 envs)": lambda options: trainyard(options, runners=1),
    "Trainyard, 2 runners (8 envs)": lambda options: trainyard(options, runners=2),
    "Stable-Baselines3, 8 envs": stable_baselines,
    "one file, 8 envs": one_file,
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--iterations", type=int, default=10, help="of 4,000 steps")
    parser.add_argument("--seed", type=int, default=1)


if __name__ == "__main__":
    main(
        "PPO on CartPole-v1 at equal hyperparameters",
        VARIANTS,
        columns=("seconds", "steps/s", "return", "start"),
        baseline="RLlib, 1 runner",
        arguments=_arguments,
    )
