"""From an RLModule to what a runner acts with: numpy weights where the module is an MLP, the module itself elsewhere.

An export is accepted only when its outputs equal the module's on random observations, so a module of an unforeseen
shape is never misread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from torch import nn

from trainyard.rllib.asynchronous.policy import Layer, NumpyPolicy, PolicyWeights, Step

_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Tanh: "tanh",
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.ELU: "elu",
    nn.Identity: "linear",
}
TOLERANCE = 1e-4
_torch_generator = threading.Lock()
CHECKED_OBSERVATIONS = 16


class NotExportable(Exception):
    """Why a module cannot act in numpy."""


@dataclass(frozen=True)
class ActionRules:
    """How RLlib's default module-to-env connectors treat Box actions (AlgorithmConfig's settings of these names)."""

    normalize_actions: bool = True
    clip_actions: bool = False

    @classmethod
    def of(cls, config: AlgorithmConfig) -> ActionRules:
        return cls(config.normalize_actions, config.clip_actions)


def numpy_weights(module: RLModule, version: int, rules: ActionRules) -> PolicyWeights:
    """The module's policy as numpy arrays (copies).

    Raises:
        NotExportable: when the module is not an MLP over a flat Box observation with Discrete, MultiDiscrete or
            one-dimensional Box actions, or when its outputs differ from the export's.
    """
    space = module.action_space
    if not isinstance(module.observation_space, gym.spaces.Box):
        raise NotExportable(f"its observations are {type(module.observation_space).__name__}, not Box")
    if module.is_stateful():
        raise NotExportable("it is recurrent")
    encoder = getattr(module, "encoder", None)
    head = getattr(module, "pi", None)
    if encoder is None or head is None:
        raise NotExportable(f"{type(module).__name__} has no encoder and policy head as RLlib's default PPO module")
    body = getattr(encoder, "encoder", None) or getattr(encoder, "actor_encoder", None)
    layers = tuple(_layers(body) + _layers(head))
    common: dict[str, Any] = {
        "layers": layers,
        "action_space": space,
        "version": version,
        "normalize_actions": rules.normalize_actions,
        "clip_actions": rules.clip_actions,
    }
    distribution = module.get_exploration_action_dist_cls()
    if isinstance(space, gym.spaces.Discrete) and issubclass(distribution, TorchCategorical):
        weights = PolicyWeights(distribution="categorical", splits=(int(space.n),), **common)
    elif isinstance(space, gym.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        weights = PolicyWeights(distribution="categorical", splits=tuple(int(n) for n in space.nvec), **common)
    elif isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and issubclass(distribution, TorchDiagGaussian):
        weights = PolicyWeights(distribution="gaussian", **_deviations(head), **common)
    else:
        raise NotExportable(f"{distribution.__name__} over {type(space).__name__} actions is not a known distribution")
    _require_equal(module, weights)
    return weights


def _deviations(head: Any) -> dict[str, Any]:
    log_std = getattr(head, "log_std", None)
    clipped = getattr(head, "clip_log_std", False)
    return {
        "log_std": None if log_std is None else log_std.detach().cpu().numpy().copy(),
        "log_std_limit": float(head.log_std_clip_param) if clipped else None,
    }


def _layers(part: nn.Module | None) -> list[Layer]:
    stack = getattr(getattr(part, "net", None), "mlp", None)
    if not isinstance(stack, nn.Sequential):
        raise NotExportable(f"{type(part).__name__} is not a multi-layer perceptron")
    layers: list[Layer] = []
    for module in stack:
        if isinstance(module, nn.Linear):
            weight = module.weight.detach().cpu().numpy().T.copy()
            bias = np.zeros(weight.shape[1], np.float32) if module.bias is None else module.bias.detach().cpu().numpy()
            layers.append(Layer(weight, bias.copy(), "linear"))
        elif type(module) in _ACTIVATIONS and layers and layers[-1].activation == "linear":
            layers[-1] = Layer(layers[-1].weight, layers[-1].bias, _ACTIVATIONS[type(module)])
        else:
            raise NotExportable(f"it has a layer {type(module).__name__}")
    return layers


def _require_equal(module: RLModule, weights: PolicyWeights) -> None:
    shape = module.observation_space.shape
    observations = np.random.default_rng(0).normal(size=(CHECKED_OBSERVATIONS, *shape)).astype(np.float32)
    device = next(module.parameters()).device
    with torch.no_grad():
        output = module.forward_exploration({Columns.OBS: torch.from_numpy(observations).to(device)})
    expected = output[Columns.ACTION_DIST_INPUTS].cpu().numpy()
    actual = NumpyPolicy(weights).distribution_inputs(observations)
    if expected.shape != actual.shape or not np.allclose(expected, actual, rtol=TOLERANCE, atol=TOLERANCE):
        raise NotExportable("its outputs differ from those of its exported layers")


@dataclass(frozen=True)
class ModuleWeights:
    """For modules that numpy cannot run: the runner builds the RLModule and imports torch and RLlib to do so."""

    spec: RLModuleSpec
    state: dict[str, Any]
    rules: ActionRules
    version: int

    def policy(self) -> ModulePolicy:
        module = self.spec.build()
        module.set_state(self.state)
        return ModulePolicy(module, self.version, self.rules)


class ModulePolicy:
    """Acts with a torch RLModule, one observation at a time. Feed-forward modules only."""

    def __init__(self, module: RLModule, version: int, rules: ActionRules) -> None:
        torch.set_num_threads(1)
        self.version = version
        self._module = module
        self._distribution = module.get_exploration_action_dist_cls()
        # PolicyWeights without layers: only its treatment of actions is used.
        self._actions = NumpyPolicy(
            PolicyWeights(
                layers=(),
                distribution="gaussian" if isinstance(module.action_space, gym.spaces.Box) else "categorical",
                action_space=module.action_space,
                version=version,
                normalize_actions=rules.normalize_actions,
                clip_actions=rules.clip_actions,
            )
        )

    def act(self, observation: np.ndarray, generator: np.random.Generator) -> Step:
        batch = {Columns.OBS: torch.as_tensor(np.asarray(observation, dtype=np.float32))[None]}
        # torch's distributions draw from torch's own generator, which the environments' threads share.
        with torch.no_grad(), _torch_generator:
            torch.manual_seed(int(generator.integers(2**63)))
            inputs = self._module.forward_exploration(batch)[Columns.ACTION_DIST_INPUTS]
            distribution = self._distribution.from_logits(inputs)
            action = distribution.sample()
            log_probability = float(distribution.logp(action))
        chosen = action[0].numpy()
        return Step(chosen, self._actions.for_env(chosen), log_probability)


def exploration_weights(
    module: RLModule, spec: RLModuleSpec, version: int, rules: ActionRules
) -> tuple[PolicyWeights | ModuleWeights, str | None]:
    """The lightest form in which runners can act, and why it is not numpy (None when it is).

    Raises:
        NotExportable: when runners can act in neither form.
    """
    try:
        return numpy_weights(module, version, rules), None
    except NotExportable as error:
        if module.is_stateful():
            raise
        reason = str(error)
    state = {name: value.cpu().numpy() for name, value in module.state_dict().items()}
    return ModuleWeights(spec, state, rules, version), reason
