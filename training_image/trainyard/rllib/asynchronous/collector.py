"""Collects finished episodes from runner actors, whichever comes first.

There is no barrier: one request is always under way with each runner, and an answer is processed as soon as its
episodes are wanted. Answers beyond that stay with their runners, which then wait: where the learner is the slower one,
episodes that nobody has learned from would pile up here and grow stale. A runner that died is replaced, so is one
whose environment hangs; nobody waits for either.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import ray

from trainyard.episodes.finite import FIELD, too_many
from trainyard.episodes.records import Settings
from trainyard.errors import NonFiniteNumber
from trainyard.rllib.asynchronous.episode_runner import EpisodeRunner, RunnerSettings, Weights
from trainyard.rllib.asynchronous.episodes import Delivery, Episode, Failure


class EnvironmentFailed(RuntimeError):
    """An environment keeps raising; the message ends with its traceback."""


class RunnersFailed(RuntimeError):
    """Runners cannot be started, or die without delivering an episode."""


@dataclass(frozen=True)
class CollectorSettings:
    """
    Attributes:
        envs_per_runner: environments that step independently in each runner.
        cpus_per_runner: Ray's logical CPUs of each; fractions are welcome.
        memory_per_runner: bytes that Ray sets aside for each; None for none.
        heartbeat: seconds after which a runner answers even without an episode.
        stall: seconds in one reset or step, or without an answer, after which a runner is replaced.
        failures: environments in a row that may raise in one runner before the run fails.
        deaths: times in a row that one runner may die without delivering an episode before the run fails.
        start: seconds that the first answer of any runner may take.
        recording: what a recording wants of the episodes; None without one.
        tolerate: share of the episodes that may have numbers that are not finite, and are left out.
    """

    runners: int
    envs_per_runner: int = 1
    seed: int = 0
    cpus_per_runner: float = 1.0
    memory_per_runner: int | None = None
    heartbeat: float = 5.0
    stall: float = 600.0
    failures: int = 3
    deaths: int = 3
    start: float = 300.0
    recording: Settings | None = None
    tolerate: float = 0.0


@dataclass
class _Runner:
    index: int
    actor: Any
    incarnation: int
    asked_at: float
    version: int = -1
    env_steps: int = 0
    memory_bytes: int | None = None
    failures_in_row: int = 0
    deaths_in_row: int = 0
    answered: bool = False
    idle_seconds: float = 0.0


@dataclass(frozen=True)
class CollectorStatus:
    """
    Attributes:
        answering: runners that have answered at least once in their present incarnation.
        replaced: runners replaced since the start.
        env_steps: steps made by all runners, unfinished and discarded episodes included.
        memory_bytes: private memory of each runner that has told it.
        left_out: episodes that were left out, because a number of them is not finite.
        slowest: the longest time that an environment was in one reset or step, when its runner answered last.
    """

    runners: int
    answering: int
    replaced: int
    env_steps: int
    memory_bytes: list[int] = field(default_factory=list)
    left_out: int = 0
    slowest: float = 0.0


class EpisodeCollector:
    """Owns the runner actors. Not thread-safe."""

    def __init__(self, make_env: Callable[[], gym.Env], settings: CollectorSettings) -> None:
        self._settings = settings
        self._make_env = make_env
        options: dict[str, Any] = {"num_cpus": settings.cpus_per_runner, "max_concurrency": 2, "max_restarts": 0}
        if settings.memory_per_runner:
            options["memory"] = settings.memory_per_runner
        self._actor_class = ray.remote(**options)(EpisodeRunner)
        self._weights: ray.ObjectRef | None = None
        self._version = -1
        self._ready: deque[Episode] = deque()
        self._pending: dict[ray.ObjectRef, _Runner] = {}
        self._replaced = self._finished = self._left_out = 0
        self._steps_of_replaced = 0
        self._started_at = time.monotonic()
        self._idle: list[_Runner] = [self._start(index, 0) for index in range(settings.runners)]

    def publish(self, weights: Weights) -> None:
        """Makes newer weights available; each runner gets them when it next asks."""
        self._weights = ray.put(weights)
        self._version = weights.version
        idle, self._idle = self._idle, []
        for runner in idle:
            self._ask(runner)

    def gather(self, count: int, on_wait: Callable[[int], None] | None = None) -> list[Episode]:
        """Returns `count` finished episodes in the order of their arrival; further ones wait for the next call.

        on_wait: called about once a second with the number of episodes there so far.

        Raises:
            EnvironmentFailed: an environment raised several times in a row.
            UserError: an environment raised one, or met a number that is not finite more often than is tolerated.
            RunnersFailed: runners do not start, or die again and again.
        """
        if self._weights is None:
            raise RuntimeError("publish() weights before gathering episodes")
        while len(self._ready) < count:
            if on_wait is not None:
                on_wait(len(self._ready))
            self._receive(count, timeout=1.0)
        return [self._ready.popleft() for _ in range(count)]

    def status(self) -> CollectorStatus:
        runners = [*self._pending.values(), *self._idle]
        return CollectorStatus(
            runners=self._settings.runners,
            answering=sum(runner.answered for runner in runners),
            replaced=self._replaced,
            env_steps=self._steps_of_replaced + sum(runner.env_steps for runner in runners),
            memory_bytes=[runner.memory_bytes for runner in runners if runner.memory_bytes is not None],
            left_out=self._left_out,
            slowest=max((runner.idle_seconds for runner in runners), default=0.0),
        )

    def actors(self) -> list[Any]:
        """Handles of the present runners, by index."""
        runners = [*self._pending.values(), *self._idle]
        return [runner.actor for runner in sorted(runners, key=lambda runner: runner.index)]

    def close(self) -> None:
        """Ends every runner. A second call does nothing."""
        for runner in [*self._pending.values(), *self._idle]:
            ray.kill(runner.actor)
        self._pending.clear()
        self._idle.clear()

    def _start(self, index: int, incarnation: int) -> _Runner:
        settings = self._settings
        runner_settings = RunnerSettings(
            make_env=self._make_env,
            seed=settings.seed,
            index=index,
            incarnation=incarnation,
            envs=settings.envs_per_runner,
            recording=settings.recording,
            tolerates=settings.tolerate > 0,
        )
        return _Runner(index, self._actor_class.remote(runner_settings), incarnation, time.monotonic())

    def _ask(self, runner: _Runner) -> None:
        newer = runner.version < self._version
        request = runner.actor.collect.remote(self._weights if newer else None, self._settings.heartbeat)
        runner.version = self._version
        runner.asked_at = time.monotonic()
        self._pending[request] = runner

    def _receive(self, count: int, timeout: float) -> None:
        """Takes answers until `count` episodes are ready; waits at most `timeout` seconds for the first."""
        requests = list(self._pending)
        answered, _ = ray.wait(requests, num_returns=1, timeout=timeout)
        if answered:
            answered, _ = ray.wait(requests, num_returns=len(requests), timeout=0)
        for request in answered:
            if len(self._ready) >= count:
                break
            runner = self._pending.pop(request)
            try:
                delivery = ray.get(request)
            except ray.exceptions.RayActorError as error:
                self._replace(runner, why=str(error))
                continue
            self._accept(runner, delivery)
        self._replace_stalled(answered)

    def _accept(self, runner: _Runner, delivery: Delivery) -> None:
        runner.answered = True
        runner.env_steps = delivery.env_steps
        runner.memory_bytes = delivery.memory_bytes
        runner.idle_seconds = delivery.idle_seconds
        self._count_left_out(delivery)
        self._ready.extend(delivery.episodes)
        if delivery.episodes:
            runner.failures_in_row = runner.deaths_in_row = 0
        for failure in delivery.failures:
            self._count_failure(runner, failure)
        if delivery.idle_seconds > self._settings.stall:
            self._replace(runner, why=f"an environment has been in one step for {delivery.idle_seconds:.0f} s")
        else:
            self._ask(runner)

    def _count_left_out(self, delivery: Delivery) -> None:
        self._left_out += len(delivery.left_out)
        self._finished += len(delivery.episodes) + len(delivery.left_out)
        if delivery.left_out and too_many(self._left_out, self._finished, self._settings.tolerate):
            raise NonFiniteNumber(
                f"{self._left_out} of {self._finished} episodes had a number that is not finite; the last in "
                f"{delivery.left_out[-1].words}; correct the environment, or raise {FIELD}"
            )

    def _count_failure(self, runner: _Runner, failure: Failure) -> None:
        if failure.user_error is not None:
            raise failure.user_error
        runner.failures_in_row += 1
        if runner.failures_in_row >= self._settings.failures:
            raise EnvironmentFailed(
                f"environment {failure.env} of runner {failure.runner} raised {runner.failures_in_row} times in a row: "
                f"{failure.error}\n{failure.traceback}"
            )

    def _replace_stalled(self, answered: list[ray.ObjectRef]) -> None:
        """Replaces runners without an answer for too long; those of `answered` wait for this side, not it for them."""
        now = time.monotonic()
        if not any(runner.answered for runner in self._pending.values()):
            if now - self._started_at > self._settings.start and not self._replaced:
                raise RunnersFailed(
                    f"no runner answered within {self._settings.start:.0f} s: the cluster may lack the CPUs or memory "
                    f"for them (each asks for {self._settings.cpus_per_runner:g} CPUs)"
                )
            return
        overdue = self._settings.stall + self._settings.heartbeat
        for request, runner in list(self._pending.items()):
            if runner.answered and request not in answered and now - runner.asked_at > overdue:
                del self._pending[request]
                self._replace(runner, why=f"no answer for {overdue:.0f} s")

    def _replace(self, runner: _Runner, why: str) -> None:
        deaths = runner.deaths_in_row + 1
        if deaths >= self._settings.deaths:
            raise RunnersFailed(
                f"runner {runner.index} was lost {deaths} times in a row without delivering an episode; last: {why}"
            )
        ray.kill(runner.actor)
        self._replaced += 1
        self._steps_of_replaced += runner.env_steps
        successor = self._start(runner.index, runner.incarnation + 1)
        successor.deaths_in_row = deaths
        successor.failures_in_row = runner.failures_in_row
        self._ask(successor)
