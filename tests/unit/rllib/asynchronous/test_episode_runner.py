"""The episode runner by itself, without Ray: whole episodes, independent environments, bounded queue, failures."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import pytest

from trainyard.episodes.records import Settings, Trade
from trainyard.rllib.asynchronous import episode_runner as runner_module
from trainyard.rllib.asynchronous.episode_runner import EpisodeRunner, RunnerSettings, private_memory
from trainyard.rllib.asynchronous.policy import Layer, PolicyWeights


class Corridor(gym.Env):
    """`length` steps of reward 1; observation is the step number; `pause` seconds in every step."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length: int = 3, pause: float = 0.0, truncate: bool = False, fail_at: int = -1) -> None:
        self.length, self.pause, self.truncate, self.fail_at = length, pause, truncate, fail_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = 0
        return np.array([0.0], np.float32), {}

    def step(self, action):
        time.sleep(self.pause)
        self.at += 1
        if self.at == self.fail_at:
            raise ValueError("the simulator lost its mind")
        over = self.at == self.length
        info = {"episode_metrics": {"depth": self.at, "nothing": float("nan")}} if over else {}
        return np.array([self.at], np.float32), 1.0, over and not self.truncate, over and self.truncate, info


def weights(version: int = 0) -> PolicyWeights:
    layer = Layer(np.zeros((1, 2), np.float32), np.zeros(2, np.float32), "linear")
    return PolicyWeights((layer,), "categorical", gym.spaces.Discrete(2), version, splits=(2,))


class Shop(Corridor):
    """A market of two steps with trades in the first; gives the same dictionary each time."""

    def __init__(self) -> None:
        super().__init__(length=2)
        self.info = {}

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        return observation, {"date": "2020-01-01", "portfolio_value": 100.0, "context": (0.5, 1), "episode_index": 9}

    def step(self, action):
        observation, reward, terminated, truncated, _ = super().step(action)
        self.info |= {"date": f"2020-01-0{self.at + 1}", "portfolio_value": 100.0 + self.at, "trades": ()}
        if self.at == 1:
            self.info["trades"] = (Good("tea", 2.0, 5.0, 0.1), Good("salt", -1.0, 3.0, 0.2))
        return observation, reward, terminated, truncated, self.info


class Good(NamedTuple):
    symbol: str
    quantity: float
    price: float
    cost: float


def runner_of(make_env, envs: int = 1, seed: int = 1, recording: Settings | None = None) -> EpisodeRunner:
    return EpisodeRunner(RunnerSettings(make_env=make_env, seed=seed, index=7, envs=envs, recording=recording))


def collect(runner: EpisodeRunner, count: int, version: int | None = 0):
    episodes = []
    sent = None if version is None else weights(version)
    deadline = time.monotonic() + 10
    while len(episodes) < count and time.monotonic() < deadline:
        episodes += runner.collect(sent, timeout=1.0).episodes
        sent = None
    assert len(episodes) >= count
    return episodes


def test_an_episode_is_whole_and_says_who_played_it_with_which_policy():
    episode = collect(runner_of(lambda: Corridor(length=4)), 1, version=5)[0]
    assert len(episode) == 4
    assert episode.total_reward == 4.0
    assert episode.terminated
    assert episode.policy_version == 5
    assert (episode.id.runner, episode.id.incarnation, episode.id.env, episode.id.number) == (7, 0, 0, 0)
    np.testing.assert_array_equal(episode.observations[:, 0], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(episode.log_probabilities, np.log(0.5), rtol=1e-6)
    assert episode.figures == {"depth": 4.0}


def test_a_truncated_episode_is_not_terminated():
    assert not collect(runner_of(lambda: Corridor(truncate=True)), 1)[0].terminated


def test_nothing_is_played_before_the_first_weights():
    runner = runner_of(Corridor)
    assert runner.collect(None, timeout=0.05).episodes == []


def test_an_episode_carries_what_its_recording_keeps_of_the_infos():
    recorded = collect(runner_of(Shop, recording=Settings("All")), 1)[0].recorded
    assert recorded.pop("values").tolist() == [101.0, 102.0]
    assert recorded == {
        "episode_index": 9,
        "context": [0.5, 1.0],
        "dates": ["2020-01-02", "2020-01-03"],
        "trades": [
            Trade(0, 0, "2020-01-01", "tea", 2.0, 5.0, 0.1),
            Trade(0, 1, "2020-01-01", "salt", -1.0, 3.0, 0.2),
        ],
    }


@pytest.mark.parametrize(
    ("recording", "with_dates"),
    [(Settings("Off"), [False] * 4), (Settings("Sampled", 0.5), [True, False, True, False])],
    ids=["no steps", "sampled steps"],
)
def test_infos_of_steps_travel_only_with_the_episodes_whose_steps_are_recorded(recording, with_dates):
    episodes = collect(runner_of(Shop, recording=recording), 4)[:4]
    assert [episode.recorded["dates"] is not None for episode in episodes] == with_dates
    assert [bool(episode.recorded["trades"]) for episode in episodes] == with_dates
    assert [episode.recorded["episode_index"] for episode in episodes] == [9] * 4


def test_without_a_recording_no_info_travels():
    assert collect(runner_of(Shop), 1)[0].recorded is None


def test_newer_weights_are_used_from_the_next_episode_on():
    runner = runner_of(lambda: Corridor(length=2, pause=0.01))
    collect(runner, 1, version=0)
    later = collect(runner, 12, version=1)
    versions = [episode.policy_version for episode in later]
    assert versions == sorted(versions)
    assert versions[-1] == 1


def test_a_slow_environment_does_not_hold_up_its_neighbours():
    made = iter([Corridor(length=1, pause=5.0), Corridor(length=1, pause=0.001)])
    runner = runner_of(lambda: next(made), envs=2)
    start = time.monotonic()
    collect(runner, 10)
    assert time.monotonic() - start < 3.0


def test_episodes_of_one_seed_are_the_same_again_and_differ_between_environments():
    def actions(seed):
        runner = runner_of(lambda: Corridor(length=30), envs=2, seed=seed)
        return {e.id.env: e.actions.tolist() for e in collect(runner, 8) if e.id.number == 0}

    first = actions(3)
    assert first == actions(3)
    assert first != actions(4)
    assert first[0] != first[1]


def test_without_a_request_a_runner_stops_at_a_bounded_number_of_episodes():
    runner = runner_of(lambda: Corridor(length=1))
    runner.collect(weights(), timeout=0.0)
    time.sleep(0.2)
    steps = runner.collect(None, timeout=0.0).env_steps
    assert steps < 10


def test_an_environment_that_raises_is_reported_with_its_traceback_and_built_anew(monkeypatch):
    monkeypatch.setattr(runner_module, "PAUSE_AFTER_FAILURE", 0.01)
    made = iter([Corridor(fail_at=2), Corridor()])
    runner = runner_of(lambda: next(made))
    delivery = runner.collect(weights(), timeout=2.0)
    assert [failure.error for failure in delivery.failures] == ["ValueError: the simulator lost its mind"]
    assert "in step" in delivery.failures[0].traceback
    assert collect(runner, 1, version=None)


def test_the_time_spent_in_one_step_is_told():
    runner = runner_of(lambda: Corridor(pause=30.0))
    runner.collect(weights(), timeout=0.3)
    assert runner.collect(None, timeout=0.0).idle_seconds >= 0.25


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system does not tell")
def test_private_memory_grows_by_what_this_process_keeps_and_falls_by_what_it_gives_back():
    before = private_memory()
    kept = np.ones(64 * 2**20, np.uint8)
    with_it = private_memory()
    assert with_it - before == pytest.approx(kept.nbytes, rel=0.2)
    del kept
    assert private_memory() - before < 0.2 * 64 * 2**20


@pytest.mark.parametrize("module", ["torch", "ray.rllib", "ray"])
def test_what_a_runner_imports_is_free_of(module):
    script = f"import trainyard.rllib.asynchronous.episode_runner, sys; sys.exit('{module}' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
