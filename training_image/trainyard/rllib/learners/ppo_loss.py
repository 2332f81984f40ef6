"""PPO's loss with its gradient written down, instead of through some sixty small operations of autograd.

RLlib 2.60 makes two distribution objects per minibatch, selects the valid rows with a boolean index six times, and
computes figures for the log; torch then differentiates all of it. The gradients with respect to the module's outputs
have short closed forms, from which autograd goes on through the networks.

The loss (Schulman et al., "Proximal Policy Optimization Algorithms", arXiv 1707.06347, equations 7 to 9, with RLlib's
clip of the value loss), over the N rows of the mask:

    1/N sum( -min(A r, A clip(r, 1-e, 1+e)) + c_v min((V - T)^2, vf_clip) - c_e H + c_kl KL(old || new) ),
    r = exp(log p(a) - log p_old(a))
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from ray.rllib.algorithms.ppo.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchCategorical, TorchDiagGaussian
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch.autograd.function import once_differentiable

from trainyard.rllib.learners.flat import UnloggedMetrics


@dataclass(frozen=True)
class Coefficients:
    """Of the terms of the loss; kl is None where the loss has no such term."""

    clip: float
    value: float
    value_clip: float
    entropy: float
    kl: float | None


@dataclass(frozen=True)
class Terms:
    """Of one distribution per row: log p(a), entropy, KL(old || new), each of shape (rows,), and their derivatives
    with respect to the distribution's inputs, of shape (rows, inputs)."""

    log_probability: torch.Tensor
    entropy: torch.Tensor
    kl: torch.Tensor | None
    d_log_probability: torch.Tensor
    d_entropy: torch.Tensor
    d_kl: torch.Tensor | None


def categorical_terms(new: torch.Tensor, old: torch.Tensor | None, actions: torch.Tensor) -> Terms:
    """new, old: logits of shape (rows, actions); actions: integers of shape (rows,). Without `old` there is no KL."""
    log_p = torch.log_softmax(new, -1)
    p = log_p.exp()
    chosen = actions.long().unsqueeze(-1)
    entropy = -(p * log_p).sum(-1)
    # d log p(a) / d logits = onehot(a) - p
    d_log_probability = (-p).scatter_add_(-1, chosen, torch.ones_like(chosen, dtype=p.dtype))
    kl = d_kl = None
    if old is not None:
        log_q = torch.log_softmax(old, -1)
        q = log_q.exp()
        kl, d_kl = (q * (log_q - log_p)).sum(-1), p - q
    return Terms(
        log_p.gather(-1, chosen).squeeze(-1), entropy, kl, d_log_probability, -p * (log_p + entropy.unsqueeze(-1)), d_kl
    )


LOG_SQRT_2_PI = 0.5 * math.log(2 * math.pi)


def gaussian_terms(new: torch.Tensor, old: torch.Tensor | None, actions: torch.Tensor) -> Terms:
    """new, old: means and log standard deviations of shape (rows, 2 * n); actions: of shape (rows, n)."""
    mean, log_std = new.chunk(2, -1)
    inverse_variance = (-2 * log_std).exp()
    difference = actions - mean
    squared = difference.square() * inverse_variance
    log_probability = (-0.5 * squared - log_std - LOG_SQRT_2_PI).sum(-1)
    entropy = (log_std + (0.5 + LOG_SQRT_2_PI)).sum(-1)
    kl = d_kl = None
    if old is not None:
        old_mean, old_log_std = old.chunk(2, -1)
        variance_ratio = (2 * (old_log_std - log_std)).exp()
        shift = mean - old_mean
        shift_ratio = shift.square() * inverse_variance
        kl = (0.5 * (variance_ratio + shift_ratio - 1) + log_std - old_log_std).sum(-1)
        d_kl = torch.cat((shift * inverse_variance, 1 - variance_ratio - shift_ratio), -1)
    return Terms(
        log_probability,
        entropy,
        kl,
        torch.cat((difference * inverse_variance, squared - 1), -1),
        torch.cat((torch.zeros_like(mean), torch.ones_like(log_std)), -1),
        d_kl,
    )


TERMS = {TorchCategorical: categorical_terms, TorchDiagGaussian: gaussian_terms}


class PPOLoss(torch.autograd.Function):
    """PPO's loss of a minibatch, a scalar; differentiable once, in `inputs` and `values`."""

    @staticmethod
    def forward(
        ctx: Any, inputs: torch.Tensor, values: torch.Tensor, distribution: type, batch: dict[str, torch.Tensor],
        coefficients: Coefficients,
    ) -> torch.Tensor:  # fmt: skip
        """inputs: of the distribution, (rows, inputs). values: (rows,). batch: RLlib's columns."""
        old = batch[Columns.ACTION_DIST_INPUTS] if coefficients.kl is not None else None
        terms = TERMS[distribution](inputs, old, batch[Columns.ACTIONS])
        weights = _weights(batch, values)
        ratio = (terms.log_probability - batch[Columns.ACTION_LOGP]).exp()
        advantages = batch[Postprocessing.ADVANTAGES]
        plain = advantages * ratio
        clipped = advantages * ratio.clamp(1 - coefficients.clip, 1 + coefficients.clip)
        error = values - batch[Postprocessing.VALUE_TARGETS]
        squared = error.square()
        per_row = coefficients.value * squared.clamp(max=coefficients.value_clip) - torch.minimum(plain, clipped)
        # Where the clipped term is smaller, the ratio is outside of its range and has no gradient. A row that is not a
        # number is not smaller: its gradient must not be 0, or training would go on without the row.
        factor = torch.where(clipped < plain, 0.0, -plain) * weights
        gradient = factor.unsqueeze(-1) * terms.d_log_probability
        if coefficients.entropy:
            per_row -= coefficients.entropy * terms.entropy
            gradient -= (coefficients.entropy * weights).unsqueeze(-1) * terms.d_entropy
        if coefficients.kl is not None:
            assert terms.kl is not None
            assert terms.d_kl is not None
            per_row += coefficients.kl * terms.kl
            gradient += (coefficients.kl * weights).unsqueeze(-1) * terms.d_kl
        value_gradient = torch.where(squared > coefficients.value_clip, 0.0, error) * (2 * coefficients.value * weights)
        if (mask := batch.get(Columns.LOSS_MASK)) is not None:
            # Rows that do not count may hold anything, and 0 times that is not always 0.
            per_row, value_gradient = torch.where(mask, per_row, 0.0), torch.where(mask, value_gradient, 0.0)
            gradient = torch.where(mask.unsqueeze(-1), gradient, 0.0)
        ctx.save_for_backward(gradient, value_gradient)
        return per_row.dot(weights)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradient, value_gradient = ctx.saved_tensors
        return gradient * outer, value_gradient * outer, None, None, None


def _weights(batch: dict[str, torch.Tensor], values: torch.Tensor) -> torch.Tensor:
    """1/N for the rows that count and 0 for the others, of shape (rows,)."""
    if Columns.LOSS_MASK not in batch:
        return torch.full_like(values, 1 / len(values))
    mask = batch[Columns.LOSS_MASK]
    return mask.to(values.dtype) / mask.sum()


class WrittenOutPPOLoss(PPOTorchLearner):
    """Mix-in: the loss above for minibatches whose figures nobody sees, RLlib's own for those that are logged."""

    def compute_loss_for_module(
        self, *, module_id: str, config: PPOConfig, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Any:
        module = self.module[module_id].unwrapped()
        distribution = _distribution(module)
        if not isinstance(self.metrics, UnloggedMetrics) or distribution is None or not config.use_critic:
            return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        coefficients = Coefficients(
            clip=config.clip_param,
            value=config.vf_loss_coeff,
            value_clip=config.vf_clip_param,
            entropy=self.entropy_coeff_schedulers_per_module[module_id].get_current_value(),
            kl=float(self.curr_kl_coeffs_per_module[module_id]) if config.use_kl_loss else None,
        )
        values = module.compute_values(batch, embeddings=fwd_out.get(Columns.EMBEDDINGS))
        return PPOLoss.apply(fwd_out[Columns.ACTION_DIST_INPUTS], values, distribution, batch, coefficients)


def _distribution(module: RLModule) -> type | None:
    """The module's distribution where its terms are written down here."""
    found = module.get_train_action_dist_cls()
    return found if found in TERMS and module.get_exploration_action_dist_cls() is found else None
