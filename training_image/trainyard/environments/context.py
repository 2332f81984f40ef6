"""Order-conditioned policies: every episode has a context vector that the policy observes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from trainyard.errors import InvalidConfiguration
from trainyard.loading import load

KINDS = ("permutation", "uniform", "choice")

ContextReward = Callable[[np.ndarray, float, np.ndarray, Any, dict[str, Any]], float]


def priorities(order: Sequence[int]) -> np.ndarray:
    """Encode an order of items as their priorities: 1 for the first down to 1/n for the last.

    Args:
        order: the n items, each once, first to last; ``[2, 0, 1]`` means item 2 first.

    Returns:
        float32, shape (n,): the priority of item 0, of item 1, ...
    """
    count = len(order)
    encoded = np.empty(count, dtype=np.float32)
    encoded[np.asarray(order)] = (count - np.arange(count)) / count
    return encoded


class ContextWrapper(gymnasium.Wrapper[np.ndarray, Any, Any, Any]):
    """Draws a context at every reset, appends it to the observation and puts it into ``info["context"]``.

    The environment also gets it, as ``options["context"]`` of reset(), and may use it in its reward; or ``reward``
    computes the reward from it.

    Args:
        env: environment whose observation space can be flattened to one Box.
        kind: ``permutation`` (an order of ``size`` items, encoded by :func:`priorities`), ``uniform`` (``size``
            numbers from 0 to 1) or ``choice`` (one of ``values``).
        size: length of the context.
        values: the vectors of ``choice``, all of one length and within -1 to 1.
        fixed: this context in every episode, for instance in an evaluation.
        reward: ``package.module:function`` or a function called with (context, reward, observation, action, info)
            that returns the reward.

    Raises:
        InvalidConfiguration: a fault's field is the argument; :func:`trainyard.environments.registry.wrap` knows where
            in the specification that was written.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        kind: str = "permutation",
        size: int | None = None,
        values: Sequence[Sequence[float]] | None = None,
        fixed: Sequence[float] | None = None,
        reward: str | ContextReward | None = None,
    ) -> None:
        super().__init__(env)
        if kind not in KINDS:
            raise InvalidConfiguration.of("kind", f"{kind!r} is unknown", f"use one of {', '.join(KINDS)}")
        self._kind = kind
        self._values = _value_table(values) if kind == "choice" else None
        self._size = self._values.shape[1] if self._values is not None else _checked_size(size)
        self._fixed = None if fixed is None else _vector(fixed, self._size, "fixed")
        self._reward = load(reward, "reward") if isinstance(reward, str) else reward
        self._random = np.random.default_rng()
        self._context = np.zeros(self._size, dtype=np.float32)
        inner = spaces.flatten_space(env.observation_space)
        if not isinstance(inner, spaces.Box):
            raise InvalidConfiguration.of(
                "", f"the observation space {env.observation_space} cannot be flattened", "wrap it before"
            )
        low = -1.0 if kind == "choice" else 0.0
        self.observation_space = spaces.Box(
            np.concatenate([inner.low, np.full(self._size, low)]).astype(np.float32),
            np.concatenate([inner.high, np.ones(self._size)]).astype(np.float32),
            dtype=np.float32,
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is not None:
            # A stream of its own: the environment draws from the bare seed.
            self._random = np.random.default_rng([seed, 1])
        given = (options or {}).get("context")
        self._context = self._draw() if given is None else _vector(given, self._size, 'options["context"]')
        observation, info = self.env.reset(seed=seed, options={**(options or {}), "context": self._context.copy()})
        return self._with_context(observation), {**info, "context": self._context.copy()}

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._reward is not None:
            reward = float(self._reward(self._context, float(reward), observation, action, info))
        info = {**info, "context": self._context.copy()}
        return self._with_context(observation), reward, terminated, truncated, info

    def _draw(self) -> np.ndarray:
        if self._fixed is not None:
            return self._fixed.copy()
        if self._kind == "permutation":
            return priorities(self._random.permutation(self._size).tolist())
        if self._values is not None:
            return self._values[self._random.integers(len(self._values))].copy()
        return self._random.random(self._size, dtype=np.float32)

    def _with_context(self, observation: Any) -> np.ndarray:
        flat = spaces.flatten(self.env.observation_space, observation)
        return np.concatenate([np.asarray(flat, dtype=np.float32), self._context])


def _checked_size(size: Any) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidConfiguration.of("size", f"is {size!r}", "give the length of the context, 1 or more")
    return size


def _value_table(values: Any) -> np.ndarray:
    try:
        table = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        table = np.empty(0, dtype=np.float32)
    if table.ndim != 2 or not table.size or np.abs(table).max() > 1:
        raise InvalidConfiguration.of(
            "values", f"is {values!r}", "list vectors of one length with numbers from -1 to 1"
        )
    return table


def _vector(given: Any, size: int, argument: str) -> np.ndarray:
    try:
        vector = np.asarray(given, dtype=np.float32)
    except (TypeError, ValueError):
        vector = np.empty(0, dtype=np.float32)
    if vector.shape != (size,):
        raise InvalidConfiguration.of(argument, f"is {given!r}", f"give {size} numbers")
    return vector
