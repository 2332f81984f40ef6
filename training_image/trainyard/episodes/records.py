"""The data for the recorder: plain, and cheap to make on an env runner and to send."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

import numpy as np

from trainyard.spec.sections import Specification

MAIN_TRIAL = "main"

Kind = Literal["train", "validation", "test"]
StepsMode = Literal["Off", "Sampled", "All"]


@dataclass(frozen=True)
class RunRecord:
    """The run and this attempt at it.

    Attributes:
        identity: the run's uid; of a run without one, a name that later attempts have too.
        restored_position: position that the checkpoint remembers; None for a start from nothing.
        is_search: its trials register themselves as they begin; a run without a search is the one trial `main`.
    """

    identity: str
    name: str
    namespace: str
    uid: str
    seed: int
    specification: dict[str, Any]
    versions: dict[str, str]
    cluster_attempt: int
    submission: int
    job_id: str
    hostname: str
    restored_iteration: int = 0
    restored_position: int | None = None
    is_search: bool = False


@dataclass(frozen=True)
class TrialRecord:
    """A trial in this attempt; what a checkpoint of its own gave it, as in `RunRecord`."""

    trial: str = MAIN_TRIAL
    parameters: dict[str, Any] = field(default_factory=dict)
    restored_iteration: int = 0
    restored_position: int | None = None


@dataclass(frozen=True)
class Settings:
    """What env runners record of an episode.

    Attributes:
        steps: of no episode, of some, or of all.
        fraction: of the episodes of each environment whose steps are recorded with ``Sampled``.
    """

    steps: StepsMode = "Off"
    fraction: float = 0.1

    def records_steps(self, n: int) -> bool:
        """Whether the steps of an environment's n-th episode (from 0) are recorded; never drawn at random."""
        if self.steps == "Sampled":
            return int(n * self.fraction) > int((n - 1) * self.fraction) if n else True
        return self.steps == "All"


@dataclass(frozen=True)
class Source:
    """Where episodes were played. ``incarnation`` counts the processes that were this runner in this attempt."""

    trial: str
    kind: Kind
    runner: int
    incarnation: int


class Trade(NamedTuple):
    """``t`` is the step of the episode; the rest is what the environment put into ``info["trades"]``."""

    t: int
    n: int
    date: str | None
    symbol: str
    quantity: float
    price: float
    cost: float


# The same as a plain tuple, which is several times quicker to make and to pickle.
TradeValues = tuple[int, int, str | None, str, float, float, float]


class Chunk(NamedTuple):
    """Consecutive steps of one episode.

    Attributes:
        env, n: number of the environment in the source, and number of the episode in the environment, both from 0.
        start: ``t`` of the first step.
        length, total_reward: of this chunk.
        finished: whether the episode ends with it; ``terminated`` and ``figures`` are then set.
        episode_index: global number of the episode where the environment gives one.
        actions, rewards: of every step, shape (length, ...), where the steps of this episode are recorded, else None.
        dates, values: of market environments.
    """

    env: int
    n: int
    start: int
    length: int
    total_reward: float
    finished: bool
    terminated: bool
    policy_version: int | None = None
    episode_index: int | None = None
    context: list[float] | None = None
    figures: dict[str, float] | None = None
    actions: np.ndarray | None = None
    rewards: np.ndarray | None = None
    dates: list[str] | None = None
    values: np.ndarray | None = None
    trades: Sequence[TradeValues] = ()


# Fields of a chunk that are arrays over its steps. Those of one source have the same type and shape.
_ARRAYS = ("actions", "rewards", "values")


@dataclass(frozen=True)
class Batch:
    """Chunks of one source, in the order in which they were played."""

    source: Source
    chunks: list[Chunk]

    @property
    def steps(self) -> int:
        return sum(chunk.length for chunk in self.chunks)

    def packed(self) -> bytes:
        """For Ray, which pickles bytes as they are and other objects with calls into Python: four times slower.

        Column by column: an array or a list is pickled in a fraction of the time that as many small objects take.
        """
        columns: dict[str, Any] = {name: [getattr(chunk, name) for chunk in self.chunks] for name in Chunk._fields}
        for name in _ARRAYS:
            given = [array for array in columns[name] if array is not None]
            columns[name] = [array is not None for array in columns[name]], np.concatenate(given) if given else None
        trades = list(chain.from_iterable(columns["trades"]))
        columns["trades"] = [len(some) for some in columns["trades"]], list(zip(*trades, strict=True))
        return pickle.dumps((self.source, columns), pickle.HIGHEST_PROTOCOL)

    @staticmethod
    def unpacked(packed: bytes) -> Batch:
        source, columns = pickle.loads(packed)
        assert isinstance(source, Source)
        for name in _ARRAYS:
            columns[name] = list(_separated(columns["length"], *columns[name]))
        counts, trades = columns["trades"]
        each = zip(*trades, strict=True)
        columns["trades"] = [list(islice(each, count)) for count in counts]
        return Batch(source, [Chunk(*fields) for fields in zip(*columns.values(), strict=True)])


def _separated(lengths: list[int], given: list[bool], joined: np.ndarray | None) -> Iterator[np.ndarray | None]:
    """Views of an array that was joined from some of the chunks' own, in place of these."""
    end = 0
    for is_given, length in zip(given, lengths, strict=True):
        if joined is None or not is_given:
            yield None
        else:
            yield joined[end : (end := end + length)]


def settings_of(specification: Specification) -> Settings:
    recording = specification.recording
    if recording is None:
        return Settings()
    return Settings(recording.steps, recording.sample_fraction)
