"""Environments and wrappers by name, old-API environments, and what a wrong name gets."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from trainyard import environments
from trainyard.errors import InvalidConfiguration

MODULE = __name__


class KeywordEnv(gymnasium.Env):
    def __init__(self, size=2, scale=1.0):
        self.observation_space = gymnasium.spaces.Box(-scale, scale, (size,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action):
        return np.zeros(self.observation_space.shape, np.float32), 1.0, False, False, {}


class ConfigEnv(KeywordEnv):
    def __init__(self, config):
        super().__init__(size=config["size"])


@pytest.fixture(autouse=True)
def importable_here(monkeypatch):
    """With importlib mode the test module is not importable by its name."""
    monkeypatch.setitem(sys.modules, "its_environments", sys.modules[MODULE])


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, trainyard.environments\n"
        "heavy = {'torch', 'ray', 'pandas', 'numpy', 'gymnasium', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestNames:
    @pytest.mark.parametrize("name", ["trading", "portfolio", "restore-order", "cage2"])
    def test_built_in_names_resolve(self, name):
        assert callable(environments.resolve(name))

    @pytest.mark.parametrize("name", ["CartPole-v1", "package.module:Class", "nothing"])
    def test_other_names_do_not_resolve_to_a_built_in(self, name):
        assert environments.resolve(name) is None

    def test_a_gymnasium_id_takes_its_keyword_arguments(self):
        env = environments.creator("CartPole-v1")({"sutton_barto_reward": True})
        assert env.unwrapped._sutton_barto_reward

    def test_a_class_takes_keyword_arguments(self):
        env = environments.creator("its_environments:KeywordEnv")({"size": 5})
        assert env.observation_space.shape == (5,)

    def test_a_class_with_a_parameter_config_takes_the_whole_configuration(self):
        env = environments.creator("its_environments:ConfigEnv")({"size": 3})
        assert env.observation_space.shape == (3,)

    def test_the_vectorised_market_environments_take_num_envs(self):
        env = environments.creator("trading")({"asset": "KO", "num_envs": 3})
        assert isinstance(env, gymnasium.vector.VectorEnv)
        assert env.num_envs == 3

    @pytest.mark.parametrize(
        ("name", "config", "words"),
        [
            ("CartPole-v2", {}, "did you mean 'CartPole-v1'"),
            ("tradin", {}, "did you mean 'trading'"),
            ("LunarLander-v2", {}, "LunarLander"),
            ("no.such.module:Env", {}, "cannot be imported"),
            ("its_environments:KeywordEnvironment", {}, "did you mean 'KeywordEnv'"),
            ("its_environments:KeywordEnv", {"sise": 3}, "It takes size, scale".lower()),
            ("CartPole-v1", {"gravity": 3}, "gravity"),
        ],
    )
    def test_a_wrong_name_or_configuration_is_refused_with_what_to_do(self, name, config, words):
        with pytest.raises(InvalidConfiguration) as error:
            environments.creator(name)(config)
        assert words.lower() in str(error.value).lower()

    def test_a_missing_extra_is_named_with_an_alternative(self, monkeypatch):
        for module in [name for name in sys.modules if name.startswith(("Box2D", "gymnasium.envs.box2d"))]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "Box2D", None)
        with pytest.raises(InvalidConfiguration) as error:
            environments.creator("LunarLander-v3")({})
        assert "add box2d and pygame to spec.runtimeEnv.pip" in str(error.value)
        assert "Acrobot-v1" in str(error.value)

    @pytest.mark.parametrize("name", ["Acrobot-v1", "Pendulum-v1"])
    def test_classic_environments_work_out_of_the_box(self, name):
        env = environments.creator(name)({})
        env.reset(seed=0)
        assert len(env.step(env.action_space.sample())) == 5


class TestWrappers:
    def test_wrappers_apply_in_order_the_first_innermost(self):
        env = environments.wrap(
            gymnasium.make("CartPole-v1"),
            [{"name": "FrameStackObservation", "config": {"stack_size": 3}}, "FlattenObservation"],
        )
        assert env.observation_space.shape == (12,)

    def test_a_class_path_is_a_wrapper_too(self):
        env = environments.wrap(
            gymnasium.make("CartPole-v1"),
            [{"name": "gymnasium.wrappers:TimeLimit", "config": {"max_episode_steps": 1}}],
        )
        env.reset(seed=0)
        assert env.step(0)[3]

    @pytest.mark.parametrize(
        ("entry", "words"),
        [
            ("FlatenObservation", "did you mean 'FlattenObservation'"),
            ({"name": "FrameStackObservation", "config": {"stack": 3}}, "it takes stack_size"),
            ({"nam": "x"}, "an object with name and config"),
            (3, "an object with name and config"),
        ],
    )
    def test_a_wrong_wrapper_is_refused_by_its_index(self, entry, words):
        with pytest.raises(InvalidConfiguration) as error:
            environments.wrap(gymnasium.make("CartPole-v1"), ["FlattenObservation", entry])
        assert "spec.environment.wrappers[1]" in str(error.value)
        assert words in str(error.value)


class TestOldGym:
    """Environments written for the package gym, adapted by shimmy."""

    @pytest.fixture
    def gym(self, recwarn):
        return pytest.importorskip("gym", reason="gym==0.26.2 is part of the dev extra")

    @pytest.fixture
    def old_env(self, gym):
        class OldEnv(gym.Env):
            observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
            action_space = gym.spaces.Discrete(2)
            seeds = ()

            def seed(self, seed=None):
                self.seeds = (*self.seeds, seed)

            def reset(self):
                self.steps = 0
                return np.zeros(2, np.float32)

            def step(self, action):
                self.steps += 1
                return np.zeros(2, np.float32), 0.5, self.steps == 3, {"steps": self.steps}

        return OldEnv

    def test_a_four_tuple_environment_gets_the_five_tuple_api(self, old_env, monkeypatch):
        monkeypatch.setitem(sys.modules, "old_envs", type(sys)("old_envs"))
        sys.modules["old_envs"].OldEnv = old_env
        env = environments.creator("old_envs:OldEnv")({})
        assert isinstance(env, gymnasium.Env)
        observation, info = env.reset(seed=4)
        assert observation.shape == (2,)
        assert info == {}
        assert env.gym_env.seeds == (4,)
        assert env.step(0)[1:] == (0.5, False, False, {"steps": 1})
        env.step(0)
        assert env.step(0)[2:4] == (True, False)

    def test_a_gym_026_environment_takes_its_seed_at_reset(self, gym):
        from trainyard.environments.legacy import adapt

        class NewerEnv(gym.Env):
            observation_space = gym.spaces.Discrete(2)
            action_space = gym.spaces.Discrete(2)

            def reset(self, *, seed=None, options=None):
                return 1, {"seed": seed}

            def step(self, action):
                return 0, 1.0, False, True, {}

        env = adapt(NewerEnv())
        assert env.reset(seed=9) == (1, {"seed": 9})
        assert env.step(0) == (0, 1.0, False, True, {})

    def test_an_object_without_step_is_refused(self):
        from trainyard.environments.legacy import adapt

        with pytest.raises(InvalidConfiguration, match=r"no reset\(\) and step\(\)"):
            adapt(object())


class TestCage2:
    def test_a_missing_cyborg_says_how_to_install_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "CybORG", None)
        with pytest.raises(InvalidConfiguration) as error:
            environments.creator("cage2")({})
        assert "cage2 needs CybORG" in str(error.value)
        assert "without its dependencies from the source" in str(error.value)

    @pytest.mark.parametrize("config", [{"red_agent": "bline"}, {"red_agent": []}, {"steps": 0}])
    def test_a_wrong_configuration_is_refused_before_cyborg_is_looked_for(self, config):
        with pytest.raises(InvalidConfiguration, match=r"spec\.environment\.config\."):
            environments.creator("cage2")(config)

    def test_the_real_challenge_plays_seeded_episodes(self):
        pytest.importorskip("CybORG", reason="CybORG is the user's to install")
        env = environments.creator("cage2")({"red_agent": ["b_line", "meander"], "steps": 30})
        assert env.observation_space.shape == (52,)

        def play(seed):
            env.reset(seed=seed)
            return [env.step(action * 7 % 145)[1:] for action in range(30)]

        assert play(1) == play(1)
        assert play(1)[-1][2]
