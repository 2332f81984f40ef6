"""Presets against Stable-Baselines3's tuned settings: seconds until a policy solves the environment, over seeds.

CartPole-v1: until the greedy policy returns 450 or more on average over ten episodes (checked after each iteration, the
check's own time left out). SB3's settings are those of its zoo of tuned hyperparameters (ppo, CartPole-v1).
"""

from __future__ import annotations

import argparse
import statistics
import time

from tests.bench.measure import Result, main, start_ray

GOAL, EPISODES, LIMIT = 450.0, 10, 150_000


def trainyard(options: argparse.Namespace, sampling: dict) -> Result:
    """The preset through the driver's own code."""

    start_ray(4)
    from trainyard.algorithms import Trainer, build_config, limit_threads
    from trainyard.evaluation import Evaluator
    from trainyard.specification import parse

    limit_threads(1)
    found = []
    for seed in range(1, options.seeds + 1):
        specification = parse(
            {
                "seed": seed,
                "algorithm": {"name": "PPO", "preset": "cartpole"},
                "environment": {"name": "CartPole-v1"},
                "sampling": sampling,
                "stop": {"envSteps": LIMIT},
            }
        )
        trainer = Trainer(build_config(specification))
        evaluator = Evaluator(
            trainer.algorithm, kind="validation", episodes=EPISODES, explore=False, environment_config={}, seed=100
        )
        seconds, greedy = 0.0, 0.0
        while greedy < GOAL and trainer.env_steps() < LIMIT:
            start = time.perf_counter()
            trainer.train()
            seconds += time.perf_counter() - start
            greedy = evaluator.evaluate(0).metrics["validation/return_mean"]
        found.append((seconds, trainer.env_steps(), greedy))
        evaluator.stop()
        trainer.stop()
    return _summary(found)


def stable_baselines(options: argparse.Namespace) -> Result:
    import torch
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    torch.set_num_threads(1)

    class UntilGoal(BaseCallback):
        def __init__(self, seed: int) -> None:
            super().__init__()
            self.checks, self.greedy = 0.0, 0.0
            self.env = make_vec_env("CartPole-v1", 1, seed=100 + seed)

        def _on_rollout_start(self) -> None:
            start = time.perf_counter()
            self.greedy = float(evaluate_policy(self.model, self.env, EPISODES, deterministic=True)[0])
            self.checks += time.perf_counter() - start

        def _on_step(self) -> bool:
            return self.greedy < GOAL

    found = []
    for seed in range(1, options.seeds + 1):
        model = PPO(
            "MlpPolicy", make_vec_env("CartPole-v1", 8, seed=seed), n_steps=32, batch_size=256, gae_lambda=0.8,
            gamma=0.98, n_epochs=20, ent_coef=0.0, learning_rate=lambda left: 0.001 * left,
            clip_range=lambda left: 0.2 * left, seed=seed, device="cpu",
        )  # fmt: skip
        until = UntilGoal(seed)
        start = time.perf_counter()
        model.learn(100_000, callback=until)
        found.append((time.perf_counter() - start - until.checks, model.num_timesteps, until.greedy))
    return _summary(found)


def _summary(found: list[tuple[float, int, float]]) -> Result:
    solved = [item for item in found if item[2] >= GOAL]
    return {
        "seconds": statistics.median(seconds for seconds, _, _ in found),
        "slowest": max(seconds for seconds, _, _ in found),
        "steps": int(statistics.median(steps for _, steps, _ in found)),
        "solved": f"{len(solved)} of {len(found)}",
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, default=5)


VARIANTS = {
    "Stable-Baselines3, tuned": stable_baselines,
    "Trainyard, preset, driver samples": lambda options: trainyard(options, {"envRunners": 0}),
    "Trainyard, preset, 2 runners": lambda options: trainyard(options, {"envRunners": 2}),
    "Trainyard, preset, Asynchronous": lambda options: trainyard(
        options,
        {"mode": "Asynchronous", "envRunners": 2, "envsPerRunner": 4, "cpusPerEnvRunner": 0.5, "episodesPerUpdate": 8},
    ),
}


if __name__ == "__main__":
    main(
        "CartPole-v1 to a greedy return of 450",
        VARIANTS,
        columns=("seconds", "slowest", "steps", "solved"),
        baseline="Stable-Baselines3, tuned",
        arguments=_arguments,
    )
