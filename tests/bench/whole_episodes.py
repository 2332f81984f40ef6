"""Episodes without a barrier: against a barrier on the same work, and how many fit on this machine.

`barrier` and `asynchronous` play episodes of the same distribution (U(0.2, 2) s) on as many actors; the barrier waits
for every actor's episode before it asks for the next ones, as synchronous sampling does.
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import gymnasium as gym
import numpy as np

from tests.bench.measure import Result, main, start_ray


class Timed(gym.Env):
    """One step that sleeps for a time drawn from U(low, high) seconds."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4, np.float32), {}

    def step(self, action):
        time.sleep(self.np_random.uniform(self.low, self.high))
        return np.zeros(4, np.float32), 1.0, True, False, {}


class Light(gym.Env):
    """Episodes of 100 cheap steps."""

    observation_space = gym.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.at += 1
        return np.full(4, self.at / 100, np.float32), 1.0, self.at == 100, False, {}


def _weights(version: int, hidden: int = 64):
    from trainyard.rllib.asynchronous.policy import Layer, PolicyWeights

    generator = np.random.default_rng(version)
    sizes = [(4, hidden, "tanh"), (hidden, hidden, "tanh"), (hidden, 2, "linear")]
    layers = tuple(
        Layer(generator.normal(size=(rows, columns)).astype(np.float32) / 8, np.zeros(columns, np.float32), activation)
        for rows, columns, activation in sizes
    )
    return PolicyWeights(layers, "categorical", gym.spaces.Discrete(2), version, splits=(2,))


def _collector(make_env, runners: int, envs: int):
    from trainyard.rllib.asynchronous.collector import CollectorSettings, EpisodeCollector

    settings = CollectorSettings(runners=runners, envs_per_runner=envs, cpus_per_runner=0.01, seed=1)
    collector = EpisodeCollector(make_env, settings)
    collector.publish(_weights(0))
    return collector


def _wait_for_all(collector, runners: int) -> None:
    while collector.status().answering < runners:
        collector.gather(1)
        # Runners play only as much as is asked for; quick ones would take the CPUs of those that still start.
        time.sleep(0.05)


def asynchronous(options: argparse.Namespace) -> Result:
    """An update's worth of episodes at a time, new weights after each, as AsynchronousPPO does it."""
    start_ray(2)
    collector = _collector(partial(Timed, 0.2, 2.0), options.runners, 1)
    _wait_for_all(collector, options.runners)
    start, done, version, lags = time.perf_counter(), 0, 0, []
    while done < options.episodes:
        episodes = collector.gather(min(options.runners, options.episodes - done))
        done += len(episodes)
        lags += [version - episode.policy_version for episode in episodes]
        version += 1
        collector.publish(_weights(version))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "episodes": done, "episodes/s": done / seconds, "lag": float(np.mean(lags))}


def barrier(options: argparse.Namespace) -> Result:
    import ray

    start_ray(2)
    actor = ray.remote(num_cpus=0.01)(_OneEpisode)
    actors = [actor.remote(seed) for seed in range(options.runners)]
    ray.get([each.play.remote(_weights(0), 0.0) for each in actors])
    start, done, version = time.perf_counter(), 0, 0
    while done < options.episodes:
        ray.get([each.play.remote(_weights(version), None) for each in actors])
        done += len(actors)
        version += 1
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "episodes": done, "episodes/s": done / seconds, "lag": 0.0}


class _OneEpisode:
    """Plays one episode when asked, with the weights it is given."""

    def __init__(self, seed: int) -> None:
        self.env, self.seed = Timed(0.2, 2.0), seed
        self.generator = np.random.default_rng(seed)

    def play(self, weights, seconds: float | None) -> float:
        policy = weights.policy()
        observation, _ = self.env.reset(seed=int(self.generator.integers(2**31)))
        if seconds is not None:
            return 0.0
        return self.env.step(policy.act(observation, self.generator).for_env)[1]


def light(options: argparse.Namespace, *, runners: int, envs: int) -> Result:
    """Throughput and memory with a light environment: 100-step episodes.

    start: seconds until the last runner has given its first episode; the rest is measured after that.
    """
    start_ray(2)
    began = time.perf_counter()
    collector = _collector(Light, runners, envs)
    _wait_for_all(collector, runners)
    start_up = time.perf_counter() - began
    collector.gather(200)
    time.sleep(6)  # past the runners' next reading of their memory
    collector.gather(4 * runners)
    before = np.mean(collector.status().memory_bytes)
    start, done = time.perf_counter(), 0
    while done < options.light_episodes:
        done += len(collector.gather(100))
    seconds = time.perf_counter() - start
    time.sleep(6)
    collector.gather(4 * runners)
    after = np.mean(collector.status().memory_bytes)
    return {
        "seconds": seconds,
        "episodes": done,
        "episodes/s": done / seconds,
        "MiB/runner": float(after) / 2**20,
        "MiB growth": float(after - before) / 2**20,
        "start": start_up,
    }


VARIANTS = {
    "barrier": barrier,
    "asynchronous": asynchronous,
    "100 light envs: 4 runners x 25": lambda options: light(options, runners=4, envs=25),
    "100 light envs: 100 runners x 1": lambda options: light(options, runners=100, envs=1),
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runners", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--light-episodes", type=int, default=10_000)


if __name__ == "__main__":
    main(
        "Whole-episode collection",
        VARIANTS,
        columns=("seconds", "episodes", "episodes/s", "lag", "MiB/runner", "MiB growth", "start"),
        baseline="barrier",
        arguments=_arguments,
        ratio_of="episodes/s",
    )
