"""The code on the env runners: it turns finished samples into batches for the recorder.

Everything is read from the episodes after a sample() instead of step by step: RLlib has collected them already, and a
Python call per step would cost more than the rest of the recording.
"""

from __future__ import annotations

import time
import weakref
from typing import Any

import numpy as np
import ray
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from trainyard.episodes.infos import fields_of
from trainyard.episodes.records import MAIN_TRIAL, Batch, Chunk, Settings, Source
from trainyard.metrics import EPISODE_METRICS, finite
from trainyard.recording.actor import ACTOR_NAME
from trainyard.rllib.env_runner import EnvRunner

# A runner sends when it has collected this much: one call to the recorder for many small samples (DQN's have a step).
SEND_STEPS = 1_000
SEND_SECONDS = 1.0

# The recording callback of each env runner of this process.
_of_runner: weakref.WeakKeyDictionary[EnvRunner, RecordEpisodes] = weakref.WeakKeyDictionary()


class RecordEpisodes(RLlibCallback):
    """Sends an env runner's samples to the recorder, in order, with at most one batch under way.

    A recorder that fails makes the next sample() fail, and the run with it: there are no silent gaps.

    Args:
        trial: the trial to which the episodes belong.
    """

    def __init__(self, trial: str = MAIN_TRIAL) -> None:
        self._trial = trial
        self._recorder: Any = None
        self._settings = Settings()
        self._source: Source | None = None
        # RLlib's random id of each episode that may still be sampled -> environment.
        self._env_of: dict[str, int] = {}
        self._latest: dict[int, str] = {}
        self._n: dict[int, int] = {}
        self._number_of: dict[str, int] = {}
        self._chunks: list[Chunk] = []
        self._steps = 0
        self._sent_at = time.monotonic()
        self._on_its_way: Any = None

    def on_episode_created(self, *, episode: Any, env_runner: EnvRunner, env_index: int, **kwargs: Any) -> None:
        self._env_of[episode.id_] = env_index
        self._latest[env_index] = episode.id_

    def on_sample_end(self, *, env_runner: EnvRunner, samples: list[SingleAgentEpisode], **kwargs: Any) -> None:
        if self._recorder is None:
            self._join(env_runner)
        for episode in samples:
            if not env_runner.is_left_out(episode):
                self._take(episode)
        self._forget_abandoned()
        if self._steps >= SEND_STEPS or time.monotonic() - self._sent_at >= SEND_SECONDS:
            self.send()

    def send(self) -> None:
        """Send the collected data when the recorder has accepted the previous batch."""
        self._sent_at = time.monotonic()
        if self._on_its_way is not None:
            ray.get(self._on_its_way)
            self._on_its_way = None
        if self._chunks:
            assert self._source is not None
            self._on_its_way = self._recorder.add_packed.remote(Batch(self._source, self._chunks).packed())
            self._chunks, self._steps = [], 0

    def flush(self) -> None:
        """Send the collected data and wait until the recorder has it."""
        self.send()
        self.send()

    def _join(self, env_runner: EnvRunner) -> None:
        self._recorder = ray.get_actor(ACTOR_NAME)
        index = env_runner.worker_index or 0
        incarnation, self._settings = ray.get(self._recorder.join.remote(self._trial, "train", index))
        self._source = Source(self._trial, "train", index, incarnation)
        _of_runner[env_runner] = self

    def _take(self, episode: SingleAgentEpisode) -> None:
        if len(episode) == 0:
            return
        env = self._env_of[episode.id_]
        n = self._number_of.get(episode.id_)
        if n is None:
            n = self._number_of[episode.id_] = self._n.get(env, 0)
            self._n[env] = n + 1
        self._chunks.append(chunk_of(episode, env, n, with_steps=self._settings.records_steps(n)))
        self._steps += len(episode)

    def _forget_abandoned(self) -> None:
        """Only the latest episode of each environment continues."""
        going_on = set(self._latest.values())
        for table in (self._env_of, self._number_of):
            for finished in [key for key in table if key not in going_on]:
                del table[finished]


def flush_runner(env_runner: EnvRunner) -> None:
    """Flush the recording callback of an env runner; for ``EnvRunnerGroup.foreach_env_runner``."""
    callback = _of_runner.get(env_runner)
    if callback is not None:
        callback.flush()


def chunk_of(episode: SingleAgentEpisode, env: int, n: int, *, with_steps: bool) -> Chunk:
    """Read the data for the recorder from an episode, or from the part of an episode that a sample() returned."""
    rewards = np.asarray(_own(episode.rewards), dtype=np.float64)
    infos = _own(episode.infos)
    finished = bool(episode.is_done)
    versions = episode.extra_model_outputs.get(WEIGHTS_SEQ_NO)
    return Chunk(
        env=env,
        n=n,
        start=episode.t_started,
        length=len(rewards),
        total_reward=float(rewards.sum()),
        finished=finished,
        terminated=bool(episode.is_terminated),
        policy_version=int(versions.data[-1]) if versions else None,
        figures=finite((infos[-1] or {}).get(EPISODE_METRICS, {})) or None if finished else None,
        actions=np.asarray(_own(episode.actions)) if with_steps else None,
        rewards=rewards if with_steps else None,
        **fields_of(infos, start=episode.t_started, with_steps=with_steps),
    )


def _own(buffer: InfiniteLookbackBuffer) -> Any:
    """A buffer's content after its lookback, without calling its `get`, which is slow for many short episodes."""
    return buffer.data[buffer.lookback :]
