"""The portfolio environment: conservation of money by hand, and what Gymnasium asks of it."""

import math

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from trainyard.environments.market.benchmarks import buy_and_hold, equal_weight
from trainyard.environments.market.portfolio import PortfolioEnv, PortfolioVectorEnv, softmax, value_after_rebalancing
from trainyard.errors import InvalidConfiguration

CONFIG = {"start": "1990-01-01", "end": "2017-12-31", "episode_length": 40}


@pytest.fixture
def tiny(price_file, monkeypatch):
    """Two assets at 100 and 200, then the given prices; no look-back."""
    from trainyard.environments.market import features

    table = features.FEATURES | {"test_constant": features.Feature(0, np.zeros_like)}
    monkeypatch.setattr(features, "FEATURES", table)
    monkeypatch.setattr("trainyard.environments.market.base.FEATURES", table)

    def make(first, second, **config):
        path = price_file({"A": [100.0, *first], "B": [200.0, *second]})
        return PortfolioEnv(**{"data": path, "window": 1, "features": ["test_constant"], "cost": 0.0} | config)

    return make


def all_in(asset, assets=2):
    """The action that puts (nearly) everything into one asset; 0 is cash."""
    action = -np.ones(assets + 1, dtype=np.float32)
    action[asset] = 1.0
    return action


class TestAccounting:
    def test_equal_logits_spread_the_money_over_the_assets_and_cash(self, tiny):
        env = tiny([110.0], [200.0])
        env.reset(seed=0)
        _, reward, terminated, truncated, info = env.step(np.zeros(3, dtype=np.float32))
        assert info["portfolio_value"] == pytest.approx(10_000 * (1 + 0.1 / 3))
        assert reward == pytest.approx(math.log(1 + 0.1 / 3))
        assert info["weights"].sum() == pytest.approx(1)
        assert (terminated, truncated) == (False, True)

    def test_the_logit_scale_bounds_how_concentrated_a_portfolio_can_be(self, tiny):
        env = tiny([100.0], [200.0], logit_scale=3.0)
        env.reset(seed=0)
        info = env.step(all_in(1))[4]
        assert info["weights"][1] == pytest.approx(math.exp(6) / (math.exp(6) + 2))

    def test_no_money_appears_or_vanishes_but_the_cost(self, tiny):
        """Cash and holdings kept by hand from the trades alone, at prices that move."""
        moves = {"A": [110.0, 99.0, 104.0], "B": [180.0, 220.0, 150.0]}
        env = tiny(*moves.values(), cost=0.002)
        env.reset(seed=0)
        value, cash, held = 10_000.0, 10_000.0, {"A": 0.0, "B": 0.0}
        paid = {"A": 100.0, "B": 200.0}
        for step, action in enumerate((all_in(1), all_in(2), all_in(0))):
            info = env.step(action)[4]
            traded = 0.0
            for trade in info["trades"]:
                assert trade.price == pytest.approx(paid[trade.symbol])
                assert trade.cost == pytest.approx(0.002 * abs(trade.quantity) * trade.price)
                traded += abs(trade.quantity) * trade.price
                cash -= trade.quantity * trade.price + trade.cost
                held[trade.symbol] += trade.quantity
            assert info["turnover"] == pytest.approx(traded / value)
            paid = {symbol: prices[step] for symbol, prices in moves.items()}
            value = cash + sum(held[symbol] * paid[symbol] for symbol in held)
            assert info["portfolio_value"] == pytest.approx(value, abs=1e-6)
        assert cash > 0
        assert value != pytest.approx(10_000, rel=1e-2), "the prices have moved it"

    def test_the_cost_of_buying_all_from_cash_has_a_closed_form(self):
        # V' = V - c V'  for weights that sum to 1 and nothing held before
        after = value_after_rebalancing(np.zeros((1, 2)), np.array([[0.3, 0.7]]), np.array([1000.0]), 0.1)
        assert after[0] == pytest.approx(1000 / 1.1, abs=1e-9)

    def test_keeping_the_drifted_weights_trades_nothing(self, tiny):
        env = tiny([100.0, 100.0], [200.0, 200.0], cost=0.01)
        env.reset(seed=0)
        env.step(np.zeros(3, dtype=np.float32))
        info = env.step(np.zeros(3, dtype=np.float32))[4]
        assert info["turnover"] == pytest.approx(0, abs=1e-2)

    def test_cash_earns_the_cash_rate(self, tiny):
        env = tiny([100.0], [200.0], cash_rate=0.05, periods_per_year=1.0, logit_scale=100.0)
        env.reset(seed=0)
        assert env.step(all_in(0))[4]["portfolio_value"] == pytest.approx(10_500)

    def test_the_drawdown_penalty_charges_a_deeper_drawdown_and_not_a_recovery(self, tiny):
        env = tiny([80.0, 90.0], [160.0, 180.0], drawdown_penalty=2.0, logit_scale=100.0)
        env.reset(seed=0)
        falling = env.step(all_in(1))[1]
        rising = env.step(all_in(1))[1]
        assert falling == pytest.approx(math.log(0.8) - 2.0 * 0.2)
        assert rising == pytest.approx(math.log(90 / 80))

    def test_the_mean_variance_reward_takes_half_the_squared_return_away(self, tiny):
        env = tiny([110.0], [220.0], reward="mean_variance", risk_aversion=4.0, logit_scale=100.0)
        env.reset(seed=0)
        assert env.step(all_in(1))[1] == pytest.approx(math.log(1.1) - 0.5 * 4.0 * 0.1**2)


class TestGymnasium:
    def test_the_environment_checker_has_no_complaint(self, recwarn):
        check_env(PortfolioEnv(**CONFIG), skip_render_check=True)
        assert [str(warning.message) for warning in recwarn] == []

    def test_the_vectorised_environment_equals_single_ones_seeded_one_apart(self):
        vector = PortfolioVectorEnv(2, **CONFIG)
        singles = [PortfolioEnv(**CONFIG) for _ in range(2)]
        vector.reset(seed=3)
        for index, env in enumerate(singles):
            env.reset(seed=3 + index)
        random = np.random.default_rng(0)
        for _ in range(40):
            actions = random.uniform(-1, 1, (2, 21)).astype(np.float32)
            observations, rewards, _, truncated, _ = vector.step(actions)
            for index, env in enumerate(singles):
                observation, reward, _, over, _ = env.step(actions[index])
                assert np.array_equal(observation, observations[index])
                assert (reward, over) == (rewards[index], truncated[index])

    def test_changing_the_future_changes_no_earlier_observation(self, price_file, random_walk):
        prices = {"A": random_walk(seed=1), "B": random_walk(seed=2)}
        changed = {"A": prices["A"], "B": np.where(np.arange(200) < 150, prices["B"], prices["B"] * 1.5)}
        streams = []
        for index, table in enumerate((prices, changed)):
            env = PortfolioEnv(data=price_file(table, name=f"{index}.csv"), random_start=False)
            steps = 199 - env.market.first
            streams.append([env.reset(seed=0)[0]] + [env.step(all_in(0))[0] for _ in range(steps)])
            first = env.market.first
        differs = [not np.array_equal(a, b) for a, b in zip(*streams, strict=True)]
        assert differs.index(True) == 150 - first

    def test_assets_may_be_chosen_by_name(self):
        env = PortfolioEnv(**CONFIG, assets=["XOM", "KO"])
        assert env.market.assets == ("XOM", "KO")
        assert env.action_space.shape == (3,)

    def test_an_unknown_asset_is_refused_with_its_neighbour(self):
        with pytest.raises(InvalidConfiguration, match="did you mean 'XOM'"):
            PortfolioEnv(**CONFIG, assets=["XON"])


class TestBenchmarks:
    CLOSE = np.array([[100.0, 200.0], [110.0, 200.0], [110.0, 180.0]])

    def test_buy_and_hold_pays_once_and_then_follows_the_prices(self):
        half = 1000 / 1.01 / 2
        expected = [1000, half * 1.1 + half, half * 1.1 + half * 0.9]
        assert buy_and_hold(self.CLOSE, 1000.0, 0.01) == pytest.approx(expected)

    def test_equal_weight_without_costs_compounds_the_mean_returns(self):
        assert equal_weight(self.CLOSE, 1000.0, 0.0) == pytest.approx([1000, 1000 * 1.05, 1000 * 1.05 * 0.95])

    def test_equal_weight_pays_for_every_rebalancing(self):
        free, paid = equal_weight(self.CLOSE, 1000.0, 0.0)[-1], equal_weight(self.CLOSE, 1000.0, 0.01)[-1]
        # the first purchase costs 1/1.01; the second rebalancing trades 2 * 1/42 of the portfolio
        assert paid == pytest.approx(free / 1.01 * (1 - 0.01 * 2 / 42), rel=1e-5)


def test_softmax_of_huge_logits_is_finite():
    assert softmax(np.array([[1000.0, 0.0]])) == pytest.approx(np.array([[1.0, 0.0]]))
