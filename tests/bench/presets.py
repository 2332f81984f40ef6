"""Presets over seeds: seconds until a policy solves the environment, and its curve.

CartPole-v1 is solved when the greedy policy returns 450 or more on average over ten episodes; the other goals are in
tests/bench/preset_tasks.py. The policy is checked about every thousand steps, and the checks' own time is left out. The
settings of Stable-Baselines3 are those of its zoo of tuned hyperparameters. CPU time is that of all processes of the
run, Ray's own included where the benchmark has started it.

    python -m tests.bench.presets --preset cartpole --until-goal     # seconds to the goal
    python -m tests.bench.presets --preset cartpole --keep           # whole curves, into docs/presets
    python -m tests.bench.curves                                     # pictures of them
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.curves import FOLDER, Point, keep
from tests.bench.measure import Result, Variant, main, start_ray
from tests.bench.preset_tasks import TASKS, Act, Task, make_env, scores, why_not_here

OURS = "Trainyard"
ASYNCHRONOUS = "Trainyard, asynchronous"
STABLE_BASELINES = "Stable-Baselines3"


class Course:
    """One seed's way: checks the policy as it learns, and keeps the time of training alone."""

    def __init__(self, task: Task, variant: str, seed: int, *, until_goal: bool) -> None:
        self.points: list[Point] = []
        self.over = False
        self._task, self._variant, self._seed, self._until_goal = task, variant, seed, until_goal
        self._seconds = self._cpu = 0.0
        self._checked_at = 0
        self._resume()

    def after(self, env_steps: int, act: Act) -> None:
        """To be called when training has come this far; checks when it is time."""
        if env_steps - self._checked_at < self._task.every or self.over:
            return
        self._seconds += time.perf_counter() - self._started
        self._cpu += cpu_seconds_between(self._cpu_started, cpu_times())
        self._checked_at = env_steps
        found = scores(self._task, act)
        self.points += [
            Point(self._variant, check, self._seed, env_steps, self._seconds, self._cpu, score)
            for check, score in found.items()
        ]
        solved = self._task.goal is not None and next(iter(found.values())) >= self._task.goal
        self.over = env_steps >= self._task.steps or (solved and self._until_goal)
        self._resume()

    def solved_at(self) -> Point | None:
        """The first check that reached the goal."""
        goal = self._task.goal
        return None if goal is None else next((point for point in self.points if point.score >= goal), None)

    def _resume(self) -> None:
        self._started, self._cpu_started = time.perf_counter(), cpu_times()


CpuTimes = dict[tuple[int, int], float]
"""CPU seconds by process: its id and when it started, since ids come back."""


def cpu_times() -> CpuTimes:
    """CPU times of this process and of those that it has started and that still run, their own included."""
    parents, times = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            # The name of the program before the last bracket may have spaces.
            fields = stat.read_text().rpartition(")")[2].split()
            process = int(stat.parent.name)
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            parents[process], times[process] = int(fields[1]), ((process, int(fields[19])), seconds)
    family = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in family} - family:
        family |= more
    return dict(times[process] for process in family)


def cpu_seconds_between(before: CpuTimes, after: CpuTimes) -> float:
    """What ran in between; of a process that ended there, as of an earlier seed's runners, nothing counts."""
    return sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def trainyard(
    options: argparse.Namespace, variant: str, sampling: dict[str, Any], config: dict[str, Any] | None = None
) -> Result:
    """The preset through the driver's own code; `config` over it."""
    task = TASKS[options.preset]
    start_ray(max(1, sampling["envRunners"]))
    from trainyard.spec.parsing import parse
    from trainyard.training.config import build_config
    from trainyard.training.trainer import Trainer, limit_threads

    limit_threads(1)

    def run(course: Course, seed: int) -> None:
        specification = parse(
            {
                "seed": seed,
                "algorithm": {"name": task.algorithm, "preset": options.preset, "config": config or {}},
                "environment": {"name": task.environment, "config": dict(task.config)},
                "sampling": sampling,
                "stop": {"envSteps": task.steps},
            }
        )
        trainer = Trainer(build_config(specification))
        act = greedy(trainer.algorithm)
        while not course.over:
            trainer.train()
            course.after(trainer.env_steps(), act)
        trainer.stop()

    return _courses(options, variant, run)


def greedy(algorithm: Any) -> Act:
    """The most likely actions, as the environment takes them."""
    import torch
    from ray.rllib.core.columns import Columns
    from ray.rllib.utils.spaces.space_utils import unsquash_action

    module = algorithm.get_module()

    def act(observations: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            output = module.forward_inference({Columns.OBS: torch.from_numpy(observations.astype(np.float32))})
        distribution = module.get_inference_action_dist_cls().from_logits(output[Columns.ACTION_DIST_INPUTS])
        actions = distribution.to_deterministic().sample().numpy()
        return unsquash_action(actions, module.action_space)

    return act


def stable_baselines(options: argparse.Namespace, variant: str) -> Result:
    import torch
    from stable_baselines3.common.callbacks import BaseCallback

    torch.set_num_threads(1)

    class Checks(BaseCallback):
        def __init__(self, course: Course, act: Act) -> None:
            super().__init__()
            self.course, self.act = course, act

        # A rollout begins when the update before it is over.
        def _on_rollout_start(self) -> None:
            self.course.after(self.model.num_timesteps, self.act)

        def _on_step(self) -> bool:
            return not self.course.over

    def run(course: Course, seed: int) -> None:
        model, steps, act = PEERS[options.preset](TASKS[options.preset], seed)
        model.learn(steps, callback=Checks(course, act))

    return _courses(options, variant, run)


def _vectorised(task: Task, count: int, seed: int) -> Any:
    from stable_baselines3.common.env_util import make_vec_env

    return make_vec_env(partial(make_env, task), count, seed=seed)


def _cartpole(task: Task, seed: int) -> tuple[Any, int, Act]:
    from stable_baselines3 import PPO

    model = PPO(
        "MlpPolicy", _vectorised(task, 8, seed), n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20,
        ent_coef=0.0, learning_rate=lambda left: 0.001 * left, clip_range=lambda left: 0.2 * left, seed=seed,
        device="cpu",
    )  # fmt: skip
    return model, 100_000, lambda observations: model.predict(observations, deterministic=True)[0]


def _acrobot(task: Task, seed: int) -> tuple[Any, int, Act]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecNormalize

    envs = VecNormalize(_vectorised(task, 16, seed))
    model = PPO("MlpPolicy", envs, n_steps=256, gae_lambda=0.94, gamma=0.99, n_epochs=4, ent_coef=0.0, seed=seed,
                device="cpu")  # fmt: skip
    return model, 1_000_000, lambda seen: model.predict(envs.normalize_obs(seen), deterministic=True)[0]


def _lunar_lander(task: Task, seed: int) -> tuple[Any, int, Act]:
    from stable_baselines3 import PPO

    model = PPO("MlpPolicy", _vectorised(task, 16, seed), n_steps=1024, batch_size=64, gae_lambda=0.98, gamma=0.999,
                n_epochs=4, ent_coef=0.01, seed=seed, device="cpu")  # fmt: skip
    return model, 1_000_000, lambda observations: model.predict(observations, deterministic=True)[0]


def _pendulum(task: Task, seed: int) -> tuple[Any, int, Act]:
    from stable_baselines3 import SAC

    model = SAC("MlpPolicy", _vectorised(task, 1, seed), learning_rate=0.001, seed=seed, device="cpu")
    return model, 20_000, lambda observations: model.predict(observations, deterministic=True)[0]


# The zoo has no trading environment.
PEERS: dict[str, Callable[[Task, int], tuple[Any, int, Act]]] = {
    "cartpole": _cartpole,
    "acrobot": _acrobot,
    "pendulum": _pendulum,
    "lunar-lander": _lunar_lander,
}


def _courses(options: argparse.Namespace, variant: str, run: Callable[[Course, int], None]) -> Result:
    """One course per seed, one after the other; the table's figures."""
    task, courses = TASKS[options.preset], []
    for seed in options.seeds:
        course = Course(task, variant, seed, until_goal=options.until_goal)
        run(course, seed)
        courses.append(course)
        if options.keep:
            keep(FOLDER / f"{options.preset}.csv", course.points)
    solved = [course.solved_at() for course in courses]
    # What has not solved it counts with all the time that it had.
    ends = [point or course.points[-1] for point, course in zip(solved, courses, strict=True)]
    return {
        "seconds": statistics.median(point.seconds for point in ends),
        "slowest": max(point.seconds for point in ends),
        "CPU seconds": statistics.median(point.cpu_seconds for point in ends),
        "mean CPU seconds": statistics.mean(point.cpu_seconds for point in ends),
        "steps": int(statistics.median(point.env_steps for point in ends)),
        "solved": f"{sum(point is not None for point in solved)} of {len(courses)}",
        "last score": statistics.median(course.points[-len(task.checks)].score for course in courses),
    }


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", choices=list(TASKS), default="cartpole")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    # A curve that ends where the goal is has nothing to show of what comes after.
    either = parser.add_mutually_exclusive_group()
    either.add_argument("--until-goal", action="store_true", help="end a seed when it has reached the goal")
    either.add_argument("--keep", action="store_true", help=f"write the curves to {FOLDER.name}/<preset>.csv")


WHOLE_EPISODES = {"mode": "Asynchronous", "envRunners": 10, "cpusPerEnvRunner": 0.1, "episodesPerUpdate": 8}
# The preset's epochs are for batches of 1,024 steps; an update of eight whole episodes has up to 4,000.
LONG_BATCHES = {"gamma": 0.995, "lambda_": 0.95, "num_epochs": 6, "lr": [[0, 0.001], [10_000, 0.0002]]}
VARIANTS = {
    STABLE_BASELINES: lambda options: stable_baselines(options, STABLE_BASELINES) if options.preset in PEERS else {},
    OURS: lambda options: trainyard(options, OURS, {"envRunners": 0}),
    f"{OURS}, 2 runners": lambda options: trainyard(options, f"{OURS}, 2 runners", {"envRunners": 2}),
    ASYNCHRONOUS: lambda options: (
        trainyard(options, ASYNCHRONOUS, WHOLE_EPISODES, LONG_BATCHES) if options.preset == "cartpole" else {}
    ),
}


def where_possible(variant: Variant) -> Variant:
    """A variant without figures, and a line that says why, where the preset's environment cannot be made."""

    def measured(options: argparse.Namespace) -> Result:
        if missing := why_not_here(TASKS[options.preset]):
            print(f"{options.preset} is skipped: {missing}", file=sys.stderr)
            return {}
        return variant(options)

    return measured


if __name__ == "__main__":
    main(
        "Presets: seconds to the goal and curves",
        {name: where_possible(variant) for name, variant in VARIANTS.items()},
        columns=("seconds", "slowest", "CPU seconds", "mean CPU seconds", "steps", "solved", "last score"),
        baseline=STABLE_BASELINES,
        arguments=_arguments,
    )
