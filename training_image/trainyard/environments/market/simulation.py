"""Batched simulations and the two Gymnasium environments made of any of them: single and vectorised.

The arithmetic of a market environment is written once, for a batch. The single environment is a batch of one, so the
two cannot differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from trainyard.environments.market.base import EpisodeClock, Market, MarketOptions, Trade, infos_of

Infos = dict[str, np.ndarray]


class EpisodeFigures:
    """An account's figures since its episode began: the numbers of ``info["episode_metrics"]`` at its end.

    Risk figures over whole value series (Sharpe, Sortino, ...) are computed where they are asked for, by
    ``trainyard.environments.market.performance``.
    """

    def __init__(self, count: int, initial_value: float) -> None:
        self._initial_value = initial_value
        self._peak = np.full(count, initial_value)
        self._deepest = np.zeros(count)
        self._turnover = np.zeros(count)

    def begin(self, mask: np.ndarray) -> None:
        self._peak[mask] = self._initial_value
        self._deepest[mask] = self._turnover[mask] = 0.0

    def add(self, value: np.ndarray, turnover: np.ndarray) -> None:
        np.maximum(self._peak, value, out=self._peak)
        np.maximum(self._deepest, 1 - value / self._peak, out=self._deepest)
        self._turnover += turnover

    def of(self, index: int, value: float) -> dict[str, float]:
        return {
            "total_return": value / self._initial_value - 1,
            "max_drawdown": float(self._deepest[index]),
            "episode_turnover": float(self._turnover[index]),
        }


class Simulation(ABC):
    """The state of ``count`` independent environments and how one step changes it."""

    observation_space: gymnasium.spaces.Box
    action_space: gymnasium.Space[Any]

    def __init__(self, market: Market, options: MarketOptions, count: int) -> None:
        self.market = market
        self.count = count
        self.clock = EpisodeClock(market, count)
        self.value = np.full(count, float(options.initial_value))
        self.turnover = np.zeros(count)
        self._initial_value = float(options.initial_value)
        self._figures = EpisodeFigures(count, self._initial_value)
        self._ended = np.zeros(count, dtype=bool)
        self._periods_per_year = np.full(count, float(options.periods_per_year))
        self._everyone = np.ones(count, dtype=bool)

    def begin(self, mask: np.ndarray) -> None:
        """Start a new episode in the environments of a boolean mask, shape (count,)."""
        self.clock.start(mask)
        self._figures.begin(mask)
        self.value[mask] = self._initial_value
        self.turnover[mask] = 0.0
        self._ended[mask] = False
        self._begin(mask)

    @abstractmethod
    def _begin(self, mask: np.ndarray) -> None: ...

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Act in every environment; return rewards, terminated and truncated, each of shape (count,).

        An environment whose episode is over may be stepped once more: the result means nothing and is finite.
        """
        rewards, terminated, truncated = self._step(actions)
        self._figures.add(self.value, self.turnover)
        self._ended = terminated | truncated
        return rewards, terminated, truncated

    @abstractmethod
    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Trade, go on by one row, set ``value`` (positive) and ``turnover``."""

    @abstractmethod
    def observe(self) -> np.ndarray:
        """Return new observations, float32, shape (count, size)."""

    def infos(self) -> Infos:
        """Return the current info of every environment, ``_key`` masks included (gymnasium's vector convention)."""
        infos: Infos = {
            "date": np.array([self.market.dates[row] for row in self.clock.row], dtype=object),
            "portfolio_value": self.value.copy(),
            "turnover": self.turnover.copy(),
            "periods_per_year": self._periods_per_year,
        } | self._position()
        infos |= {f"_{key}": self._everyone for key in infos}
        self._add_some(infos, "trades", self.turnover > 0, self._trades)
        self._add_some(infos, "episode_metrics", self._ended, self._episode_metrics)
        return infos

    def _add_some(self, infos: Infos, key: str, mask: np.ndarray, value_of: Callable[[int], Any]) -> None:
        if mask.any():
            values = np.empty(self.count, dtype=object)
            for index in np.flatnonzero(mask):
                values[index] = value_of(int(index))
            infos[key], infos[f"_{key}"] = values, mask

    def _episode_metrics(self, index: int) -> dict[str, float]:
        return self._figures.of(index, float(self.value[index]))

    @abstractmethod
    def _position(self) -> Infos:
        """What is held, without masks."""

    @abstractmethod
    def _trades(self, index: int) -> tuple[Trade, ...]:
        """The trades of one environment's last action."""


class MarketEnv(gymnasium.Env[np.ndarray, Any]):
    """One environment of a simulation."""

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.observation_space = simulation.observation_space
        self.action_space = simulation.action_space
        self._mask = np.ones(1, dtype=bool)

    @property
    def market(self) -> Market:
        return self._simulation.market

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._simulation.clock.seed([seed])
        self._simulation.begin(self._mask)
        return self._simulation.observe()[0], infos_of(self._simulation.infos(), 0)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        rewards, terminated, truncated = self._simulation.step(np.asarray(action)[None])
        observation = self._simulation.observe()[0]
        info = infos_of(self._simulation.infos(), 0)
        return observation, float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info


class MarketVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """All environments of a simulation, stepped together; an ended one is reset by the next step (reward 0)."""

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium declares it so
    takes_seeds = True
    """`reset` takes a seed for each environment, as gymnasium's SyncVectorEnv does."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self.num_envs = simulation.count
        self.single_observation_space = simulation.observation_space
        self.single_action_space = simulation.action_space
        self.observation_space = batch_space(simulation.observation_space, simulation.count)
        self.action_space = batch_space(simulation.action_space, simulation.count)
        self._ended = np.zeros(simulation.count, dtype=bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Infos]:
        if seed is None or isinstance(seed, int):
            seeds: Sequence[int | None] = [None if seed is None else seed + index for index in range(self.num_envs)]
        else:
            seeds = list(seed)
        self._simulation.clock.seed(seeds)
        self._ended[:] = False
        self._simulation.begin(~self._ended)
        return self._simulation.observe(), self._simulation.infos()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        rewards, terminated, truncated = self._simulation.step(np.asarray(actions))
        if self._ended.any():
            restarted = self._ended.copy()
            self._simulation.begin(restarted)
            rewards[restarted] = 0.0
            terminated[restarted] = False
            truncated[restarted] = False
        self._ended = terminated | truncated
        return self._simulation.observe(), rewards, terminated, truncated, self._simulation.infos()
