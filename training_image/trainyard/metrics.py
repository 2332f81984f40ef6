"""The names of metrics, and the test whether a value counts. docs/metrics.md explains each name."""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

TRAIN_RETURN_MEAN = "train/return_mean"
TRAIN_RETURN_MIN = "train/return_min"
TRAIN_RETURN_MAX = "train/return_max"
TRAIN_FRESH_RETURN_MEAN = "train/fresh_return_mean"
TRAIN_EPISODE_LENGTH_MEAN = "train/episode_length_mean"
TRAIN_LOSS = "train/loss"
TRAIN_EPISODES = "train/episodes"
TIME_ENV_STEPS = "time/env_steps"
TIME_ITERATION = "time/iteration"
TIME_SECONDS = "time/seconds"
ENV_STEPS_PER_SECOND = "perf/env_steps_per_s"
EPISODES_PER_SECOND = "perf/episodes_per_s"
POLICY_LAG = "perf/policy_lag"

VALIDATION = "validation/"
TEST = "test/"
RLLIB = "rllib/"

# Name under which env runners log finished episodes, and of the numbers that an environment gives for an episode in
# the last info of it.
EPISODES = "trainyard_episodes"
EPISODE_METRICS = "episode_metrics"

# Mean return, minimum and maximum are over this many finished episodes, from all runners.
WINDOW_EPISODES = 100

Metrics = dict[str, float]


def is_finite_number(value: Any) -> bool:
    """Whether `value` counts: a real, finite number. A missing or NaN value never stops a run and is never the best."""
    if isinstance(value, bool) or value is None:
        return False
    try:
        return math.isfinite(value)
    except (TypeError, ValueError, OverflowError):
        return False


def finite(metrics: Mapping[str, Any]) -> Metrics:
    """Keep the entries of `metrics` that are finite numbers, as plain Python numbers."""
    return {name: _plain(value) for name, value in metrics.items() if is_finite_number(value)}


def _plain(value: Any) -> float:
    return value if type(value) in (int, float) else getattr(value, "item", lambda: float(value))()


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Metrics:
    """Flatten nested mappings to `a/b/c` names, keeping numbers only (NaN included)."""
    flat: Metrics = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, name + "/"))
        elif not isinstance(value, bool | str) and hasattr(value, "__float__"):
            try:
                flat[name] = _plain(value)
            except (TypeError, ValueError):  # an array of several values is not one metric
                continue
    return flat


def better(value: float, than: float | None, mode: str, min_delta: float = 0.0) -> bool:
    """Whether `value` is better than `than` by more than `min_delta`; every finite value is better than None."""
    if not is_finite_number(value):
        return False
    if than is None:
        return True
    return value > than + min_delta if mode == "max" else value < than - min_delta


class EpisodeWindow:
    """The last finished episodes over all env runners, and how many there were in all.

    RLlib's own `episode_return_mean` covers only the episodes that finished in one iteration (NaN when none did), and
    with several runners it is a mean of means; this window is neither.
    """

    def __init__(self, size: int = WINDOW_EPISODES) -> None:
        self._episodes: deque[Mapping[str, float]] = deque(maxlen=size)
        self.finished = 0

    def add(self, episodes: Iterable[Mapping[str, float]]) -> None:
        """Add finished episodes: `return`, `length` and any figures that the environment gave for the episode."""
        for episode in episodes:
            self._episodes.append(dict(episode))
            self.finished += 1

    def metrics(self) -> Metrics:
        """Return `train/...` over the window; no return before the first episode has finished."""
        metrics: Metrics = {TRAIN_EPISODES: self.finished}
        summary = summarise(self._episodes)
        return metrics | {f"train/{name}": value for name, value in summary.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": list(self._episodes), "finished": self.finished}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._episodes.clear()
        self._episodes.extend(state["episodes"])
        self.finished = state["finished"]


def summarise(episodes: Iterable[Mapping[str, float]]) -> Metrics:
    """Return `return_mean|min|max`, `episode_length_mean` and the mean of every figure that the environment gave."""
    columns: dict[str, list[float]] = {}
    for episode in episodes:
        for name, value in finite(episode).items():
            columns.setdefault(name, []).append(value)
    summary: Metrics = {}
    for name, values in columns.items():
        mean = math.fsum(values) / len(values)
        if name == "return":
            summary |= {"return_mean": mean, "return_min": min(values), "return_max": max(values)}
        elif name == "length":
            summary["episode_length_mean"] = mean
        else:
            summary[name] = mean
    return summary
