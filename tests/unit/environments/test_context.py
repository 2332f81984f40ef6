"""The context wrapper and the order-conditioned example."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from trainyard import environments
from trainyard.environments.context import ContextWrapper, priorities
from trainyard.environments.restore_order import best_return
from trainyard.errors import InvalidConfiguration


def wrapped(**config):
    return ContextWrapper(gymnasium.make("CartPole-v1"), **config)


def test_an_order_is_encoded_as_priorities():
    assert priorities([2, 0, 1]) == pytest.approx([2 / 3, 1 / 3, 1.0])


class TestWrapper:
    def test_the_policy_observes_the_context_behind_the_observation(self):
        env = wrapped(size=3)
        observation, info = env.reset(seed=0)
        assert observation.shape == (7,)
        assert observation[4:] == pytest.approx(info["context"])
        assert sorted(info["context"]) == pytest.approx([1 / 3, 2 / 3, 1])

    def test_every_episode_draws_its_own_and_the_seed_repeats_them(self):
        env = wrapped(size=4)
        first = [env.reset(seed=3 if index == 0 else None)[1]["context"].tolist() for index in range(8)]
        second = [env.reset(seed=3 if index == 0 else None)[1]["context"].tolist() for index in range(8)]
        assert first == second
        assert len({tuple(context) for context in first}) > 3

    def test_the_context_stays_the_same_within_an_episode_and_is_in_every_info(self):
        env = wrapped(size=3)
        _, info = env.reset(seed=0)
        step = env.step(0)
        assert step[4]["context"].tolist() == info["context"].tolist()

    def test_the_environment_gets_the_context_at_reset(self):
        class Recorder(gymnasium.Wrapper):
            def reset(self, *, seed=None, options=None):
                self.given = options["context"]
                return self.env.reset(seed=seed)

        recorder = Recorder(gymnasium.make("CartPole-v1"))
        _, info = ContextWrapper(recorder, size=2).reset(seed=0)
        assert recorder.given.tolist() == info["context"].tolist()

    def test_a_reward_function_makes_the_reward_of_the_context(self):
        env = wrapped(kind="choice", values=[[0.5, -1.0]], reward=lambda c, r, o, a, i: r * c[0] + c[1])
        env.reset(seed=0)
        assert env.step(0)[1] == pytest.approx(-0.5)

    def test_uniform_contexts_lie_between_0_and_1(self):
        context = wrapped(kind="uniform", size=5).reset(seed=0)[1]["context"]
        assert ((context >= 0) & (context <= 1)).all()

    def test_a_fixed_context_is_used_in_every_episode(self):
        env = wrapped(size=2, fixed=[0.5, 1.0])
        assert all(env.reset()[1]["context"].tolist() == [0.5, 1.0] for _ in range(3))

    def test_a_context_given_at_reset_is_used(self):
        assert wrapped(size=2).reset(seed=0, options={"context": [1.0, 0.5]})[1]["context"].tolist() == [1.0, 0.5]

    @pytest.mark.parametrize(
        ("config", "argument"),
        [({}, "size"), ({"kind": "order", "size": 2}, "kind"), ({"kind": "choice"}, "values"),
         ({"kind": "choice", "values": [[3.0]]}, "values"), ({"size": 2, "fixed": [1.0]}, "fixed"),
         ({"size": 2, "fixed": ["a", "b"]}, "fixed"), ({"size": 2, "reward": "no.module:f"}, "reward"),
         ({"size": 2, "reward": "json"}, "reward"), ({"size": 2, "reward": ":f"}, "reward")],
    )  # fmt: skip
    def test_a_wrong_configuration_is_refused_with_its_place(self, config, argument):
        with pytest.raises(InvalidConfiguration) as error:
            environments.wrap(gymnasium.make("CartPole-v1"), ["NormalizeReward", {"name": "context", "config": config}])
        assert [fault.field for fault in error.value.faults] == [f"spec.environment.wrappers[1].config.{argument}"]

    def test_observations_that_cannot_be_flattened_are_the_fault_of_the_wrapper(self):
        class Sequences(gymnasium.ObservationWrapper):
            observation_space = gymnasium.spaces.Sequence(gymnasium.spaces.Discrete(2))

        with pytest.raises(InvalidConfiguration, match=r"spec\.environment\.wrappers\[0\]: the observation space"):
            environments.wrap(Sequences(gymnasium.make("CartPole-v1")), [{"name": "context", "config": {"size": 2}}])

    def test_it_is_a_wrapper_by_name(self):
        env = environments.wrap(gymnasium.make("CartPole-v1"), [{"name": "context", "config": {"size": 3}}])
        assert env.observation_space.shape == (7,)


class TestRestoreOrder:
    def test_the_environment_checker_has_no_complaint(self, recwarn):
        check_env(environments.creator("restore-order")({}), skip_render_check=True)
        # It is a wrapped environment, which the checker always mentions.
        assert [str(warning.message) for warning in recwarn if "unwrapped version" not in str(warning.message)] == []

    def test_the_return_of_a_perfect_episode_by_hand(self):
        env = environments.creator("restore-order")({"hosts": 3, "compromised": 1.0, "order": [1, 2, 0]})
        env.reset(seed=0)
        results = [env.step(host) for host in (1, 2, 0)]
        # priorities: host 1 has 1, host 2 has 2/3, host 0 has 1/3
        assert [result[1] for result in results] == pytest.approx([-1.0, -1 / 3, 0.0])
        assert [result[2] for result in results] == [False, False, True]
        assert results[-1][4]["episode_metrics"] == {"order_followed": 1.0}

    @pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
    def test_following_the_requested_order_is_optimal_and_another_one_is_not(self, order):
        env = environments.creator("restore-order")({"hosts": 3, "compromised": 1.0, "order": list(order)})
        returns = {}
        for sequence in itertools.permutations(range(3)):
            env.reset(seed=0)
            returns[sequence] = sum(env.step(host)[1] for host in sequence)
        assert max(returns, key=returns.get) == order
        assert returns[order] == pytest.approx(best_return(np.ones(3), priorities(order)))

    def test_wasting_steps_ends_in_a_truncation(self):
        env = environments.creator("restore-order")({"hosts": 2, "compromised": 1.0})
        env.reset(seed=0)
        results = [env.step(0) for _ in range(4)]
        assert [result[3] for result in results] == [False, False, False, True]

    def test_an_order_that_misses_a_host_is_refused(self):
        with pytest.raises(InvalidConfiguration, match="each host once"):
            environments.creator("restore-order")({"hosts": 3, "order": [0, 1]})


class TestEpisodeSeeds:
    def test_a_position_that_is_none_is_refused_with_its_place(self):
        entry = {"name": "episode-seeds", "config": {"position": 2, "total": 2}}
        with pytest.raises(InvalidConfiguration, match=r"wrappers\[0\]: episode-seeds .*position 2 is not from 0 to 1"):
            environments.wrap(gymnasium.make("CartPole-v1"), [entry])

    def test_several_environments_together_play_the_episodes_that_one_plays(self):
        def starts(position, total, count):
            env = environments.wrap(
                gymnasium.make("CartPole-v1"),
                [{"name": "episode-seeds", "config": {"seed": 11, "position": position, "total": total}}],
            )
            return {
                info["episode_index"]: tuple(observation) for observation, info in (env.reset() for _ in range(count))
            }

        together = starts(0, 3, 2) | starts(1, 3, 2) | starts(2, 3, 2)
        assert together == starts(0, 1, 6)

    def test_each_environment_has_a_series_of_its_own_which_a_seed_begins_anew(self):
        def series(seed, config=None, count=4):
            env = environments.wrap(
                gymnasium.make("CartPole-v1"), [{"name": "episode-seeds", "config": config or {}}]
            )  # fmt: skip
            played = [env.reset(seed=seed)] + [env.reset() for _ in range(count - 1)]
            assert [info["episode_index"] for _, info in played] == list(range(count))
            return [tuple(observation) for observation, _ in played]

        assert series(3) == series(3)
        assert not set(series(3)) & set(series(4))
        assert not set(series(3)) & set(series(3, {"seed": 1}))

    def test_an_episode_does_not_depend_on_how_much_those_before_it_drew(self):
        def second(steps):
            env = environments.wrap(gymnasium.make("CartPole-v1"), ["episode-seeds"])
            env.reset(seed=5)
            env.unwrapped.np_random.random(steps)
            return tuple(env.reset()[0])

        assert second(0) == second(1000)
