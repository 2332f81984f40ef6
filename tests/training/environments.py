"""Small environments for tests of the driver; imported by name in env runners."""

import os
import sys
import time
from pathlib import Path

import gymnasium as gym
import numpy as np


class Constant(gym.Env):
    """Episodes of `length` steps with a reward of 1 each, whatever the action is."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, length: int = 10, reward: float = 1.0) -> None:
        self.length, self.reward, self.steps = length, reward, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.np_random.random(2, dtype=np.float32), {}

    def step(self, action):
        self.steps += 1
        done = self.steps >= self.length
        info = {"episode_metrics": {"sharpe": 0.5, "not_a_number": float("nan")}} if done else {}
        return self.np_random.random(2, dtype=np.float32), self.reward, done, False, info


class Scripted(Constant):
    """Constant, with the reward that a file says at each reset: a test decides how good the policy of a moment is."""

    def __init__(self, file: str) -> None:
        super().__init__(length=2)
        self.file = Path(file)

    def reset(self, *, seed=None, options=None):
        self.reward = float(self.file.read_text())
        return super().reset(seed=seed)


class Broken(Constant):
    """Raises in its `fails_at`-th step."""

    def __init__(self, fails_at: int = 25) -> None:
        super().__init__()
        self.fails_at, self.all_steps = fails_at, 0

    def step(self, action):
        self.all_steps += 1
        if self.all_steps >= self.fails_at:
            raise ZeroDivisionError("the simulator has no more fuel")
        return super().step(action)


class Unmakeable(Constant):
    def __init__(self) -> None:
        raise FileNotFoundError("prices.csv is missing")


class Continuous(Constant):
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)


class Meeting(gym.Wrapper):
    """Waits before its first step until another process is as far."""

    def __init__(self, env, folder: str) -> None:
        super().__init__(env)
        self.folder, self.met = Path(folder), False

    def step(self, action):
        # Not where the driver tries the environment before anything starts.
        if not self.met and "default_worker" in sys.argv[0]:
            (self.folder / str(os.getpid())).touch()
            deadline = time.monotonic() + 120
            while len(list(self.folder.iterdir())) < 2:
                if time.monotonic() > deadline:
                    raise TimeoutError("nobody else has come")
                time.sleep(0.05)
            self.met = True
        return super().step(action)


class Corridor(gym.Env):
    """Five cells; right at the end is worth 1, left at the start 0.2, and 20 steps are all there are.

    Going left pays at once, going right five times as much later: it takes bootstrapping to see that.
    """

    observation_space = gym.spaces.Box(0, 1, (5,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cell, self.steps = 1, 0
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        self.cell += 1 if action else -1
        reward = {0: 0.2, 4: 1.0}.get(self.cell, 0.0)
        return self._observe(), reward, self.cell in (0, 4), self.steps >= 20, {}

    def _observe(self):
        return np.eye(5, dtype=np.float32)[self.cell]


class Spoilt(Constant):
    """In every `every`-th episode, from the second on, the reward of the third step is not a number."""

    def __init__(self, every: int = 2, length: int = 10) -> None:
        super().__init__(length)
        self.every, self.episode = every, 0

    def reset(self, *, seed=None, options=None):
        self.episode += 1
        return super().reset(seed=seed, options=options)

    def step(self, action):
        observation, reward, *rest = super().step(action)
        spoilt = self.steps == 3 and self.episode % self.every == 0
        return observation, float("nan") if spoilt else reward, *rest


class SpoiltContinuous(Spoilt):
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)


class Endless(Constant):
    """Never ends; with `length` more than 0 it does."""

    def __init__(self, length: int = 0) -> None:
        super().__init__(length or 10**9)


class Target(gym.Env):
    """One step; the best action is the number that is observed, and is worth 0."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.wanted = self.np_random.uniform(-0.8, 0.8, 1).astype(np.float32)
        return self.wanted, {}

    def step(self, action):
        return self.wanted, -float((action[0] - self.wanted[0]) ** 2), True, False, {}
