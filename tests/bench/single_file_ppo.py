"""PPO in one file, in the manner of CleanRL's: the lower bound that a framework is compared with.

Vectorised Gymnasium environments, one torch module, one loop. Same hyperparameters as RLlib's where they exist.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import gymnasium as gym
import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Settings:
    env: str = "CartPole-v1"
    envs: int = 8
    steps: int = 40_000
    batch: int = 4000
    minibatch: int = 128
    epochs: int = 30
    lr: float = 3e-4
    gamma: float = 0.99
    decay: float = 1.0
    clip: float = 0.3
    value_coefficient: float = 1.0
    hidden: tuple[int, ...] = (256, 256)
    seed: int = 1
    max_grad_norm: float | None = None


@dataclass
class Curve:
    returns: list[float] = field(default_factory=list)


class ActorCritic(nn.Module):
    def __init__(self, inputs: int, actions: int, hidden: tuple[int, ...]) -> None:
        super().__init__()
        self.policy, self.value = mlp(inputs, hidden, actions), mlp(inputs, hidden, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.distributions.Categorical, torch.Tensor]:
        return torch.distributions.Categorical(logits=self.policy(x), validate_args=False), self.value(x).squeeze(-1)


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def train(settings: Settings) -> tuple[ActorCritic, Curve]:
    torch.manual_seed(settings.seed)
    torch.set_num_threads(1)
    envs = gym.make_vec(settings.env, settings.envs, vectorization_mode="sync",
                        vector_kwargs={"autoreset_mode": gym.vector.AutoresetMode.SAME_STEP})  # fmt: skip
    length = settings.batch // settings.envs
    module = ActorCritic(envs.single_observation_space.shape[0], int(envs.single_action_space.n), settings.hidden)
    optimizer = torch.optim.Adam(module.parameters(), lr=settings.lr, fused=True)
    observation, _ = envs.reset(seed=settings.seed)
    curve, running = Curve(), np.zeros(settings.envs)
    shape = (length, settings.envs)
    for _ in range(settings.steps // settings.batch):
        observations = np.zeros((*shape, observation.shape[1]), np.float32)
        actions, log_probabilities = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        rewards, values, ends = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool)
        bootstraps = np.zeros(shape, np.float32)
        for t in range(length):
            observations[t] = observation
            with torch.no_grad():
                distribution, value = module(torch.from_numpy(np.asarray(observation, np.float32)))
                action = distribution.sample()
                log_probabilities[t] = distribution.log_prob(action).numpy()
            actions[t], values[t] = action.numpy(), value.numpy()
            observation, rewards[t], terminated, truncated, info = envs.step(actions[t])
            ends[t] = terminated | truncated
            running += rewards[t]
            curve.returns += running[ends[t]].tolist()
            running[ends[t]] = 0
            if (truncated & ~terminated).any():
                final = np.stack(info["final_obs"][truncated & ~terminated]).astype(np.float32)
                with torch.no_grad():
                    bootstraps[t, truncated & ~terminated] = module(torch.from_numpy(final))[1].numpy()
        with torch.no_grad():
            following = module(torch.from_numpy(np.asarray(observation, np.float32)))[1].numpy()
        advantages, later = np.zeros(shape, np.float32), np.zeros(settings.envs, np.float32)
        for t in range(length - 1, -1, -1):
            next_value = np.where(ends[t], bootstraps[t], following)
            delta = rewards[t] + settings.gamma * next_value - values[t]
            later = delta + settings.gamma * settings.decay * np.where(ends[t], 0, later)
            advantages[t], following = later, values[t]
        flat = [torch.from_numpy(column.reshape(-1, *column.shape[2:]))
                for column in (observations, actions, log_probabilities, advantages, advantages + values)]  # fmt: skip
        _update(module, optimizer, settings, *flat)
    return module, curve


def _update(module, optimizer, settings: Settings, observations, actions, old, advantages, targets) -> None:
    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    for _ in range(settings.epochs):
        for rows in torch.randperm(len(actions)).split(settings.minibatch):
            distribution, value = module(observations[rows])
            ratio = torch.exp(distribution.log_prob(actions[rows]) - old[rows])
            gain = advantages[rows]
            clipped = ratio.clamp(1 - settings.clip, 1 + settings.clip)
            loss = -torch.min(gain * ratio, gain * clipped).mean()
            loss = loss + settings.value_coefficient * (value - targets[rows]).pow(2).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if settings.max_grad_norm:
                nn.utils.clip_grad_norm_(module.parameters(), settings.max_grad_norm)
            optimizer.step()
