"""One optimizer kernel and one finite test per update, instead of one of each per parameter.

RLlib 2.60's TorchLearner steps Adam parameter by parameter and tests every gradient with torch.isfinite, twice
(measured on PPO's default CartPole network: a quarter of the update). Both are replaced by their multi-tensor form.
When any gradient is not finite, RLlib's own method takes over for that update, so the outcome is RLlib's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.torch_utils import clip_gradients

FUSED_DEVICES = frozenset({"cpu", "cuda"})
"""Device types on which torch.optim.Adam(fused=True) exists and is tested by us or by torch."""


def _use_fused_kernel(optimizer: torch.optim.Optimizer) -> None:
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        return
    for group in optimizer.param_groups:
        parameters = group["params"]
        if all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters):
            group["fused"], group["foreach"] = True, False


class FusedOptimizer(TorchLearner):
    """Mix-in: fused Adam and a single finite test; everything else as in RLlib."""

    def build(self) -> None:
        # Gradients of the update under way that clipping has found finite, by id.
        self._finite: set[int] = set()
        super().build()
        self._fuse_optimizers()

    def _fuse_optimizers(self) -> None:
        for optimizer in self._named_optimizers.values():
            _use_fused_kernel(optimizer)

    def _set_optimizer_state(self, state: dict[str, Any]) -> None:
        # A checkpoint of a stock Learner carries fused=None in its parameter groups.
        super()._set_optimizer_state(state)
        self._fuse_optimizers()

    def apply_gradients(self, gradients_dict: dict[Any, torch.Tensor]) -> None:
        gradients = [gradient for gradient in gradients_dict.values() if gradient is not None]
        if self._must_step_as_rllib(gradients_dict, gradients):
            super().apply_gradients(gradients_dict)
            return
        for parameter, gradient in gradients_dict.items():
            self._params[parameter].grad = gradient
        for optimizer in self._named_optimizers.values():
            optimizer.step()

    def _must_step_as_rllib(self, gradients_dict: dict[Any, Any], gradients: list[torch.Tensor]) -> bool:
        if len(gradients) != len(gradients_dict) or not gradients:
            return True
        # The norm of all gradients is finite only when each of them is; an overflow of the norm itself merely
        # sends a finite update through RLlib's slower, equal path.
        known, self._finite = self._finite, set()
        unknown = [gradient for gradient in gradients if id(gradient) not in known]
        return bool(unknown) and not torch.isfinite(torch.nn.utils.get_total_norm(unknown, foreach=True))

    def _get_clip_function(self) -> Callable[..., Any]:
        return self._clip_gradients

    def _clip_gradients(
        self, gradients: dict[Any, torch.Tensor], *, grad_clip: float | None = None, grad_clip_by: str = "value"
    ) -> torch.Tensor | None:
        """RLlib's clip_gradients, all tensors at once where the global norm is meant and finite."""
        tensors = list(gradients.values())
        if grad_clip is not None and grad_clip_by == "global_norm" and tensors and not any(t is None for t in tensors):
            norm = torch.nn.utils.get_total_norm(tensors, foreach=True)
            if torch.isfinite(norm):
                torch._foreach_mul_(tensors, torch.clamp(grad_clip / (norm + 1e-6), max=1.0))
                self._finite.update(map(id, tensors))
                return norm
        return clip_gradients(gradients, grad_clip=grad_clip, grad_clip_by=grad_clip_by)
