"""What every collector promises an environment: it may use its arrays and infos again, and write into its actions."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.tune.registry import register_env

from trainyard import environments
from trainyard.environments.market.base import Trade
from trainyard.episodes.copies import own_info
from trainyard.episodes.records import Settings
from trainyard.rllib.asynchronous.episode_runner import EpisodeRunner, RunnerSettings
from trainyard.rllib.asynchronous.policy import Layer, PolicyWeights
from trainyard.rllib.connectors import make_lean
from trainyard.rllib.env_runner import EnvRunner
from trainyard.rllib.replay.round_runner import RoundRunner

LENGTH = 4
SYMBOLS = ("tea", "salt", "silk", "rice")


class Thrifty(gym.Env):
    """Has one array, one info and one list for all steps of its life, and doubles its action in place.

    Ends after LENGTH steps, terminated and truncated together. Actions are remembered before they are doubled.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def __init__(self):
        self.array, self.info, self.trades, self.got = np.zeros(1, np.float32), {}, [], []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.array[0] = 0
        self.trades.clear()
        self.info["date"] = "start"
        return self.array, self.info

    def step(self, action):
        self.got.append(float(action[0]))
        action *= 2
        self.array += 1
        at = int(self.array[0])
        self.trades.clear()
        self.trades.append(Trade(SYMBOLS[at - 1], 1.0, float(at), 0.0))
        self.info |= {"date": f"day {at}", "portfolio_value": float(at), "trades": self.trades}
        over = at == LENGTH
        return self.array, float(at), over, over, self.info


class Several(Thrifty):
    """With two choices in an array of integers."""

    action_space = gym.spaces.MultiDiscrete([3, 3])


def of_rllib(runner_class, config_class, *, lean, normalize=True):
    register_env("thrifty", lambda config: Thrifty())
    config = config_class().environment("thrifty", normalize_actions=normalize).debugging(seed=1)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    if lean:
        make_lean(config)
    return runner_class(config=config, worker_index=0)


def sampled(runner):
    """One episode, its dates, and the actions that its environment got."""
    [episode] = runner.sample(num_episodes=1)
    got = runner.env.unwrapped.envs[0].unwrapped.got
    infos = episode.get_infos()
    return episode.get_observations(), episode.get_actions(), episode.get_rewards(), got, infos, episode.is_terminated


def by_rounds(runner):
    ended = []
    while not ended:
        ended = [chunk for chunk in runner.play_round() if chunk.terminated]
    [chunk] = ended
    # Rounds hand on steps; what was played of the episode before is in the rounds before.
    [episode] = runner._played.done
    got = runner.env.unwrapped.envs[0].unwrapped.got
    return (
        episode.get_observations(), episode.get_actions(), episode.get_rewards(), got, episode.get_infos(),
        chunk.terminated,
    )  # fmt: skip


def by_whole_episodes(make=Thrifty, splits=None):
    made = []

    def make_env():
        made.append(make())
        return made[-1]

    runner = EpisodeRunner(RunnerSettings(make_env, seed=1, index=0, recording=Settings("All")))
    if splits:
        layer = Layer(np.zeros((1, sum(splits)), np.float32), np.zeros(sum(splits), np.float32), "linear")
        weights = PolicyWeights((layer,), "categorical", make.action_space, 0, splits=splits)
    else:
        layer = Layer(np.zeros((1, 2), np.float32), np.zeros(2, np.float32), "linear")
        weights = PolicyWeights((layer,), "gaussian", make.action_space, 0)
    episode = runner.collect(weights, timeout=10).episodes[0]
    return episode, made[0]


COLLECTORS = {
    "RLlib's sampling": lambda: sampled(of_rllib(EnvRunner, PPOConfig, lean=False)),
    "lean sampling": lambda: sampled(of_rllib(EnvRunner, PPOConfig, lean=True)),
    "actions as they are": lambda: sampled(of_rllib(EnvRunner, PPOConfig, lean=True, normalize=False)),
    "rounds": lambda: by_rounds(of_rllib(RoundRunner, SACConfig, lean=True, normalize=False)),
}


@pytest.mark.parametrize("collect", COLLECTORS.values(), ids=COLLECTORS)
def test_what_is_kept_of_a_thrifty_environment_is_what_it_gave(collect):
    observations, actions, rewards, got, infos, terminated = collect()
    assert np.ravel(observations).tolist() == [0, 1, 2, 3, 4]
    assert np.ravel(rewards).tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(np.ravel(actions), got[:LENGTH], rtol=1e-6)
    assert [info["date"] for info in infos] == ["start", "day 1", "day 2", "day 3", "day 4"]
    assert [info["trades"][0].symbol for info in infos[1:]] == list(SYMBOLS)
    assert terminated


def test_whole_episodes_keep_what_a_thrifty_environment_gave():
    episode, env = by_whole_episodes()
    assert episode.observations[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert episode.rewards.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(episode.actions[:, 0], env.got[:LENGTH], rtol=1e-6)
    assert episode.recorded["dates"] == ["day 1", "day 2", "day 3", "day 4"]
    assert [(date, symbol) for _, _, date, symbol, *_ in episode.recorded["trades"]] == [
        ("start", "tea"), ("day 1", "salt"), ("day 2", "silk"), ("day 3", "rice"),
    ]  # fmt: skip
    # As with RLlib, an end is an end, whatever else it is called.
    assert episode.terminated


def test_whole_episodes_keep_several_choices_that_the_environment_writes_into():
    episode, _ = by_whole_episodes(Several, (3, 3))
    assert episode.actions.max() <= 2


def test_a_wrapper_that_keeps_observations_keeps_copies():
    env = environments.wrap(Thrifty(), [{"name": "FrameStackObservation", "config": {"stack_size": 3}}])
    env.reset(seed=1)
    frames = [env.step(np.zeros(1, np.float32))[0].ravel().tolist() for _ in range(3)]
    assert frames == [[0, 0, 1], [0, 1, 2], [1, 2, 3]]
    # Without copies it would be of no use to test this.
    bare = FrameStackObservation(Thrifty(), 3)
    bare.reset(seed=1)
    assert bare.step(np.zeros(1, np.float32))[0].ravel().tolist() == [1, 1, 1]


def test_an_info_that_is_kept_has_copies_of_what_can_change():
    info = {"list": [1], "array": np.zeros(2), "nested": {"list": [1]}, "text": "a", "tuple": (1, 2)}
    kept = own_info(info)
    info["list"].append(2)
    info["array"] += 1
    info["nested"]["list"].append(2)
    info["text"] = "b"
    assert kept["list"] == [1]
    assert kept["array"].tolist() == [0, 0]
    assert kept["nested"] == {"list": [1]}
    assert kept["text"] == "a"


class Vector(gym.vector.VectorEnv):
    """Two environments in one, which give the same arrays at every step."""

    num_envs = 2
    metadata = {"autoreset_mode": gym.vector.AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium declares it so
    single_observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    single_action_space = gym.spaces.Discrete(2)
    observation_space = gym.vector.utils.batch_space(single_observation_space, 2)
    action_space = gym.vector.utils.batch_space(single_action_space, 2)

    def __init__(self):
        self.array, self.never = np.zeros((2, 1), np.float32), np.zeros(2, bool)

    def reset(self, *, seed=None, options=None):
        self.array[:] = [[0], [10]]
        return self.array, {}

    def step(self, actions):
        self.array += 1
        return self.array, np.zeros(2), self.never, self.never, {}


def test_a_vectorised_environment_may_use_its_arrays_again():
    register_env("vector", lambda config: Vector())
    config = PPOConfig().environment("vector").debugging(seed=1)
    config.env_runners(
        num_env_runners=0, num_envs_per_env_runner=2, gym_env_vectorize_mode="vector_entry_point"
    )  # fmt: skip
    episodes = EnvRunner(config=config, worker_index=0).sample(num_timesteps=6)
    found = sorted(episode.get_observations().ravel().tolist() for episode in episodes)
    assert found == [[0, 1, 2, 3], [10, 11, 12, 13]]


class Seeded(gym.Env):
    """One step; the observation is what the stream gives."""

    observation_space = gym.spaces.Box(0, 1, (1,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.random(1), {}

    def step(self, action):
        return self.np_random.random(1), 0.0, True, False, {}


@functools.cache
def first_observations(seed, worker, envs=4):
    register_env("seeded", lambda config: Seeded())
    config = PPOConfig().environment("seeded").debugging(seed=seed)
    config.env_runners(num_env_runners=3, num_envs_per_env_runner=envs)
    runner = EnvRunner(config=config, worker_index=worker)
    episodes = runner.sample(num_timesteps=envs)
    return [float(episode.get_observations()[0][0]) for episode in episodes]


def test_environments_of_all_runners_and_of_neighbouring_seeds_play_different_episodes():
    streams = [value for seed in (1, 2) for worker in (1, 2, 3) for value in first_observations(seed, worker)]
    assert len(set(streams)) == len(streams) == 2 * 3 * 4


def test_a_seed_gives_the_same_episodes_again():
    assert first_observations(1, 2) == first_observations.__wrapped__(1, 2)
