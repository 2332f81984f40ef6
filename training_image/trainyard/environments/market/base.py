"""The common part of the market environments: prices, features, a window on them, episodes on a range of dates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from gymnasium.utils import seeding
from numpy.lib.stride_tricks import sliding_window_view

from trainyard.environments.market.features import FEATURES, feature_table, warm_up
from trainyard.environments.market.prices import PriceTable, load_prices
from trainyard.environments.market.rewards import REWARDS
from trainyard.environments.options import PREFIX, check_choice, check_integer, check_number
from trainyard.errors import InvalidConfiguration


class Trade(NamedTuple):
    """One trade, as environments list them in ``info["trades"]``.

    Attributes:
        symbol: the asset.
        quantity: units bought (positive) or sold (negative).
        price: price paid or received per unit, slippage included.
        cost: fee, in the portfolio's currency; slippage is in the price.
    """

    symbol: str
    quantity: float
    price: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class MarketOptions:
    """Configuration that ``trading`` and ``portfolio`` have in common; docs/environments.md describes each."""

    data: Any = "sp500"
    start: Any = None
    end: Any = None
    window: int = 10
    features: Sequence[str] = field(default=("return_1", "return_5", "return_20", "trend", "volatility"))
    episode_length: int = 0
    random_start: bool = True
    initial_value: float = 10_000.0
    cost: float = 0.001
    reward: str = "log_return"
    sharpe_rate: float = 0.01
    sharpe_volatility: float = 0.01
    risk_aversion: float = 1.0
    periods_per_year: float = 252.0

    def __post_init__(self) -> None:
        check_integer("window", self.window, 1, 10_000)
        if isinstance(self.features, str) or not isinstance(self.features, Sequence) or not self.features:
            raise InvalidConfiguration.of(
                f"{PREFIX}.features", f"{self.features!r} is not a list of names", f"list some of {', '.join(FEATURES)}"
            )
        for name in self.features:
            check_choice("features", name, tuple(FEATURES))
        check_integer("episode_length", self.episode_length, 0)
        if not isinstance(self.random_start, bool):
            raise InvalidConfiguration.of(
                f"{PREFIX}.random_start", f"{self.random_start!r} is no boolean", "use true or false"
            )
        check_number("initial_value", self.initial_value, 1e-6)
        check_number("cost", self.cost, 0.0, 0.5)
        check_choice("reward", self.reward, REWARDS)
        check_number("sharpe_rate", self.sharpe_rate, 1e-6, 1.0)
        check_number("sharpe_volatility", self.sharpe_volatility, 1e-6, 1.0)
        check_number("risk_aversion", self.risk_aversion, 0.0)
        check_number("periods_per_year", self.periods_per_year, 1.0)


class Market:
    """Prices of the chosen assets, their observed features, and the rows on which an episode may act.

    Attributes:
        close: float64, shape (rows, assets): the whole data, so that features at the start of a range look back
            into the time before it (never forward).
        dates: ISO dates of the rows.
        first: first row on which an action is taken.
        last: last row of the range, where the last action's outcome is valued.
    """

    def __init__(self, options: MarketOptions, assets: Sequence[str] | None, key: str = "assets") -> None:
        """Take these assets of the data (None: all); ``key`` of the configuration names them."""
        table = load_prices(options.data)
        if assets is not None:
            table = table.select(assets, f"{PREFIX}.{key}")
        self.table: PriceTable = table
        self.assets = table.assets
        self.close = table.close
        self.dates = np.datetime_as_string(table.dates, unit=_resolution(table.dates)).tolist()
        begin, self.last = table.rows_between(options.start, options.end)
        history = warm_up(options.features) + options.window - 1
        self.first = max(begin, history)
        self._refuse_short_range(options, history)
        windows = sliding_window_view(feature_table(self.close, options.features), options.window, axis=0)
        # (rows - window + 1, features, window) -> oldest row of the window first
        self._windows = windows.transpose(0, 2, 1)
        self._window = options.window
        self.observation_size = options.window * windows.shape[1]
        self.episode_length = options.episode_length or self.last - self.first
        self._random_start = options.random_start and self.episode_length < self.last - self.first

    def _refuse_short_range(self, options: MarketOptions, history: int) -> None:
        actions = self.last - self.first
        if actions < max(1, options.episode_length):
            name = "episode_length" if actions >= 1 else "end"
            raise InvalidConfiguration.of(
                f"{PREFIX}.{name}",
                f"the range has room for {max(actions, 0)} actions, and an episode needs "
                f"{max(1, options.episode_length)} (window and features look back {history} rows)",
                "choose a longer range, a shorter episode_length or window, or earlier data",
            )

    def observe(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the windows that end with ``rows``, shape (count,), into ``out``, shape (count, observation_size)."""
        out[:] = self._windows[rows - self._window + 1].reshape(len(rows), -1)

    def draw_start(self, random: np.random.Generator) -> int:
        """Draw the first row of an episode (always the same one without random starts)."""
        if not self._random_start:
            return self.first
        return int(random.integers(self.first, self.last - self.episode_length + 1))


class EpisodeClock:
    """Rows and random generators of a batch of environments.

    Environment i of a batch that is seeded with s draws exactly what a single environment seeded with s + i draws.
    """

    def __init__(self, market: Market, count: int) -> None:
        self._market = market
        self._random: list[np.random.Generator | None] = [None] * count
        self.row = np.full(count, market.first)
        self._end = np.full(count, market.last)

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Take a seed for each environment; None keeps its generator (a fresh one from the system at first)."""
        for index, seed in enumerate(seeds):
            if seed is not None or self._random[index] is None:
                self._random[index] = seeding.np_random(seed)[0]

    def start(self, mask: np.ndarray) -> None:
        """Begin a new episode in the environments of a boolean mask."""
        for index in np.flatnonzero(mask):
            random = self._random[index]
            if random is None:
                raise RuntimeError("step() before reset()")
            self.row[index] = self._market.draw_start(random)
            self._end[index] = self.row[index] + self._market.episode_length

    def advance(self) -> np.ndarray:
        """Advance by one row (stay there at the episode's end); return which episodes are over."""
        np.minimum(self.row + 1, self._end, out=self.row)
        return self.row >= self._end


def infos_of(infos: Mapping[str, np.ndarray], index: int) -> dict[str, Any]:
    """Cut one environment's info out of a batch's, whose keys ``_key`` say who has ``key``."""
    return {key: values[index] for key, values in infos.items() if key[0] != "_" and infos[f"_{key}"][index]}


def _resolution(dates: np.ndarray) -> Literal["D", "s"]:
    whole_days = dates == dates.astype("datetime64[D]")
    return "D" if whole_days.all() else "s"
