"""Trading one asset: short, flat or long; or buy, hold and sell.

An action is decided on the close of a row and executed at that close, slippage and cost included; its reward comes
from the next row's close. The definitions for users are in docs/environments.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from trainyard.environments.market.base import Market, MarketOptions, Trade
from trainyard.environments.market.features import CLIP
from trainyard.environments.market.rewards import Reward
from trainyard.environments.market.simulation import Infos, MarketEnv, MarketVectorEnv, Simulation
from trainyard.environments.options import PREFIX, check_choice, check_number, read_options
from trainyard.errors import InvalidConfiguration

# An account at or below this share of its initial value is ruined and its episode terminated; a short position can
# lose more than everything.
RUIN = 1e-3


@dataclass(frozen=True, kw_only=True)
class TradingOptions(MarketOptions):
    """Configuration of ``trading``; docs/environments.md describes each field."""

    asset: str | None = None
    actions: str = "positions"
    allow_short: bool | None = None
    slippage: float = 0.0005

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("actions", self.actions, ("positions", "orders"))
        check_number("slippage", self.slippage, 0.0, 0.5)
        if self.allow_short not in (None, True, False):
            raise InvalidConfiguration.of(
                f"{PREFIX}.allow_short", f"{self.allow_short!r} is no boolean", "use true or false"
            )

    @property
    def lowest_level(self) -> int:
        """-1 where short positions are allowed (by default with ``positions`` only), else 0."""
        allowed = self.actions == "positions" if self.allow_short is None else self.allow_short
        return -1 if allowed else 0


class TradingSimulation(Simulation):
    """Accounts that hold cash and units of one asset."""

    def __init__(self, options: TradingOptions, count: int = 1) -> None:
        market = Market(options, None if options.asset is None else [options.asset], key="asset")
        if len(market.assets) != 1:
            raise InvalidConfiguration.of(
                f"{PREFIX}.asset",
                f"the data has {len(market.assets)} assets",
                f"name one of {', '.join(market.assets)}",
            )
        super().__init__(market, options, count)
        self._options = options
        self._close = np.ascontiguousarray(market.close[:, 0])
        levels = 1 - options.lowest_level + 1
        self.action_space = spaces.Discrete(levels if options.actions == "positions" else 3)
        bounds = np.full(market.observation_size + 2, CLIP, dtype=np.float32)
        self.observation_space = spaces.Box(-bounds, bounds, dtype=np.float32)
        self._reward = Reward(
            options.reward,
            count,
            sharpe_rate=options.sharpe_rate,
            sharpe_volatility=options.sharpe_volatility,
            risk_aversion=options.risk_aversion,
        )
        self._buy_price = 1 + options.slippage
        self._sell_price = 1 - options.slippage
        # What a unit of value costs to buy and to sell, slippage and fee together.
        self._buy_rate = self._buy_price * (1 + options.cost) - 1
        self._sell_rate = 1 - self._sell_price * (1 - options.cost)
        self._cash = np.full(count, float(options.initial_value))
        self._units = np.zeros(count)
        self._level = np.zeros(count, dtype=np.int64)
        self._entry_value = self._cash.copy()
        self._traded_units = np.zeros(count)
        self._traded_price = np.zeros(count)
        self._fee = np.zeros(count)

    def _begin(self, mask: np.ndarray) -> None:
        self._cash[mask] = self._entry_value[mask] = self._options.initial_value
        for state in (self._units, self._level, self._traded_units, self._fee):
            state[mask] = 0
        self._reward.reset(mask)

    def _targets(self, actions: np.ndarray) -> np.ndarray:
        lowest = self._options.lowest_level
        if self._options.actions == "positions":
            return actions.astype(np.int64) + lowest
        return np.clip(self._level + actions.astype(np.int64) - 1, lowest, 1)

    def _trade_to(self, target: np.ndarray, price: np.ndarray) -> None:
        """Trade to target times the account's value after costs; accounts that keep their level do not trade."""
        exposure = self._units * price
        buying = target > self._level
        # After buying d of value, the account is worth value - buy_rate * d; solved for exposure = target * that.
        bought = target * (self.value + self._buy_rate * exposure) / (1 + target * self._buy_rate)
        sold = target * (self.value - self._sell_rate * exposure) / (1 - target * self._sell_rate)
        changed = np.where(buying, bought, sold) - exposure
        changed[target == self._level] = 0.0
        self._traded_units = changed / price
        self._traded_price = price * np.where(buying, self._buy_price, self._sell_price)
        self._fee = self._options.cost * np.abs(self._traded_units) * self._traded_price
        self.turnover = np.abs(changed) / self.value
        self._cash -= self._traded_units * self._traded_price + self._fee
        self._units += self._traded_units

    def _step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        target = self._targets(actions)
        before = self.value.copy()
        self._trade_to(target, self._close[self.clock.row])
        np.copyto(self._entry_value, before, where=target != self._level)
        self._level = target
        truncated = self.clock.advance()
        ruin = RUIN * self._options.initial_value
        self.value = np.maximum(self._cash + self._units * self._close[self.clock.row], ruin)
        terminated = self.value <= ruin
        return self._reward(before, self.value), terminated, truncated & ~terminated

    def observe(self) -> np.ndarray:
        observation = np.empty((self.count, self.observation_space.shape[0]), dtype=np.float32)
        self.market.observe(self.clock.row, observation[:, :-2])
        observation[:, -2] = self._level
        # Tenths: an open position's gain of 10 % reads 0.95.
        observation[:, -1] = np.clip(10 * np.log(self.value / self._entry_value), -CLIP, CLIP) * (self._level != 0)
        return observation

    def _position(self) -> Infos:
        return {"price": self._close[self.clock.row], "position": self._level.copy()}

    def _trades(self, index: int) -> tuple[Trade, ...]:
        units, price, fee = self._traded_units[index], self._traded_price[index], self._fee[index]
        return (Trade(self.market.assets[0], float(units), float(price), float(fee)),)


class TradingEnv(MarketEnv):
    """``trading`` as a single Gymnasium environment; keyword arguments are the fields of :class:`TradingOptions`."""

    def __init__(self, **config: Any) -> None:
        super().__init__(TradingSimulation(read_options(TradingOptions, config)))


class TradingVectorEnv(MarketVectorEnv):
    """``num_envs`` trading environments stepped together."""

    def __init__(self, num_envs: int, **config: Any) -> None:
        super().__init__(TradingSimulation(read_options(TradingOptions, config), num_envs))


def create(config: Mapping[str, Any]) -> TradingEnv | TradingVectorEnv:
    """Make the environment of a configuration; with ``num_envs`` in it, the vectorised one."""
    if "num_envs" in config:
        return TradingVectorEnv(**dict(config))
    return TradingEnv(**dict(config))
