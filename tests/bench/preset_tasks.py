"""What the presets are for, and how well a policy does there: environments, goals, and greedy play.

A policy plays its episodes at once, one forward pass for all that are still going, so that a check costs little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import yaml

from tests.bench.measure import REPOSITORY

Act = Callable[[np.ndarray], np.ndarray]
CHECK_SEED = 100


@dataclass(frozen=True)
class Task:
    """
    Attributes:
        goal: the score that counts as solved; None where nothing does.
        steps: environment steps of a whole curve.
        every: steps between two checks, at least.
        checks: what is scored, by name: configuration over the environment's own. The first one is what `goal` is for.
        score: what the episodes of a check are worth; the mean return unless another figure says more.
    """

    algorithm: str
    environment: str
    steps: int
    goal: float | None = None
    every: int = 1000
    episodes: int = 10
    config: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    score: str = "return"
    score_label: str = "greedy return"


def _trading() -> Task:
    """The environment, its years of training and those of validation are the sample's."""
    sample = yaml.safe_load((REPOSITORY / "manifests/samples/trading-ppo.yaml").read_text())["spec"]
    config = sample["environment"]["config"]
    return Task(
        "PPO", "trading", steps=200_000, every=10_000, episodes=1, config=config,
        checks={
            "years of training": {"episode_length": 0},
            "the two years after": sample["evaluation"]["environmentConfig"],
        },
        score="sharpe", score_label="Sharpe ratio, greedy",
    )  # fmt: skip


TASKS = {
    "cartpole": Task("PPO", "CartPole-v1", goal=450.0, steps=20_000),
    "acrobot": Task("PPO", "Acrobot-v1", goal=-100.0, steps=60_000, every=4000),
    "pendulum": Task("SAC", "Pendulum-v1", goal=-200.0, steps=7_000, every=500),
    "trading": _trading(),
    "lunar-lander": Task("PPO", "LunarLander-v3", goal=200.0, steps=300_000, every=20_000),
}


def why_not_here(task: Task) -> str | None:
    """What the task's environment needs and this machine has not; None when it can be made."""
    from trainyard.errors import InvalidConfiguration

    try:
        make_env(task).close()
    except InvalidConfiguration as error:
        return str(error)
    return None


def scores(task: Task, act: Act) -> dict[str, float]:
    """The score of each check."""
    return {name: _score(task, act, more) for name, more in task.checks.items()}


def _score(task: Task, act: Act, more: Mapping[str, Any]) -> float:
    episodes = play(act, [make_env(task, more) for _ in range(task.episodes)])
    if task.score == "return":
        return float(np.mean([total for total, _ in episodes]))
    from trainyard.environments.market import performance

    return float(np.mean([performance.of_infos(infos)[task.score] for _, infos in episodes]))


def make_env(task: Task, more: Mapping[str, Any] | None = None) -> Any:
    from trainyard import environments

    return environments.creator(task.environment)({**task.config, **(more or {})})


def play(act: Act, envs: Sequence[Any]) -> list[tuple[float, list[dict[str, Any]]]]:
    """One episode of each environment with the same seeds every time: its return and its infos."""
    resets = [env.reset(seed=CHECK_SEED + index) for index, env in enumerate(envs)]
    observations = [observation for observation, _ in resets]
    totals, infos = [0.0] * len(envs), [[info] for _, info in resets]
    playing = list(range(len(envs)))
    while playing:
        actions = act(np.stack([observations[index] for index in playing]))
        still = []
        for index, action in zip(playing, actions, strict=True):
            observations[index], reward, terminated, truncated, info = envs[index].step(action)
            totals[index] += float(reward)
            infos[index].append(dict(info))
            if not (terminated or truncated):
                still.append(index)
        playing = still
    for env in envs:
        env.close()
    return list(zip(totals, infos, strict=True))
