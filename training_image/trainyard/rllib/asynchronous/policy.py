"""A multi-layer perceptron policy in numpy: what a runner needs to act, without torch.

The arithmetic is float32, as in the exported torch module, so outputs agree to float tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np

Array = np.ndarray


def _silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))


def _elu(x: Array) -> Array:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "linear": lambda x: x,
    "tanh": np.tanh,
    "relu": _relu,
    "silu": _silu,
    "elu": _elu,
}


@dataclass(frozen=True)
class Layer:
    """y = activation(x @ weight + bias); weight has shape (inputs, outputs)."""

    weight: Array
    bias: Array
    activation: str


@dataclass(frozen=True)
class PolicyWeights:
    """Everything that determines the policy; picklable, and shared between runners through Ray's object store.

    Attributes:
        layers: from the flat observation to the inputs of the action distribution.
        log_std: for `gaussian`, the state-independent log standard deviations, or None when the last layer gives them.
        log_std_limit: for `gaussian`, log standard deviations are clipped to plus and minus this.
        splits: for `categorical`, the number of actions in each component (one entry for a Discrete space).
        version: number of learner updates behind these weights.
    """

    layers: tuple[Layer, ...]
    distribution: Literal["categorical", "gaussian"]
    action_space: gym.Space
    version: int
    splits: tuple[int, ...] = ()
    log_std: Array | None = None
    log_std_limit: float | None = None
    normalize_actions: bool = True
    clip_actions: bool = False

    def policy(self) -> NumpyPolicy:
        return NumpyPolicy(self)


@dataclass(frozen=True)
class Step:
    """action: as the learner sees it; for_env: as the environment takes it; log_probability: of `action`."""

    action: Array
    for_env: Array
    log_probability: float


class NumpyPolicy:
    """Acts by PolicyWeights. Stateless, so any number of threads may share one."""

    def __init__(self, weights: PolicyWeights) -> None:
        self.weights = weights
        self.version = weights.version
        self._layers = [(layer.weight, layer.bias, ACTIVATIONS[layer.activation]) for layer in weights.layers]

    def distribution_inputs(self, observations: Array) -> Array:
        """observations: (rows, features...); returns (rows, k): logits, or means and then log standard deviations."""
        x = np.asarray(observations, dtype=np.float32).reshape(len(observations), -1)
        for weight, bias, activation in self._layers:
            x = activation(x @ weight + bias)
        weights = self.weights
        if weights.distribution == "categorical":
            return x
        if weights.log_std is not None:
            mean, log_std = x, np.broadcast_to(weights.log_std, x.shape)
        else:
            mean, log_std = np.split(x, 2, axis=-1)
        if weights.log_std_limit is not None:
            log_std = np.clip(log_std, -weights.log_std_limit, weights.log_std_limit)
        return np.concatenate([mean, log_std], axis=-1)

    def act(self, observation: Array, generator: np.random.Generator) -> Step:
        """Samples one action for one observation."""
        inputs = self.distribution_inputs(np.asarray(observation)[None])[0]
        if self.weights.distribution == "categorical":
            noise = generator.gumbel(size=inputs.shape).astype(np.float32)
            action = self._mode_of_categorical(inputs + noise)
        else:
            mean, log_std = np.split(inputs, 2)
            action = mean + np.exp(log_std) * generator.standard_normal(mean.shape, dtype=np.float32)
        return Step(action, self.for_env(action), self.log_probability(inputs, action))

    def greedy(self, observation: Array) -> Array:
        """The most probable action, as the environment takes it."""
        inputs = self.distribution_inputs(np.asarray(observation)[None])[0]
        if self.weights.distribution == "categorical":
            return self.for_env(self._mode_of_categorical(inputs))
        return self.for_env(np.split(inputs, 2)[0])

    def log_probability(self, inputs: Array, action: Array) -> float:
        """inputs: (k,) for one observation; action as in Step.action."""
        if self.weights.distribution == "categorical":
            total = 0.0
            chosen = np.atleast_1d(action)
            for part, index in zip(self._parts(inputs), chosen, strict=True):
                peak = part.max()
                total += float(part[index] - peak - np.log(np.exp(part - peak).sum()))
            return total
        mean, log_std = np.split(inputs, 2)
        z = (action - mean) * np.exp(-log_std)
        return float(np.sum(-0.5 * z * z - log_std - np.float32(0.5 * np.log(2 * np.pi))))

    def for_env(self, action: Array) -> Array:
        """What RLlib's default module-to-env connectors make of an action: unsquashed, or clipped, into a Box."""
        space, weights = self.weights.action_space, self.weights
        if weights.distribution == "categorical":
            return action
        assert isinstance(space, gym.spaces.Box), "a gaussian policy acts in a Box: the export refuses others"
        shaped = np.asarray(action, dtype=np.float32).reshape(space.shape)
        bounded = np.all(space.bounded_below) and np.all(space.bounded_above)
        if weights.normalize_actions:
            if bounded:
                shaped = np.clip(space.low + (shaped + 1.0) * (space.high - space.low) / 2.0, space.low, space.high)
        elif weights.clip_actions:
            shaped = np.clip(shaped, space.low, space.high)
        return shaped.astype(space.dtype)

    def _mode_of_categorical(self, scores: Array) -> Any:
        if isinstance(self.weights.action_space, gym.spaces.Discrete):
            return np.int64(scores.argmax())
        return np.array([part.argmax() for part in self._parts(scores)], dtype=np.int64)

    def _parts(self, inputs: Array) -> list[Array]:
        if len(self.weights.splits) == 1:
            return [inputs]
        return np.split(inputs, np.cumsum(self.weights.splits)[:-1])
