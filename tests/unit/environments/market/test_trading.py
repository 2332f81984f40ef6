"""The trading environment: its accounting by hand, and what Gymnasium and a fair back-test ask of it."""

import math

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from trainyard.environments.market.performance import of_infos
from trainyard.environments.market.trading import TradingEnv, TradingVectorEnv
from trainyard.errors import InvalidConfiguration

SHORT, FLAT, LONG = 0, 1, 2
SELL, HOLD, BUY = 0, 1, 2
CONFIG = {"asset": "KO", "start": "1990-01-01", "end": "2017-12-31", "episode_length": 50}


@pytest.fixture
def flat_then(price_file):
    """An environment whose first action is at price 100 and whose next prices are given (no look-back beyond it)."""

    def make(prices, **config):
        path = price_file({"A": [100.0, *prices]})
        # relative_strength of 14 rows would need history: a feature without warm-up keeps the arithmetic in view.
        return TradingEnv(
            **{"data": path, "window": 1, "features": ["test_constant"], "slippage": 0.0, "cost": 0.0} | config
        )

    return make


@pytest.fixture(autouse=True)
def constant_feature(monkeypatch):
    from trainyard.environments.market import features

    table = features.FEATURES | {"test_constant": features.Feature(0, np.zeros_like)}
    monkeypatch.setattr(features, "FEATURES", table)
    monkeypatch.setattr("trainyard.environments.market.base.FEATURES", table)


def play(env, actions, seed=0):
    """Play actions from a reset; return the steps' results."""
    env.reset(seed=seed)
    return [env.step(action) for action in actions]


class TestAccounting:
    def test_a_long_position_earns_the_return_of_the_price(self, flat_then):
        ((_, reward, _, truncated, info),) = play(flat_then([110.0]), [LONG])
        assert info["portfolio_value"] == pytest.approx(11_000)
        assert reward == pytest.approx(math.log(1.1))
        assert truncated

    def test_a_short_position_loses_when_the_price_rises(self, flat_then):
        ((_, reward, _, _, info),) = play(flat_then([110.0]), [SHORT])
        assert info["portfolio_value"] == pytest.approx(9_000)
        assert reward == pytest.approx(math.log(0.9))

    def test_flat_earns_nothing(self, flat_then):
        ((_, reward, _, _, info),) = play(flat_then([50.0]), [FLAT])
        assert reward == 0
        assert info["portfolio_value"] == 10_000

    def test_a_held_short_is_not_rebalanced(self, flat_then):
        # 100 units sold at 100; at 90 the account has 11,000, at 80 12,000: the units stay 100.
        results = play(flat_then([90.0, 80.0]), [SHORT, SHORT])
        assert [result[4]["portfolio_value"] for result in results] == pytest.approx([11_000, 12_000])
        assert results[1][4]["turnover"] == 0

    def test_buying_all_pays_slippage_in_the_price_and_the_fee_on_what_is_paid(self, flat_then):
        env = flat_then([100.0], cost=0.01, slippage=0.02)
        ((_, reward, _, _, info),) = play(env, [LONG])
        units = 10_000 / (100 * 1.02 * 1.01)
        assert info["portfolio_value"] == pytest.approx(units * 100)
        assert reward == pytest.approx(-math.log(1.02 * 1.01))
        (trade,) = info["trades"]
        assert trade.symbol == "A"
        assert trade.quantity == pytest.approx(units)
        assert trade.price == pytest.approx(102)
        assert trade.cost == pytest.approx(0.01 * units * 102)

    def test_a_round_trip_costs_both_ways(self, flat_then):
        env = flat_then([100.0, 100.0], cost=0.01, slippage=0.02)
        results = play(env, [LONG, FLAT])
        expected = 10_000 / (1.02 * 1.01) * 0.98 * 0.99
        assert results[-1][4]["portfolio_value"] == pytest.approx(expected)

    def test_going_short_after_costs_leaves_an_exposure_of_the_whole_account(self, flat_then):
        env = flat_then([100.0, 50.0], cost=0.01, slippage=0.0)
        first, second = play(env, [SHORT, SHORT])
        value = first[4]["portfolio_value"]
        # sold e of value at a fee of 1 %: value = 10,000 - 0.01 e and e = value
        assert value == pytest.approx(10_000 / 1.01)
        assert second[4]["portfolio_value"] == pytest.approx(value * 1.5)

    def test_orders_move_one_level_and_stop_at_the_ends(self, flat_then):
        env = flat_then([100.0] * 6, actions="orders", allow_short=True)
        results = play(env, [BUY, BUY, SELL, SELL, SELL, HOLD])
        assert [result[4]["position"] for result in results] == [1, 1, 0, -1, -1, -1]

    def test_orders_do_not_go_short_by_default(self, flat_then):
        results = play(flat_then([100.0] * 2, actions="orders"), [SELL, BUY])
        assert [result[4]["position"] for result in results] == [0, 1]

    def test_a_short_position_that_loses_everything_terminates_the_episode(self, flat_then):
        ((_, reward, terminated, truncated, info),) = play(flat_then([250.0]), [SHORT])
        assert terminated
        assert not truncated
        assert info["portfolio_value"] > 0
        assert reward == pytest.approx(math.log(1e-3))


class TestEpisodeMetrics:
    def test_the_last_info_sums_the_episode_up(self, flat_then):
        # 10,000 -> 12,000 -> 9,000 -> 11,000 with one purchase of the whole account
        results = play(flat_then([120.0, 90.0, 110.0]), [LONG] * 3)
        assert ["episode_metrics" in result[4] for result in results] == [False, False, True]
        figures = results[-1][4]["episode_metrics"]
        assert figures == pytest.approx({"total_return": 0.1, "max_drawdown": 0.25, "episode_turnover": 1.0})

    def test_the_figures_of_an_episode_come_from_its_infos(self, flat_then):
        env = flat_then([120.0, 90.0, 110.0], periods_per_year=3)
        infos = [env.reset(seed=0)[1], *(env.step(LONG)[4] for _ in range(3))]
        figures = of_infos(infos)
        assert figures["cagr"] == pytest.approx(0.1)
        assert figures["max_drawdown"] == pytest.approx(0.25)
        assert figures["turnover"] == pytest.approx(1.0)

    def test_an_environment_without_money_has_no_figures(self):
        assert of_infos([{}, {"x": 1}]) == {}


class TestGymnasium:
    @pytest.mark.parametrize("actions", ["positions", "orders"])
    def test_the_environment_checker_has_no_complaint(self, actions, recwarn):
        check_env(TradingEnv(**CONFIG, actions=actions), skip_render_check=True)
        assert [str(warning.message) for warning in recwarn] == []

    def test_the_same_seed_gives_the_same_episode(self):
        env = TradingEnv(**CONFIG)
        actions = np.random.default_rng(0).integers(0, 3, 50)
        first, second, other = play(env, actions, 7), play(env, actions, 7), play(env, actions, 8)
        assert all(np.array_equal(a[0], b[0]) and a[1] == b[1] for a, b in zip(first, second, strict=True))
        assert first[0][4]["date"] != other[0][4]["date"]

    def test_the_vectorised_environment_equals_single_ones_seeded_one_apart(self):
        count, steps = 3, 120
        vector = TradingVectorEnv(count, **CONFIG)
        singles = [TradingEnv(**CONFIG) for _ in range(count)]
        actions = np.random.default_rng(1).integers(0, 3, (steps, count))
        observations, _ = vector.reset(seed=5)
        for index, env in enumerate(singles):
            assert np.array_equal(env.reset(seed=5 + index)[0], observations[index])
        ended = [False] * count
        for step in range(steps):
            observations, rewards, _, truncated, infos = vector.step(actions[step])
            for index, env in enumerate(singles):
                if ended[index]:
                    observation, info = env.reset()
                    reward, over = 0.0, False
                else:
                    observation, reward, _, over, info = env.step(actions[step, index])
                ended[index] = over
                assert np.array_equal(observation, observations[index])
                assert reward == rewards[index]
                assert over == truncated[index]
                assert info["date"] == infos["date"][index]
                assert ("trades" in info) == bool(infos.get("_trades", np.zeros(count))[index])

    def test_an_episode_is_truncated_at_its_length_and_not_terminated(self):
        results = play(TradingEnv(**CONFIG), [FLAT] * 50)
        assert [result[3] for result in results] == [False] * 49 + [True]
        assert not any(result[2] for result in results)

    def test_every_observation_is_finite_and_inside_the_space(self):
        env = TradingEnv(**CONFIG)
        for result in play(env, np.random.default_rng(0).integers(0, 3, 50)):
            assert env.observation_space.contains(result[0])


class TestNoLookAhead:
    @pytest.mark.parametrize(
        ("changed_row", "left_out"),
        # The drawdown looks back a year, so that its first row is behind the first two.
        [(150, {"drawdown"}), (199, {"drawdown"}), (300, set()), (399, set())],
    )
    def test_changing_the_future_changes_no_earlier_observation(self, price_file, random_walk, changed_row, left_out):
        from trainyard.environments.market.features import FEATURES

        prices = random_walk(rows=400)
        future = prices.copy()
        future[changed_row:] *= np.random.default_rng(1).uniform(0.5, 2.0, 400 - changed_row)
        config = {
            "features": [name for name in FEATURES if name not in {"test_constant", *left_out}],
            "random_start": False,
        }
        envs = [
            TradingEnv(data=price_file({"A": values}, name=f"{index}.csv"), **config)
            for index, values in enumerate((prices, future))
        ]
        first_row = envs[0].market.first
        observations = [[env.reset(seed=0)[0]] + [env.step(FLAT)[0] for _ in range(399 - first_row)] for env in envs]
        differs = [not np.array_equal(a, b) for a, b in zip(*observations, strict=True)]
        assert differs.index(True) == changed_row - first_row

    def test_the_reward_of_a_decision_needs_the_next_row_only(self, price_file, random_walk):
        prices = random_walk(rows=100)
        later = prices.copy()
        later[82:] *= 3
        config = {"features": ["return_1"], "window": 1, "random_start": False}
        rewards = []
        for index, values in enumerate((prices, later)):
            env = TradingEnv(data=price_file({"A": values}, name=f"{index}.csv"), **config)
            steps = 82 - env.market.first
            rewards.append([result[1] for result in play(env, [LONG] * steps)])
        assert rewards[0][:-1] == rewards[1][:-1]
        assert rewards[0][-1] != rewards[1][-1]


class TestConfiguration:
    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ({"widnow": 3}, ["spec.environment.config.widnow", "did you mean 'window'"]),
            ({"cost": -1}, ["config.cost", "0 to 0.5"]),
            ({"cost": "0.1"}, ["config.cost"]),
            ({"window": 2.5}, ["config.window", "whole number"]),
            ({"reward": "sharp"}, ["config.reward", "differential_sharpe"]),
            ({"features": ["retrun_1"]}, ["config.features", "did you mean 'return_1'"]),
            ({"features": "return_1"}, ["config.features", "list"]),
            ({"actions": "limit"}, ["config.actions", "positions, orders"]),
            ({"asset": "KOO"}, ["'KOO' is not in the data", "did you mean 'KO'"]),
            ({"asset": None}, ["config.asset", "20 assets"]),
            ({"end": "2023-12-31"}, ["config.end", "1990-01-02", "2022-12-28"]),
            ({"start": "1989-12-01"}, ["config.start", "1990-01-02", "2022-12-28"]),
            ({"start": "2020-01-01", "end": "2019-01-01"}, ["config.end", "before start"]),
            ({"start": "yesterday"}, ["config.start", "YYYY-MM-DD"]),
            ({"start": "2022-01-01", "end": "2022-02-01", "episode_length": 500}, ["episode_length", "room for"]),
            ({"data": "sp5000"}, ["config.data", "did you mean 'sp500'"]),
            ({"random_start": "yes"}, ["config.random_start", "true or false"]),
        ],
    )
    def test_a_fault_names_field_problem_and_remedy(self, config, words):
        with pytest.raises(InvalidConfiguration) as error:
            TradingEnv(**{"asset": "KO"} | config)
        assert all(word in str(error.value) for word in words), str(error.value)

    def test_a_file_of_the_users_is_divided_by_dates_into_training_and_validation(self, price_file, random_walk):
        data = price_file({"ACME": random_walk(1043)})  # 2020-01-01 to 2023-12-29, the last business day
        days = []
        for start, end in (("2020-01-01", "2023-01-31"), ("2023-02-01", "2023-12-31")):
            env = TradingEnv(data=data, start=start, end=end)
            _, info = env.reset(seed=0)
            days.append(info["date"])
            ended = False
            while not ended:
                _, _, _, ended, info = env.step(0)
            days.append(info["date"])
        # An observation looks back 69 rows, which training has not at the start of the data and validation has.
        assert days == ["2020-04-07", "2023-01-31", "2023-02-01", "2023-12-29"]

    def test_the_range_of_the_samples_reaches_the_last_day_of_the_data(self):
        env = TradingEnv(asset="KO", start="2020-01-01", end="2022-12-31")
        _, info = env.reset(seed=0)
        assert info["date"] == "2020-01-02"
        assert env.market.dates[env.market.last] == "2022-12-28"
