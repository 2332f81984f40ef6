"""RLlib's uniform and prioritised episode replay buffers on flat arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from ray.rllib.utils.replay_buffers.episode_replay_buffer import EpisodeReplayBuffer

from trainyard.episodes.finite import first_fault
from trainyard.errors import NonFiniteNumber
from trainyard.rllib.replay.priorities import PriorityTree
from trainyard.rllib.replay.transitions import Chunk, Rows, TransitionStore, Walk

NStep = int | tuple[int, int]
"""Steps per transition; of a pair, uniformly one that is at least the first and below the second."""

WEIGHTS = "weights"
N_STEP = "n_step"
SMALLEST_PRIORITY = 1e-12
FRUITLESS_DRAWS = 100


class FlatReplayBuffer(EpisodeReplayBuffer):
    """Uniform replay, as RLlib's EpisodeReplayBuffer.

    Same steps kept, same transitions with the same probability, same metrics; `sample` returns what the loss reads
    instead of episode objects.

    Within n_step steps of an episode's end a transition is shorter. Its `n_step`, the power of the discount in the
    target, is the steps that it has, and it is terminated where the episode is. RLlib 2.60 keeps the asked power and
    drops `terminated` there (and, with an n_step of 4 or more, makes batches longer than asked): its targets go on
    beyond the end. With an n_step of 1 there is no difference.
    """

    def __init__(
        self,
        capacity: int = 10000,
        *,
        seed: int | None = None,
        metrics_num_episodes_for_smoothing: int = 100,
        **kwargs: Any,
    ) -> None:
        # RLlib's constructor makes the lists that this class does without.
        self.capacity = capacity
        self.rng = np.random.default_rng(seed)
        self.metrics = MetricsLogger(root=False)
        self.sampled_timesteps = 0
        self._metrics_num_episodes_for_smoothing = metrics_num_episodes_for_smoothing
        self._store = TransitionStore()
        self._num_timesteps_added = 0
        self._num_episodes_evicted = 0
        self._since_metrics = _Since()

    def __len__(self) -> int:
        return len(self._store)

    def add(self, episodes: list[SingleAgentEpisode] | SingleAgentEpisode) -> None:
        """Store (parts of) episodes; what continues a stored episode is appended to it."""
        self.add_chunks(_chunks(episodes))

    def add_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Store what `add` would store of the episodes that these steps are of."""
        for chunk in chunks:
            self._append(chunk)
            self._evict()
        self._since_metrics.additions += 1

    def _append(self, chunk: Chunk) -> Rows:
        self._since_metrics.episodes_added += chunk.episode_id not in self._store
        self._since_metrics.steps_added += len(chunk)
        self._num_timesteps_added += len(chunk)
        return self._store.append(chunk)

    def _evict(self) -> None:
        while len(self._store) > self.capacity and self._store.episodes > 1:
            rows = self._store.remove_oldest()
            self._forget(rows)
            self._num_episodes_evicted += 1
            self._since_metrics.episodes_evicted += 1
            self._since_metrics.steps_evicted += len(rows)

    def _forget(self, rows: Rows) -> None:
        """The steps of these rows are gone."""

    def sample(
        self, num_items: int, *, n_step: NStep = 1, gamma: float = 0.99, beta: float | None = None, **kwargs: Any
    ) -> dict[str, NDArray[Any]]:
        """Draw transitions (o_t, a_t, discounted rewards, o_t+n, ...).

        Returns: column names, as RLlib's learner connectors would make them, to arrays with num_items rows.
        """
        rows, walk = self._draw(num_items, n_step, gamma)
        store = self._store
        batch = {
            Columns.OBS: store.column("observations", rows),
            Columns.NEXT_OBS: store.next_observations(walk.last),
            Columns.ACTIONS: store.column("actions", rows),
            Columns.REWARDS: walk.rewards.astype(np.float32),
            Columns.TERMINATEDS: store.column("terminated", walk.last),
            Columns.TRUNCATEDS: store.column("truncated", walk.last),
            WEIGHTS: self._importance_weights(rows, beta or 0.0),
            N_STEP: walk.steps,
        }
        self.sampled_timesteps += num_items
        self._since_metrics.sampled(rows, store.numbers(rows), walk.steps)
        return batch

    def _draw(self, count: int, n_step: NStep, gamma: float) -> tuple[Rows, Walk]:
        rows = self._store.live[self.rng.integers(len(self._store), size=count)]
        return rows, self._store.walk(rows, self._n_steps(n_step, count), gamma)

    def _n_steps(self, n_step: NStep, count: int) -> NDArray[np.int64]:
        if isinstance(n_step, int):
            return np.full(count, n_step)
        return self.rng.integers(*n_step, size=count)

    def _importance_weights(self, rows: Rows, beta: float) -> NDArray[np.float32]:
        return np.ones(len(rows), np.float32)

    def get_num_episodes(self, module_id: str | None = None) -> int:
        return self._store.episodes

    def get_num_timesteps(self, module_id: str | None = None) -> int:
        return len(self._store)

    def get_metrics(self) -> Any:
        """RLlib's metrics of everything since the last call."""
        self._since_metrics.log(self)
        self._since_metrics = _Since()
        return self.metrics.reduce()

    def can_sample(self, n_step: NStep) -> bool:
        """Whether there is a transition over n_step steps."""
        return len(self._store) > 0

    @property
    def nbytes(self) -> int:
        """Bytes that `get_state` takes, about."""
        return self._store.nbytes

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything but the random generator, as arrays (no object needs pickle)."""
        arrays, rows = self._store.arrays()
        counters = [self._num_timesteps_added, self._num_episodes_evicted, self.sampled_timesteps]
        return arrays | self._state_of(rows) | {"counters": np.array(counters)}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state; the steps that were in this buffer are dropped."""
        self._store = TransitionStore()
        rows = self._store.load(state)
        self._set_state_of(rows, state)
        self._num_timesteps_added, self._num_episodes_evicted, self.sampled_timesteps = state["counters"].tolist()

    def _state_of(self, rows: Rows) -> dict[str, NDArray[Any]]:
        return {}

    def _set_state_of(self, rows: Rows, state: Mapping[str, NDArray[Any]]) -> None:
        pass


class FlatPrioritizedReplayBuffer(FlatReplayBuffer):
    """Replay in proportion to the last TD error, as RLlib's PrioritizedEpisodeReplayBuffer.

    A step from which the episode has fewer than n_step further ones is drawn again.
    """

    def __init__(self, capacity: int = 10000, *, alpha: float = 1.0, **kwargs: Any) -> None:
        if alpha < 0:
            raise ValueError(f"replay_buffer_config.alpha is {alpha}; it must be 0 or more")
        super().__init__(capacity, **kwargs)
        self._alpha = alpha
        self._max_priority = 1.0
        self._tree = PriorityTree(self._store.rows)
        self._last_rows: Rows = np.empty(0, np.int64)

    def add_chunks(self, chunks: Sequence[Chunk]) -> None:
        """Store steps; new ones get the highest priority that was seen."""
        for chunk in chunks:
            rows = self._append(chunk)
            if len(self._tree) < self._store.rows:
                self._tree.grow(self._store.rows)
            self._tree.set(rows, np.full(len(rows), self._max_priority**self._alpha))
        # RLlib evicts once per call, so that parts of one episode that come together go together.
        self._evict()
        self._since_metrics.additions += 1

    def _forget(self, rows: Rows) -> None:
        self._tree.remove(rows)

    def _draw(self, count: int, n_step: NStep, gamma: float) -> tuple[Rows, Walk]:
        found: list[tuple[Rows, NDArray[np.int64]]] = []
        missing, fruitless = count, 0
        while missing:
            rows = self._tree.find(self.rng.random(missing) * self._tree.total)
            n_steps = self._n_steps(n_step, missing)
            whole = self._store.walk(rows, n_steps, gamma).steps == n_steps
            self._since_metrics.resamples += int((~whole).sum())
            fruitless = 0 if whole.any() else fruitless + 1
            if fruitless >= FRUITLESS_DRAWS and not self.can_sample(n_step):
                raise ValueError(
                    f"n_step is {n_step}, and no episode in the replay buffer has as many steps; lower n_step or raise "
                    "num_steps_sampled_before_learning_starts"
                )
            found.append((rows[whole], n_steps[whole]))
            missing -= int(whole.sum())
        self._last_rows = np.concatenate([rows for rows, _ in found])
        n_steps = np.concatenate([some for _, some in found])
        return self._last_rows, self._store.walk(self._last_rows, n_steps, gamma)

    def _importance_weights(self, rows: Rows, beta: float) -> NDArray[np.float32]:
        # (N p)^-beta over its maximum, which the smallest priority has; N and the sum of all priorities cancel.
        return ((self._tree.of(rows) / self._tree.minimum) ** -beta).astype(np.float32)

    def can_sample(self, n_step: NStep) -> bool:
        return self._store.has_steps(int(np.min(n_step)))

    def update_priorities(self, priorities: NDArray[Any], module_id: str | None = None) -> None:
        """Set the priorities (absolute TD errors) of the transitions that were sampled last.

        Raises:
            NonFiniteNumber: one of them is not finite: its row alone would be drawn from then on.
        """
        if not np.isfinite(priorities).all():
            raise NonFiniteNumber(f"replay buffer: {first_fault(np.asarray(priorities), 'the priority')}")
        if len(priorities) != len(self._last_rows):
            raise ValueError(f"{len(priorities)} priorities for {len(self._last_rows)} sampled transitions")
        values = np.maximum(np.asarray(priorities, np.float64), SMALLEST_PRIORITY)
        self._tree.set(self._last_rows, values**self._alpha)
        self._max_priority = max(self._max_priority, float(values.max()))
        self._last_rows = np.empty(0, np.int64)

    def _state_of(self, rows: Rows) -> dict[str, NDArray[Any]]:
        return {"priorities": self._tree.of(rows), "max_priority": np.array(self._max_priority)}

    def _set_state_of(self, rows: Rows, state: Mapping[str, NDArray[Any]]) -> None:
        self._max_priority = float(state["max_priority"])
        self._tree = PriorityTree(self._store.rows)
        self._tree.set(rows, state["priorities"])
        self._last_rows = np.empty(0, np.int64)


class _Since:
    """Sums since the metrics were last asked for, so that an update need not log 40 values."""

    def __init__(self) -> None:
        self.additions = self.episodes_added = self.steps_added = self.episodes_evicted = self.steps_evicted = 0
        self.samples = self.steps_sampled = self.n_steps = self.resamples = 0
        self.distinct_episodes = self.distinct_steps = 0

    def sampled(self, rows: Rows, episodes: NDArray[np.int64], n_steps: NDArray[np.int64]) -> None:
        self.samples += 1
        self.steps_sampled += len(rows)
        self.n_steps += int(n_steps.sum())
        self.distinct_episodes += len(set(episodes.tolist()))
        self.distinct_steps += len(set(rows.tolist()))

    def log(self, buffer: FlatReplayBuffer) -> None:
        if self.additions:
            buffer._update_add_metrics(
                num_episodes_added=self.episodes_added,
                num_env_steps_added=self.steps_added,
                num_episodes_evicted=self.episodes_evicted,
                num_env_steps_evicted=self.steps_evicted,
                **_by_agent("num_episodes_added", self.episodes_added),
                **_by_agent("num_steps_added", self.steps_added),
                **_by_agent("num_episodes_evicted", self.episodes_evicted),
                **_by_agent("num_steps_evicted", self.steps_evicted),
            )
        if self.samples:
            n_step = self.n_steps / self.steps_sampled
            buffer._update_sample_metrics(
                num_env_steps_sampled=self.steps_sampled,
                num_episodes_per_sample=self.distinct_episodes,
                num_env_steps_per_sample=self.distinct_steps,
                sampled_n_step=n_step,
                num_resamples=self.resamples,
                **_by_agent("num_steps_sampled", self.steps_sampled),
                **_by_agent("num_episodes_per_sample", self.distinct_episodes),
                **_by_agent("num_steps_per_sample", self.distinct_steps),
                **_by_agent("sampled_n_step", n_step),
                **_by_agent("num_resamples", self.resamples),
            )


def _by_agent(name: str, value: float) -> dict[str, dict[str, float]]:
    """RLlib's arguments for a figure of the only agent and of its module."""
    return {f"agent_to_{name}": {DEFAULT_AGENT_ID: value}, f"module_to_{name}": {DEFAULT_MODULE_ID: value}}


def _chunks(episodes: list[SingleAgentEpisode] | SingleAgentEpisode) -> list[Chunk]:
    given = [episodes] if isinstance(episodes, SingleAgentEpisode) else episodes
    return [
        Chunk(
            episode.id_,
            np.asarray(episode.get_observations()),
            np.asarray(episode.get_actions()),
            np.asarray(episode.get_rewards(), np.float64),
            episode.is_terminated,
            episode.is_truncated,
        )
        for episode in given
    ]
