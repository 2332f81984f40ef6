"""One optimizer kernel and one finite test per update, instead of one of each per parameter.

RLlib 2.60's TorchLearner steps Adam parameter by parameter and tests every gradient with torch.isfinite, twice
(measured on PPO's default CartPole network: a quarter of the update). Both are replaced by their multi-tensor form.
A gradient that is not finite ends the run (`trainyard.rllib.learners.finite`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.utils.torch_utils import clip_gradients

from trainyard.rllib.learners.finite import require_finite

FUSED_DEVICES = frozenset({"cpu", "cuda"})
"""Device types on which torch.optim.Adam(fused=True) exists and is tested by us or by torch."""


def _use_fused_kernel(optimizer: torch.optim.Optimizer) -> None:
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW):
        return
    for group in optimizer.param_groups:
        parameters = group["params"]
        # RLlib before 2.56 makes tensors of all settings when it restores a state; torch's kernels want numbers.
        group.update({name: _number(value) for name, value in group.items() if name != "params"})
        if all(p.device.type in FUSED_DEVICES and p.is_floating_point() for p in parameters):
            group["fused"], group["foreach"] = True, False


def _number(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_number(each) for each in value)
    return value.item() if isinstance(value, torch.Tensor) else value


@torch.no_grad()
def _total_norm(gradients: list[torch.Tensor]) -> torch.Tensor:
    """torch.nn.utils.get_total_norm without its grouping by device: a Learner's gradients are all on one."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients, 2.0)))


def _step(optimizer: torch.optim.Optimizer) -> None:
    """optimizer.step(); of an Adam that is fused and watched by nobody, the kernel without torch's wrapping."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or not _is_plain(optimizer):
        optimizer.step()
        return
    for group in optimizer.param_groups:
        _step_group(optimizer, group)


def _is_plain(optimizer: torch.optim.Optimizer) -> bool:
    hooks = optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
    scaled = getattr(optimizer, "grad_scale", None) is not None or getattr(optimizer, "found_inf", None) is not None
    return not (hooks or scaled) and all(
        group["fused"] and not group["differentiable"] and isinstance(group["lr"], float)
        for group in optimizer.param_groups
    )


@torch.no_grad()
def _step_group(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> None:
    # parameters, gradients, first and second moments, largest second moments, steps
    lists: tuple[list[torch.Tensor], ...] = ([], [], [], [], [], [])
    optimizer._init_group(group, *lists)  # type: ignore[attr-defined]
    if not lists[0]:
        return
    torch._foreach_add_(lists[-1], 1)
    kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
    beta1, beta2 = group["betas"]
    kernel(
        *lists,
        amsgrad=group["amsgrad"],
        lr=group["lr"],
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=group["maximize"],
        grad_scale=None,
        found_inf=None,
    )


class PlainBackward(TorchLearner):
    """Mix-in for Learners that compute gradients as TorchLearner does: without torch's profiling around zero_grad."""

    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Any, torch.Tensor | None]:
        total = sum(loss_per_module.values())
        if self._grad_scalers is not None or not isinstance(total, torch.Tensor) or total.grad_fn is None:
            return super().compute_gradients(loss_per_module, **kwargs)
        for parameter in self._params.values():
            parameter.grad = None
        total.backward()
        return {name: parameter.grad for name, parameter in self._params.items()}


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
            _step(optimizer)

    def _must_step_as_rllib(self, gradients_dict: dict[Any, Any], gradients: list[torch.Tensor]) -> bool:
        if len(gradients) != len(gradients_dict) or not gradients:
            return True
        # The norm of all gradients is finite only when each of them is; an overflow of the norm itself merely
        # sends a finite update through RLlib's slower, equal path.
        known, self._finite = self._finite, set()
        unknown = [gradient for gradient in gradients if id(gradient) not in known]
        if not unknown or torch.isfinite(_total_norm(unknown)):
            return False
        require_finite(self, gradients_dict)
        return True

    def _get_clip_function(self) -> Callable[..., Any]:
        return self._clip_gradients

    def _clip_gradients(
        self, gradients: dict[Any, torch.Tensor], *, grad_clip: float | None = None, grad_clip_by: str = "value"
    ) -> torch.Tensor | None:
        """RLlib's clip_gradients, all tensors at once where the global norm is meant and finite."""
        tensors = list(gradients.values())
        if grad_clip is not None and tensors and not any(t is None for t in tensors):
            norm = _total_norm(tensors)
            if not torch.isfinite(norm):
                # Some of the ways to clip make a finite number of it.
                require_finite(self, gradients)
            elif grad_clip_by == "global_norm":
                torch._foreach_mul_(tensors, torch.clamp(grad_clip / (norm + 1e-6), max=1.0))
                self._finite.update(map(id, tensors))
                return norm
        return clip_gradients(gradients, grad_clip=grad_clip, grad_clip_by=grad_clip_by)
