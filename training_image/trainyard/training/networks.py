"""Networks that are not RLlib's own: a team's, named in `algorithm.module`, and SAC's greedy actions."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.sac.sac_catalog import SACCatalog
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.distribution.distribution import Distribution
from ray.rllib.core.distribution.torch.torch_distribution import TorchDeterministic, TorchSquashedGaussian
from ray.rllib.core.rl_module.rl_module import RLModule, RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule

from trainyard.errors import InvalidConfiguration
from trainyard.loading import load

FIELD = "spec.algorithm.module"
PUBLIC_PASSES = ("forward_inference", "forward_exploration", "forward_train")


class SquashedGaussian(TorchSquashedGaussian):
    """RLlib's, whose deterministic form leaves out the squashing: it answers with a mean that is no action."""

    def to_deterministic(self) -> Distribution:
        return TorchDeterministic(loc=self.low + (torch.tanh(self.loc) + 1) / 2 * (self.high - self.low))


class GreedySACCatalog(SACCatalog):
    """RLlib's catalog with that distribution for continuous actions."""

    def get_action_dist_cls(self, framework: str) -> type[Distribution]:
        stock = super().get_action_dist_cls(framework)
        return SquashedGaussian if stock is TorchSquashedGaussian else stock


def spec_of(path: str, model: dict[str, Any]) -> RLModuleSpec:
    """The class at `package.module:Class`, which reads `model` as its `model_config`.

    Raises:
        InvalidConfiguration: there is no such module or name, or it is no TorchRLModule.
    """
    found = load(path, FIELD)
    if not (isinstance(found, type) and issubclass(found, TorchRLModule)):
        raise InvalidConfiguration.of(
            FIELD, f"{path} is no TorchRLModule", "name a class derived from RLlib's TorchRLModule"
        )
    catalog = GreedySACCatalog if issubclass(found, DefaultSACTorchRLModule) else None
    return RLModuleSpec(module_class=found, model_config=model, catalog_class=catalog)


def make(config: AlgorithmConfig, observations: gym.Space, actions: gym.Space, blame: tuple[str, str]) -> RLModule:
    """The configured network, so that one that cannot be made fails here, and not in every process that needs it.

    Args:
        blame: the field that is at fault then, and the remedy.

    Raises:
        InvalidConfiguration: it cannot be made for these spaces.
    """
    spec = config.get_rl_module_spec(spaces={DEFAULT_MODULE_ID: (observations, actions)})
    try:
        with torch.random.fork_rng(devices=[]):  # making it must not change what the seed gives
            module = spec.build()
        module.is_stateful()
    except Exception as error:
        name = spec.module_class.__name__
        field, remedy = blame
        problem = f"{name} cannot be made for this environment: {type(error).__name__}: {error}"
        raise InvalidConfiguration.of(field, problem, remedy) from error
    return module


def why_not_lean(module: RLModule) -> str | None:
    """Why the lean pieces do not go with a network; None when they do."""
    if module.is_stateful():
        return "the network is recurrent"
    own = [name for name in PUBLIC_PASSES if getattr(type(module), name) is not getattr(TorchRLModule, name)]
    return f"the network has a {own[0]} of its own" if own else None
