"""The names of metrics, and the test whether a value counts. docs/metrics.md explains each name."""

import logging
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

TRAIN_RETURN_MEAN = "train/return_mean"
TRAIN_RETURN_MIN = "train/return_min"
TRAIN_RETURN_MAX = "train/return_max"
TRAIN_FRESH_RETURN_MEAN = "train/fresh_return_mean"
TRAIN_EPISODE_LENGTH_MEAN = "train/episode_length_mean"
TRAIN_LOSS = "train/loss"
TRAIN_EPISODES = "train/episodes"
NON_FINITE_EPISODES = "non_finite_episodes"
CUT_EPISODES = "cut_episodes"
TRAIN_NON_FINITE = f"train/{NON_FINITE_EPISODES}"
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
# In place of a finished episode's figures: a number of it was not finite, and it was left out.
NON_FINITE = "non_finite"

# Mean return, minimum and maximum are over this many finished episodes, from all runners.
WINDOW_EPISODES = 100

Metrics = dict[str, float]

logger = logging.getLogger(__name__)
_told: set[str] = set()


def as_number(value: Any) -> int | float | None:
    """`value` as a plain number, also if it is NaN or infinite; None if it is not a number.

    Numbers are those of Python, scalars of numpy and torch, and arrays and tensors of exactly one element. Booleans and
    texts are not numbers.
    """
    if isinstance(value, int | float) and type(value) in (int, float):
        return value
    if value is None or isinstance(value, bool | str | bytes | Mapping):
        return None
    try:
        plain = value.item() if hasattr(value, "item") else value
        if isinstance(plain, bool | str | bytes):
            return None
        return plain if type(plain) in (int, float) else float(plain)
    except (TypeError, ValueError, RuntimeError, OverflowError):  # several values; RuntimeError is torch's word for it
        return None


def is_finite_number(value: Any) -> bool:
    """Whether `value` counts: a real, finite number. A missing or NaN value never stops a run and is never the best."""
    number = as_number(value)
    try:
        return number is not None and math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def finite(metrics: Mapping[str, Any]) -> Metrics:
    """Keep the entries of `metrics` that are finite numbers, as plain Python numbers."""
    numbers = ((name, as_number(value)) for name, value in metrics.items())
    return {name: number for name, number in numbers if number is not None and is_finite_number(number)}


def no_numbers(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The entries of `metrics` that are no numbers, finite or not, by their type: `array of shape (4,)`.

    Texts, booleans and None are left out: they are notes, and nobody takes them for metrics.
    """
    found = {name: value for name, value in metrics.items() if as_number(value) is None}
    return {name: _kind(value) for name, value in found.items() if not isinstance(value, bool | str | None)}


def figures(given: Any, source: str) -> Metrics:
    """The finite numbers of what an environment or a program gives, as `finite`; a process tells of the rest once."""
    if not isinstance(given, Mapping):
        _tell_once(f"{source} is a {type(given).__name__}: give a dictionary of numbers")
        return {}
    for name, kind in no_numbers(given).items():
        _tell_once(f"{source}: {name!r} is no metric, because it is {kind}: give one number")
    return finite(given)


def _tell_once(message: str) -> None:
    if message not in _told:
        _told.add(message)
        logger.warning("%s", message)


def _kind(value: Any) -> str:
    shape = getattr(value, "shape", None)
    name = type(value).__name__
    return f"{name} of shape {tuple(shape)}" if isinstance(shape, Sequence) else name


def flatten(nested: Mapping[str, Any], prefix: str = "") -> Metrics:
    """Flatten nested mappings to `a/b/c` names, keeping numbers only (NaN included)."""
    flat: Metrics = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat.update(flatten(value, name + "/"))
        elif (number := as_number(value)) is not None:
            flat[name] = number
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
        self.left_out = 0

    def add(self, episodes: Iterable[Mapping[str, float]]) -> None:
        """Add finished episodes: `return`, `length` and any figures that the environment gave for the episode.

        One with a number that is not finite counts, and is in no mean; so is one whose return is none.
        """
        for episode in episodes:
            self.finished += 1
            if NON_FINITE in episode or not is_finite_number(episode["return"]):
                self.left_out += 1
            else:
                self._episodes.append(dict(episode))

    def metrics(self) -> Metrics:
        """Return `train/...` over the window; no return before the first episode has finished."""
        metrics: Metrics = {TRAIN_EPISODES: self.finished}
        if self.left_out:
            metrics[TRAIN_NON_FINITE] = self.left_out
        summary = summarise(self._episodes)
        return metrics | {f"train/{name}": value for name, value in summary.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"episodes": list(self._episodes), "finished": self.finished, "left_out": self.left_out}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._episodes.clear()
        self._episodes.extend(state["episodes"])
        self.finished = state["finished"]
        self.left_out = state.get("left_out", 0)  # not in a checkpoint of an earlier version


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
