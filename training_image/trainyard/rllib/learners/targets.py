"""Target networks that follow in one call, instead of through ten dictionaries per update."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.algorithms.dqn.dqn_learner import DQNLearner
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core.learner.utils import update_target_network
from ray.rllib.core.rl_module.apis import TargetNetworkAPI
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.metrics import LAST_TARGET_UPDATE_TS, NUM_ENV_STEPS_SAMPLED_LIFETIME, NUM_TARGET_UPDATES


class Targets:
    """A module's target networks and what they follow.

    Loading a state copies into these tensors, so that the pairs stay those of the module.
    """

    def __init__(self, module: RLModule) -> None:
        self.module = module
        self._pairs = module.get_target_network_pairs()
        self._followed: list[torch.Tensor] = []
        self._following: list[torch.Tensor] = []
        for main, target in self._pairs:
            own = main.state_dict()
            for name, tensor in target.state_dict().items():
                self._followed.append(own[name])
                self._following.append(tensor)
        self._floats = all(tensor.is_floating_point() for tensor in self._following)

    @torch.no_grad()
    def follow(self, tau: float) -> None:
        """Go the fraction `tau` of the way."""
        if self._floats:
            torch._foreach_lerp_(self._following, self._followed, tau)
            return
        for main, target in self._pairs:
            update_target_network(main_net=main, target_net=target, tau=tau)


class TargetsAtOnce(DQNTorchLearner):
    """Mix-in for DQN and its like: the target networks' update, when RLlib's comes."""

    def build(self) -> None:
        self._targets: dict[str, Targets] = {}
        super().build()

    def after_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        # DQNLearner's own is written anew here.
        super(DQNLearner, self).after_gradient_based_update(timesteps=timesteps)
        now = timesteps.get(NUM_ENV_STEPS_SAMPLED_LIFETIME, 0)
        for module_id, wrapped in self.module._rl_modules.items():
            module, config = wrapped.unwrapped(), self.config.get_config_for_module(module_id)
            due = now - self.last_update_ts_by_mid[module_id] >= config.target_network_update_freq
            if due and isinstance(module, TargetNetworkAPI):
                self._targets_of(module_id, module).follow(config.tau)
                self.metrics.log_value((module_id, NUM_TARGET_UPDATES), 1, reduce="lifetime_sum")
                self.metrics.log_value((module_id, LAST_TARGET_UPDATE_TS), now, reduce="max")
                self.last_update_ts_by_mid[module_id] = now

    def _targets_of(self, module_id: str, module: RLModule) -> Targets:
        known = self._targets.get(module_id)
        if known is None or known.module is not module:
            known = self._targets[module_id] = Targets(module)
        return known
