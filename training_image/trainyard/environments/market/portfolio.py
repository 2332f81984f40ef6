"""Allocating a portfolio over several assets and cash, long only.

An action becomes target weights by a softmax; the portfolio is rebalanced at the close of a row and valued at the next
one's. The definitions for users are in docs/environments.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from trainyard.environments.market.base import Market, MarketOptions, Trade
from trainyard.environments.market.features import CLIP
from trainyard.environments.market.rewards import Reward
from trainyard.environments.market.simulation import Infos, MarketEnv, MarketVectorEnv, Simulation
from trainyard.environments.options import PREFIX, check_number, read_options
from trainyard.errors import InvalidConfiguration

# A trade below this share of the portfolio is rounding, not a decision.
SMALLEST_TRADE = 1e-9


@dataclass(frozen=True, kw_only=True)
class PortfolioOptions(MarketOptions):
    """Configuration of ``portfolio``; docs/environments.md describes each field."""

    assets: Sequence[str] | None = None
    window: int = 5
    features: Sequence[str] = ("return_1", "return_20", "volatility")
    logit_scale: float = 3.0
    drawdown_penalty: float = 0.0
    cash_rate: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.assets is not None and (isinstance(self.assets, str) or not self.assets):
            raise InvalidConfiguration.of(
                f"{PREFIX}.assets", f"{self.assets!r} is not a list of names", "list the assets"
            )
        check_number("logit_scale", self.logit_scale, 1e-3, 100.0)
        check_number("drawdown_penalty", self.drawdown_penalty, 0.0)
        check_number("cash_rate", self.cash_rate, -0.5, 1.0)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Weights of the last axis: non-negative, summing to 1."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def value_after_rebalancing(holdings: np.ndarray, weights: np.ndarray, value: np.ndarray, cost: float) -> np.ndarray:
    """Value left of portfolios when the cost of rebalancing to target weights has been paid out of them.

    Solves V' = value - cost * sum_i |weights_i * V' - holdings_i| by fixed-point iteration (a contraction with
    factor at most ``cost``); compare the transaction remainder factor in Jiang, Xu and Liang, "A Deep Reinforcement
    Learning Framework for the Financial Portfolio Management Problem", 2017, section 2.3.

    Args:
        holdings: value held of each asset, cash left out, shape (count, assets).
        weights: target weights, cash left out, shape (count, assets).
        value: value before, cash included, shape (count,).
        cost: share of the traded value.
    """
    after = value
    # An error shrinks by the factor `cost` per round: 0.001 is exact to the last bit after six.
    for _ in range(6 if cost <= 0.001 else 60):
        after = value - cost * np.abs(weights * after[:, None] - holdings).sum(axis=1)
    return after


class PortfolioSimulation(Simulation):
    """Portfolios that hold cash and units of every asset."""

    def __init__(self, options: PortfolioOptions, count: int = 1) -> None:
        market = Market(options, options.assets)
        super().__init__(market, options, count)
        self._options = options
        assets = len(market.assets)
        self.action_space = spaces.Box(-1.0, 1.0, shape=(assets + 1,), dtype=np.float32)
        low = np.full(market.observation_size + assets + 1, -CLIP, dtype=np.float32)
        high = -low
        low[market.observation_size :], high[market.observation_size :] = 0.0, 1.0
        self.observation_space = spaces.Box(low, high, dtype=np.float32)
        self._reward = Reward(
            options.reward,
            count,
            sharpe_rate=options.sharpe_rate,
            sharpe_volatility=options.sharpe_volatility,
            risk_aversion=options.risk_aversion,
        )
        self._cash_growth = (1 + options.cash_rate) ** (1 / options.periods_per_year)
        self._cash = np.full(count, float(options.initial_value))
        self._units = np.zeros((count, assets))
        self._peak = self._cash.copy()
        self._traded_units = np.zeros((count, assets))
        self._traded_price = np.ones((count, assets))

    def _begin(self, mask: np.ndarray) -> None:
        self._cash[mask] = self._peak[mask] = self._options.initial_value
        self._units[mask] = self._traded_units[mask] = 0.0
        self._reward.reset(mask)

    def _rebalance(self, weights: np.ndarray, prices: np.ndarray) -> None:
        holdings = self._units * prices
        after = value_after_rebalancing(holdings, weights[:, 1:], self.value, self._options.cost)
        target = weights[:, 1:] * after[:, None]
        changed = target - holdings
        self.turnover = np.abs(changed).sum(axis=1) / self.value
        self._traded_units = changed / prices
        self._traded_price = prices
        self._units = target / prices
        self._cash = weights[:, 0] * after

    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        before, drawdown_before = self.value, 1 - self.value / self._peak
        logits = self._options.logit_scale * np.asarray(actions, dtype=np.float64)
        self._rebalance(softmax(logits), self.market.close[self.clock.row])
        truncated = self.clock.advance()
        self._cash *= self._cash_growth
        self.value = self._cash + (self._units * self.market.close[self.clock.row]).sum(axis=1)
        self._peak = np.maximum(self._peak, self.value)
        rewards = self._reward(before, self.value)
        if self._options.drawdown_penalty:
            deeper = np.maximum(1 - self.value / self._peak - drawdown_before, 0.0)
            rewards = rewards - self._options.drawdown_penalty * deeper
        return rewards, np.zeros(self.count, dtype=bool), truncated

    def _weights(self) -> np.ndarray:
        held = self._units * self.market.close[self.clock.row]
        return np.concatenate([self._cash[:, None], held], axis=1) / self.value[:, None]

    def observe(self) -> np.ndarray:
        observation = np.empty((self.count, self.observation_space.shape[0]), dtype=np.float32)
        size = self.market.observation_size
        self.market.observe(self.clock.row, observation[:, :size])
        # Rounding may leave a weight a hair outside of 0..1.
        observation[:, size:] = np.clip(self._weights(), 0.0, 1.0)
        return observation

    def _position(self) -> Infos:
        return {"weights": self._weights()}

    def _trades(self, index: int) -> tuple[Trade, ...]:
        quantities, prices = self._traded_units[index].tolist(), self._traded_price[index].tolist()
        smallest = SMALLEST_TRADE * float(self.value[index])
        return tuple(
            Trade(symbol, quantity, price, self._options.cost * abs(quantity) * price)
            for symbol, quantity, price in zip(self.market.assets, quantities, prices, strict=True)
            if abs(quantity) * price > smallest
        )


class PortfolioEnv(MarketEnv):
    """``portfolio`` as one Gymnasium environment; keyword arguments are the fields of :class:`PortfolioOptions`."""

    def __init__(self, **config: Any) -> None:
        super().__init__(PortfolioSimulation(read_options(PortfolioOptions, config)))


class PortfolioVectorEnv(MarketVectorEnv):
    """``num_envs`` portfolio environments stepped together."""

    def __init__(self, num_envs: int, **config: Any) -> None:
        super().__init__(PortfolioSimulation(read_options(PortfolioOptions, config), num_envs))


def create(config: Mapping[str, Any]) -> PortfolioEnv | PortfolioVectorEnv:
    """Make the environment of a configuration; with ``num_envs`` in it, the vectorised one."""
    if "num_envs" in config:
        return PortfolioVectorEnv(**dict(config))
    return PortfolioEnv(**dict(config))
