"""One PPO update on the same episodes: RLlib's Learner and the lean one, in one process and without Ray.

4,000 steps of made-up CartPole episodes, RLlib's default network and minibatches of 128. The variants alternate, so
that whatever else the machine does meets both; the ratio is of CPU time.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo import PPOConfig

from tests.bench.measure import table
from tests.episodes import episodes_of
from trainyard.learners import LEAN_LEARNERS

STEPS, LENGTH, MINIBATCH = 4000, 40, 128


def learner(learner_class):
    env = gym.make("CartPole-v1")
    config = PPOConfig().environment("CartPole-v1").debugging(seed=1).training(lr=3e-4, gamma=0.99)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": (env.observation_space, env.action_space)})
    built = learner_class(config=config, module_spec=spec)
    built.build()
    return built


def main() -> None:
    parser = argparse.ArgumentParser(description="One PPO update: RLlib's Learner and the lean one")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    stock = PPOConfig().get_default_learner_class()
    learners = {"RLlib's Learner": learner(stock), "lean Learner": learner(LEAN_LEARNERS[stock])}
    data = episodes_of([LENGTH] * (STEPS // LENGTH))
    results: dict[str, list[dict]] = {name: [] for name in learners}
    for repeat in range(options.repeats + 1):
        for name, each in learners.items():
            batch = copy.deepcopy(data)
            start, cpu = time.perf_counter(), time.process_time()
            each.update(
                episodes=batch, timesteps={}, num_epochs=options.epochs, minibatch_size=MINIBATCH,
                shuffle_batch_per_epoch=True,
            )  # fmt: skip
            seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
            if repeat:  # the first one warms up
                minibatches = options.epochs * STEPS / MINIBATCH
                results[name].append(
                    {"seconds": seconds, "CPU seconds": cpu, "CPU ms/minibatch": 1000 * cpu / minibatches}
                )
    print(f"`python -m tests.bench.learner_update --epochs {options.epochs} --threads {options.threads}`, "
          f"{options.repeats} repeats, medians\n")  # fmt: skip
    print(table(results, ("seconds", "CPU seconds", "CPU ms/minibatch"), "RLlib's Learner", "CPU seconds"))
    ratio = [lean["CPU seconds"] / own["CPU seconds"] for own, lean in zip(*results.values(), strict=True)]
    print(f"\nratios of the repeats: {', '.join(f'{r:.2f}' for r in ratio)}, median {statistics.median(ratio):.2f}")


if __name__ == "__main__":
    main()
