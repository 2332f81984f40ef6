"""Small environments for tests of the driver; imported by name in env runners."""

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
