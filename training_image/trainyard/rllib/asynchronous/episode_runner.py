"""The actor that plays episodes. Imports neither torch nor RLlib (the environment may).

Every environment has a thread of its own, so a slow one does not hold up its neighbours: episodes go into a bounded
queue as they finish. A thread takes the newest weights when it begins an episode. When nobody asks for episodes, the
queue fills up and the threads wait, which bounds memory.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np

from trainyard.episodes.copies import lent, own_info, own_observation
from trainyard.episodes.finite import REMEDY, first_fault, is_finite
from trainyard.episodes.infos import fields_of
from trainyard.episodes.records import Settings
from trainyard.errors import NonFiniteNumber, UserError
from trainyard.metrics import EPISODE_METRICS, figures
from trainyard.rllib.asynchronous.episodes import Delivery, Episode, EpisodeId, Failure, LeftOut
from trainyard.rllib.asynchronous.policy import Step
from trainyard.runs.seeds import Stream, sequence

logger = logging.getLogger(__name__)

Item = Episode | Failure | LeftOut

# An environment that raised is built anew after this pause, so that a broken one does not spin.
PAUSE_AFTER_FAILURE = 0.5
MEMORY_EVERY = 5.0


class Policy(Protocol):
    version: int

    def act(self, observation: np.ndarray, generator: np.random.Generator) -> Step: ...


class Weights(Protocol):
    @property
    def version(self) -> int: ...

    def policy(self) -> Policy: ...


@dataclass(frozen=True)
class RunnerSettings:
    """make_env: builds one environment; seed: of the run; envs: environments that step independently.

    recording: what a recording wants of the episodes; None without one. tolerates: whether an episode with a number
    that is not finite is left out instead of failing.
    """

    make_env: Callable[[], gym.Env]
    seed: int
    index: int
    incarnation: int = 0
    envs: int = 1
    recording: Settings | None = None
    tolerates: bool = False


class EpisodeRunner:
    """Plays episodes from its first weights until it is killed."""

    def __init__(self, settings: RunnerSettings) -> None:
        self._settings = settings
        self._policy: Policy | None = None
        self._policy_arrived = threading.Event()
        self._finished: queue.Queue[Item] = queue.Queue(maxsize=settings.envs)
        self._steps = [0] * settings.envs
        self._busy_since: list[float | None] = [None] * settings.envs
        self._memory = _MemoryReading()
        for env_index in range(settings.envs):
            threading.Thread(target=self._play, args=(env_index,), daemon=True, name=f"env-{env_index}").start()

    def collect(self, weights: Weights | None, timeout: float) -> Delivery:
        """Hands over what has finished; waits at most `timeout` seconds for the first episode.

        weights: newer ones, or None to go on with those that the runner has.
        """
        if weights is not None:
            self._policy = weights.policy()
            self._policy_arrived.set()
        items = self._take(timeout)
        return Delivery(
            [item for item in items if isinstance(item, Episode)],
            [item for item in items if isinstance(item, Failure)],
            sum(self._steps),
            self._longest_busy(),
            self._memory.read(),
            [item for item in items if isinstance(item, LeftOut)],
        )

    def _take(self, timeout: float) -> list[Item]:
        """One item per environment at most: quick environments would go on and on to fill the answer."""
        items: list[Item] = []
        try:
            items.append(self._finished.get(timeout=timeout))
            while len(items) < self._settings.envs:
                items.append(self._finished.get_nowait())
        except queue.Empty:
            pass
        return items

    def _longest_busy(self) -> float:
        now = time.monotonic()
        return max((now - since for since in self._busy_since if since is not None), default=0.0)

    def _play(self, env_index: int) -> None:
        settings = self._settings
        key = (settings.index, settings.incarnation, env_index)
        generator = np.random.default_rng(sequence(settings.seed, Stream.WHOLE_EPISODES, *key))
        env: gym.Env | None = None
        seed: int | None = None
        number = 0
        self._policy_arrived.wait()
        while True:
            item: Item
            try:
                self._busy_since[env_index] = time.monotonic()
                if env is None:
                    env = settings.make_env()
                    # Once, as gymnasium asks: its episodes are one stream from there.
                    seed = int(generator.integers(2**31))
                episode_id = EpisodeId(settings.index, settings.incarnation, env_index, number)
                number += 1
                item, seed = self._episode(env, episode_id, generator, seed), None
            except _Spoilt as spoilt:
                item, seed = LeftOut(str(spoilt)), None
            except Exception as error:  # noqa: BLE001 - the user's environment may raise anything; the collector decides
                name = f"{type(error).__name__}: {error}"
                own = error if isinstance(error, UserError) else None
                item = Failure(settings.index, env_index, name, traceback.format_exc(), own)
                _close(env)
                env = None
            self._busy_since[env_index] = None
            self._finished.put(item)
            if isinstance(item, Failure):
                time.sleep(PAUSE_AFTER_FAILURE)

    def _episode(
        self, env: gym.Env, episode_id: EpisodeId, generator: np.random.Generator, seed: int | None
    ) -> Episode:
        """Play one episode. What it keeps of the environment's arrays and infos are copies."""
        policy = self._policy
        assert policy is not None
        start = time.monotonic()
        recording = self._settings.recording
        with_steps = recording is not None and recording.records_steps(episode_id.number)
        observation, info = env.reset(seed=seed)
        observation = own_observation(observation)
        self._check(episode_id, "its reset", observation=observation)
        observations, actions, rewards, log_probabilities = [observation], [], [], []
        infos: list[dict[str, Any]] = [own_info(info)]
        over = terminated = False
        while not over:
            step = policy.act(observation, generator)
            if not math.isfinite(step.log_probability):
                raise NonFiniteNumber(f"the policy of {policy.version} updates gives {step.action} as an action")
            observation, reward, terminated, truncated, info = env.step(lent(step.for_env))
            observation = own_observation(observation)
            over = terminated or truncated
            observations.append(observation)
            actions.append(step.action)
            rewards.append(reward)
            log_probabilities.append(step.log_probability)
            self._check(episode_id, f"step {len(rewards)}", observation=observation, reward=reward)
            if with_steps:
                infos.append(own_info(info))
            self._steps[episode_id.env] += 1
            self._busy_since[episode_id.env] = time.monotonic()
        if not with_steps:
            infos.append(own_info(info))
        return Episode(
            id=episode_id,
            observations=np.stack(observations),
            actions=np.stack(actions),
            rewards=np.asarray(rewards, dtype=np.float32),
            log_probabilities=np.asarray(log_probabilities, dtype=np.float32),
            terminated=bool(terminated),
            policy_version=policy.version,
            figures=figures(info.get(EPISODE_METRICS, {}), EPISODE_METRICS),
            recorded=None if recording is None else fields_of(infos, start=0, with_steps=with_steps),
            seconds=time.monotonic() - start,
        )

    def _check(self, episode: EpisodeId, place: str, **values: Any) -> None:
        """Raises NonFiniteNumber, or _Spoilt where that is tolerated."""
        for name, value in values.items():
            if not is_finite(value):
                words = (
                    f"environment {episode.env} of runner {episode.runner}, episode {episode.number + 1}, {place}: "
                    f"{first_fault(value, name)}"
                )
                if self._settings.tolerates:
                    raise _Spoilt(words)
                raise NonFiniteNumber(f"{words}; {REMEDY}")


class _Spoilt(Exception):
    """An episode with a number that is not finite, where that is tolerated."""


def _close(env: gym.Env | None) -> None:
    """An environment that failed may hold a process, a port or a licence."""
    if env is None:
        return
    try:
        env.close()
    except Exception:
        logger.warning("an environment that failed could not be closed either", exc_info=True)


class _MemoryReading:
    """Private memory of this process, read at most every few seconds (a reading walks the page tables)."""

    def __init__(self) -> None:
        self._at = -math.inf
        self._bytes: int | None = None

    def read(self) -> int | None:
        if time.monotonic() - self._at >= MEMORY_EVERY:
            self._at = time.monotonic()
            self._bytes = private_memory()
        return self._bytes


def private_memory() -> int | None:
    """Bytes that only this process uses (what its end would free); None where the system does not tell."""
    try:
        with open("/proc/self/smaps_rollup") as lines:
            fields = dict(line.split(":", 1) for line in lines if line.startswith("Private"))
    except OSError:
        return None
    return sum(int(value.split()[0]) * 1024 for value in fields.values())
