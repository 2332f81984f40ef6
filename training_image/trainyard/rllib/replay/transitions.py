"""Steps of episodes in flat arrays, and the transitions over n of them.

An episode of k steps takes k + 1 rows: one for each observation, the last one without an action. Each row knows the
row of the observation that follows, so an observation is stored once, and episodes of several environments may lie
between each other. Which steps are in the store, and what a transition over n steps is, follow RLlib's episode replay
buffers: the oldest episode goes as a whole when there are more steps than the capacity, and a step after that begins a
new episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
FIRST_ROWS = 1024
NONE = -1


@dataclass
class _Episode:
    """number: counts episodes. first, tail: rows of its first and last observation. steps: all rows but the tail."""

    number: int
    first: int
    tail: int
    steps: int


@dataclass(frozen=True)
class Chunk:
    """Consecutive steps of one episode: k actions and rewards between k + 1 observations."""

    episode_id: str
    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]
    terminated: bool = False
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class Walk:
    """What follows n steps of each start row, or fewer where the episode ends earlier.

    steps: how many there were. rewards: their discounted sum (float64). last: the row of the last of them.
    """

    steps: NDArray[np.int64]
    rewards: NDArray[np.float64]
    last: Rows


class TransitionStore:
    """Rows of steps, allocated as they come; freed ones are used again."""

    def __init__(self) -> None:
        self._episodes: dict[str, _Episode] = {}
        self._columns: dict[str, NDArray[Any]] = {}
        self._next = np.full(FIRST_ROWS, NONE, np.int64)
        # Steps lie densely in `_live`, so that a step is drawn with one index.
        self._live = np.empty(FIRST_ROWS, np.int64)
        self._place = np.full(FIRST_ROWS, NONE, np.int64)
        self._number = np.full(FIRST_ROWS, NONE, np.int64)
        self._steps = 0
        self._begun = 0
        self._used = 0
        self._free: list[int] = []

    def __len__(self) -> int:
        """Steps."""
        return self._steps

    @property
    def episodes(self) -> int:
        return len(self._episodes)

    @property
    def rows(self) -> int:
        """Rows for which there is room."""
        return len(self._next)

    @property
    def live(self) -> Rows:
        """The rows of all steps, in no order."""
        return self._live[: self._steps]

    def __contains__(self, episode_id: str) -> bool:
        return episode_id in self._episodes

    def append(self, chunk: Chunk) -> Rows:
        """Store a chunk behind what is there of its episode; returns the rows of its steps."""
        count = len(chunk)
        if not self._columns:
            self._make_columns(chunk)
        episode = self._episodes.get(chunk.episode_id)
        if episode is None:
            rows = self._allocate(count + 1)
            episode = _Episode(self._begun, int(rows[0]), int(rows[-1]), count)
            self._episodes[chunk.episode_id] = episode
            self._begun += 1
        else:
            # What was the tail is a step now; its observation is the chunk's first one.
            rows = np.empty(count + 1, np.int64)
            rows[0], rows[1:] = episode.tail, self._allocate(count)
            episode.tail, episode.steps = int(rows[-1]), episode.steps + count
        steps = rows[:-1]
        self._next[steps] = rows[1:]
        self._next[rows[-1]] = NONE
        self._number[steps] = episode.number
        columns = self._columns
        columns["observations"][rows] = chunk.observations
        columns["actions"][steps] = chunk.actions
        columns["rewards"][steps] = chunk.rewards
        columns["terminated"][steps] = False
        columns["truncated"][steps] = False
        if count:
            columns["terminated"][steps[-1]] = chunk.terminated
            columns["truncated"][steps[-1]] = chunk.truncated
        self._live[self._steps : self._steps + count] = steps
        self._place[steps] = np.arange(self._steps, self._steps + count)
        self._steps += count
        return steps

    def remove_oldest(self) -> Rows:
        """Remove the episode that was begun first; returns the rows that its steps had."""
        episode = self._episodes.pop(next(iter(self._episodes)))
        rows = self._rows_of(episode)
        self._free.extend(rows.tolist())
        steps = rows[:-1]
        # The last of the live rows take the places of those that go.
        kept = self._steps - len(steps)
        places = self._place[steps]
        self._place[steps] = NONE
        moving = self._live[kept : self._steps]
        moving = moving[self._place[moving] != NONE]
        holes = places[places < kept]
        self._live[holes] = moving
        self._place[moving] = holes
        self._steps = kept
        return steps

    def walk(self, rows: Rows, n_step: NDArray[np.int64], gamma: float) -> Walk:
        """Up to n_step steps from each of `rows`."""
        last = rows
        steps = np.ones(len(rows), np.int64)
        rewards = self._columns["rewards"][rows].copy()
        for step in range(1, int(n_step.max(initial=1))):
            following = self._next[last]
            going = (self._next[following] != NONE) & (n_step > step) & (steps == step)
            last = np.where(going, following, last)
            rewards += np.where(going, gamma**step * self._columns["rewards"][following], 0.0)
            steps += going
        return Walk(steps, rewards, last)

    def has_steps(self, n_step: int) -> bool:
        """Whether any episode has n_step steps."""
        return any(episode.steps >= n_step for episode in self._episodes.values())

    def column(self, name: str, rows: Rows) -> NDArray[Any]:
        """observations, actions, rewards, terminated or truncated of rows."""
        return self._columns[name][rows]

    def numbers(self, rows: Rows) -> NDArray[np.int64]:
        """A number for each step, the same for steps of one episode."""
        return self._number[rows]

    def next_observations(self, rows: Rows) -> NDArray[Any]:
        return self._columns["observations"][self._next[rows]]

    @property
    def nbytes(self) -> int:
        """What `arrays` takes, less the ids and lengths of the episodes."""
        per_row = {name: column.nbytes // len(column) for name, column in self._columns.items()}
        return per_row.pop("observations", 0) * (self._steps + self.episodes) + sum(per_row.values()) * self._steps

    def arrays(self) -> tuple[dict[str, NDArray[Any]], Rows]:
        """Everything, oldest episode first, as arrays for `load`; and the row of each step in their order."""
        if not self._columns:
            return {}, np.empty(0, np.int64)
        found = [self._rows_of(episode) for episode in self._episodes.values()]
        rows = np.concatenate(found)
        steps = np.concatenate([some[:-1] for some in found])
        arrays = {name: column[steps] for name, column in self._columns.items() if name != "observations"}
        arrays["observations"] = self._columns["observations"][rows]
        arrays["lengths"] = np.array([len(some) - 1 for some in found])
        arrays["episode_ids"] = np.array(list(self._episodes))
        return arrays, steps

    def load(self, arrays: Mapping[str, NDArray[Any]]) -> Rows:
        """Take the content of `arrays` into an empty store; returns the row of each step in their order."""
        if self._episodes:
            raise ValueError("the store is not empty")
        if "lengths" not in arrays:
            return np.empty(0, np.int64)
        found, step, row = [], 0, 0
        for episode_id, length in zip(arrays["episode_ids"].tolist(), arrays["lengths"].tolist(), strict=True):
            steps = slice(step, step + length)
            chunk = Chunk(
                episode_id,
                arrays["observations"][row : row + length + 1],
                arrays["actions"][steps],
                arrays["rewards"][steps],
                bool(arrays["terminated"][steps][-1]) if length else False,
                bool(arrays["truncated"][steps][-1]) if length else False,
            )
            found.append(self.append(chunk))
            step, row = step + length, row + length + 1
        return np.concatenate(found)

    def _rows_of(self, episode: _Episode) -> Rows:
        rows = np.empty(episode.steps + 1, np.int64)
        row = episode.first
        for index in range(len(rows)):
            rows[index] = row
            row = int(self._next[row])
        return rows

    def _make_columns(self, chunk: Chunk) -> None:
        for name, values in (("observations", chunk.observations), ("actions", chunk.actions)):
            self._columns[name] = np.empty((self.rows, *values.shape[1:]), values.dtype)
        self._columns["rewards"] = np.zeros(self.rows)
        self._columns["terminated"] = np.zeros(self.rows, bool)
        self._columns["truncated"] = np.zeros(self.rows, bool)

    def _allocate(self, count: int) -> Rows:
        again = min(count, len(self._free))
        rows = np.empty(count, np.int64)
        if again:
            rows[:again] = self._free[-again:]
            del self._free[-again:]
        fresh = count - again
        rows[again:] = np.arange(self._used, self._used + fresh)
        self._used += fresh
        if self._used > self.rows:
            self._grow(self._used)
        return rows

    def _grow(self, rows: int) -> None:
        size = self.rows
        while size < rows:
            size *= 2
        self._next = _longer(self._next, size)
        self._live = _longer(self._live, size)
        self._place = _longer(self._place, size)
        self._number = _longer(self._number, size)
        self._columns = {name: _longer(column, size) for name, column in self._columns.items()}


def _longer(values: NDArray[Any], size: int) -> NDArray[Any]:
    longer = np.empty((size, *values.shape[1:]), values.dtype)
    longer[: len(values)] = values
    return longer
