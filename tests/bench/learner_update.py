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
import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.single_agent_episode import SingleAgentEpisode

from tests.bench.measure import table
from trainyard.learners import LEAN_LEARNERS

STEPS, LENGTH, MINIBATCH = 4000, 40, 128


def episodes() -> list[SingleAgentEpisode]:
    generator = np.random.default_rng(3)
    made = []
    for _ in range(STEPS // LENGTH):
        logits = generator.normal(size=(LENGTH, 2)).astype(np.float32)
        actions = generator.integers(0, 2, size=LENGTH)
        log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        made.append(
            SingleAgentEpisode(
                observation_space=gym.spaces.Box(-10, 10, (4,), np.float32),
                action_space=gym.spaces.Discrete(2),
                observations=list(generator.normal(size=(LENGTH + 1, 4)).astype(np.float32)),
                actions=list(actions),
                rewards=list(generator.normal(size=LENGTH)),
                terminated=True,
                extra_model_outputs={
                    "action_dist_inputs": list(logits),
                    "action_logp": list(log_probabilities[np.arange(LENGTH), actions].astype(np.float32)),
                },
                len_lookback_buffer=0,
            )
        )
    return made


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
    data = episodes()
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
