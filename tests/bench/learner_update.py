"""One PPO update on the same episodes: RLlib's Learner and the lean one, in one process and without Ray.

4,000 steps of made-up CartPole episodes, RLlib's default network and minibatches of 128. The variants alternate, so
that whatever else the machine does meets both; the ratio is of CPU time. With --learners the Learners are Ray actors
that share the episodes and exchange gradients; their CPU time is added up, the driver's is not in it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.learner.learner_group import LearnerGroup

from tests.bench.measure import start_ray, table
from tests.episodes import episodes_of
from trainyard.rllib.learners import counterpart

STEPS, LENGTH, MINIBATCH = 4000, 40, 128


def learners(learner_class, number: int) -> LearnerGroup:
    """`number` actors of this class, or with 0 one Learner in this process."""
    env = gym.make("CartPole-v1")
    config = PPOConfig().environment("CartPole-v1").debugging(seed=1).training(lr=3e-4, gamma=0.99)
    config.learners(num_learners=number, num_cpus_per_learner=0.5, learner_class=learner_class)
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": (env.observation_space, env.action_space)})
    return LearnerGroup(config=config, module_spec=spec)


def each_ones(group: LearnerGroup, call) -> list:
    return [result.get() for result in group.foreach_learner(call)]


def cpu_seconds(group: LearnerGroup) -> float:
    return sum(each_ones(group, lambda _: time.process_time()))


def main() -> None:
    parser = argparse.ArgumentParser(description="One PPO update: RLlib's Learner and the lean one")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--learners", type=int, default=0, help="Learner actors; 0: one Learner in this process")
    options = parser.parse_args()
    if options.learners:
        start_ray(2 * options.learners)
    stock = PPOConfig().get_default_learner_class()
    choice = counterpart(stock)
    if choice.reason is not None:
        raise SystemExit(choice.reason)
    groups = {
        "RLlib's Learner": learners(stock, options.learners),
        "lean Learner": learners(choice.learner_class, options.learners),
    }
    for group in groups.values():
        each_ones(group, lambda _: torch.set_num_threads(options.threads))
    data = episodes_of([LENGTH] * (STEPS // LENGTH))
    results: dict[str, list[dict]] = {name: [] for name in groups}
    for repeat in range(options.repeats + 1):
        for name, group in groups.items():
            batch = copy.deepcopy(data)
            cpu, start = cpu_seconds(group), time.perf_counter()
            group.update(
                episodes=batch, timesteps={}, num_epochs=options.epochs, minibatch_size=MINIBATCH,
                shuffle_batch_per_epoch=True,
            )  # fmt: skip
            seconds, cpu = time.perf_counter() - start, cpu_seconds(group) - cpu
            if repeat:  # the first one warms up
                minibatches = options.epochs * STEPS / MINIBATCH
                results[name].append(
                    {"seconds": seconds, "CPU seconds": cpu, "CPU ms/minibatch": 1000 * cpu / minibatches}
                )
    command = f"--epochs {options.epochs} --threads {options.threads} --learners {options.learners}"
    print(f"`python -m tests.bench.learner_update {command}`, {options.repeats} repeats, medians\n")
    print(table(results, ("seconds", "CPU seconds", "CPU ms/minibatch"), "RLlib's Learner", "CPU seconds"))
    for column in ("CPU seconds", "seconds"):
        ratio = [lean[column] / own[column] for own, lean in zip(*results.values(), strict=True)]
        print(f"\n{column}, ratios of the repeats: {', '.join(f'{r:.2f}' for r in ratio)}, "
              f"median {statistics.median(ratio):.2f}")  # fmt: skip
    for group in groups.values():
        group.shutdown()


if __name__ == "__main__":
    main()
