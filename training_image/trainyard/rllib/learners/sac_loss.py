"""SAC's update without what nobody differentiates or reads.

RLlib 2.60 records the next actions and the targets for a backward pass that never comes, encodes the observations
twice per Q network, makes two distribution objects, goes backward once per optimizer through one graph, and computes
eleven figures per update that are logged once per iteration. Here the same losses come from fewer operations; the
update that is logged takes RLlib's loss.

The policy is a squashed Gaussian (Haarnoja et al., "Soft Actor-Critic", arXiv 1801.01290, appendix C):
with e ~ N(0, 1), x = mean + std e, action = tanh(x),

    log p(action) = sum( -e^2 / 2 - log std - log sqrt(2 pi) - log(1 - tanh(x)^2) )
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.sac.sac import SACConfig
from ray.rllib.algorithms.sac.sac_learner import QF_PREDS, QF_TARGET_NEXT, QF_TWIN_PREDS
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchSquashedGaussian
from ray.rllib.core.models.base import ENCODER_OUT
from ray.rllib.core.models.torch.encoder import TorchMultiStreamEncoder
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.metrics import TD_ERROR_KEY
from ray.rllib.utils.numpy import MAX_LOG_NN_OUTPUT, MIN_LOG_NN_OUTPUT
from torch.nn.functional import huber_loss, softplus

from trainyard.rllib.learners.column_update import ReplayUpdate, TdErrors
from trainyard.rllib.learners.fused import PlainBackward
from trainyard.rllib.learners.ppo_loss import LOG_SQRT_2_PI

LOGP, LOGP_NEXT, Q_CURRENT = "logp_resampled", "logp_next_resampled", "q_curr"
"""RLlib's names, for which it has no constants."""


def actions_and_log_probabilities(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw from the squashed Gaussians with these means and log standard deviations, of shape (rows, 2 * n)."""
    mean, log_std = inputs.chunk(2, -1)
    log_std = log_std.clamp(MIN_LOG_NN_OUTPUT, MAX_LOG_NN_OUTPUT)
    # No gradient with respect to the mean goes through the Gaussian's density: what it adds, the action takes away.
    noise = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device)
    drawn = torch.addcmul(mean, log_std.exp(), noise)
    log_gaussian = -(0.5 * noise.square() + LOG_SQRT_2_PI) - log_std
    # log(1 - tanh(x)^2), so that it is exact for large x too
    log_squash = 2.0 * (math.log(2.0) - drawn - softplus(-2.0 * drawn))
    return drawn.tanh(), (log_gaussian - log_squash).sum(-1)


class QNetwork:
    """One of a module's Q functions, whose encoding of the observations can be used again."""

    def __init__(self, encoder: TorchMultiStreamEncoder, head: torch.nn.Module) -> None:
        self.encoder, self.head = encoder, head
        self.parameters = [*encoder.parameters(), *head.parameters()]
        self._activations = encoder.hidden_activation(), encoder.output_activation()

    def observed(self, observations: torch.Tensor) -> torch.Tensor:
        return self.encoder.base_encoders[Columns.OBS]({Columns.OBS: observations})[ENCODER_OUT]

    def values(self, observed: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Of shape (rows,); observed: of the observations."""
        encoder, (hidden, last) = self.encoder, self._activations
        acted = encoder.base_encoders[Columns.ACTIONS]({Columns.OBS: actions})[ENCODER_OUT]
        # In the order of their names.
        both = torch.cat((acted, observed), -1)
        fused = both
        for number, layer in enumerate(encoder.fusion_layers):
            fused = hidden(layer(torch.cat((fused, both), -1) if number else both))
        fused = torch.cat((fused, both), -1) if len(encoder.fusion_layers) else both
        return self.head(last(encoder.output_layer(fused))).squeeze(-1)

    @contextmanager
    def constant(self) -> Iterator[None]:
        """Gradients go through it to its inputs, not to its parameters. Those that are frozen stay so."""
        trained = [parameter for parameter in self.parameters if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad = False
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad = True


class Passes:
    """The passes of DefaultSACTorchRLModule for continuous actions."""

    def __init__(self, module: DefaultSACTorchRLModule) -> None:
        self._module = module
        self._q = [QNetwork(module.qf_encoder, module.qf)]
        self._target = [QNetwork(module.target_qf_encoder, module.target_qf)]
        if module.twin_q:
            self._q.append(QNetwork(module.qf_twin_encoder, module.qf_twin))
            self._target.append(QNetwork(module.target_qf_twin_encoder, module.target_qf_twin))

    def __call__(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        """What the module's forward_train() gives the loss."""
        observations = batch[Columns.OBS]
        observed = [q.observed(observations) for q in self._q]
        values = [q.values(seen, batch[Columns.ACTIONS]) for q, seen in zip(self._q, observed, strict=True)]
        actions, logp = actions_and_log_probabilities(self._policy(observations))
        current = self._q_current(observed, actions)
        output = {QF_PREDS: values[0], LOGP: logp, Q_CURRENT: current, **self._next(batch[Columns.NEXT_OBS])}
        return output | ({QF_TWIN_PREDS: values[1]} if self._module.twin_q else {})

    def _policy(self, observations: torch.Tensor) -> torch.Tensor:
        return self._module.pi(self._module.pi_encoder({Columns.OBS: observations})[ENCODER_OUT])

    def _q_current(self, observed: list[torch.Tensor], actions: torch.Tensor) -> torch.Tensor:
        found = []
        for q, seen in zip(self._q, observed, strict=True):
            with q.constant():
                found.append(q.values(seen.detach(), actions))
        return torch.minimum(*found) if self._module.twin_q else found[0]

    @torch.no_grad()
    def _next(self, observations: torch.Tensor) -> dict[str, torch.Tensor]:
        actions, logp = actions_and_log_probabilities(self._policy(observations))
        found = [q.values(q.observed(observations), actions) for q in self._target]
        return {LOGP_NEXT: logp, QF_TARGET_NEXT: torch.minimum(*found) if self._module.twin_q else found[0]}


def passes_of(module: RLModule) -> Passes | None:
    """Those of a module whose own passes are the ones that are written down here."""
    if type(module) is not DefaultSACTorchRLModule or not isinstance(module.action_space, gym.spaces.Box):
        return None
    distribution = module.get_train_action_dist_cls()
    if not _draws_as(distribution, TorchSquashedGaussian):
        return None
    encoders = [module.qf_encoder, *([module.qf_twin_encoder] if module.twin_q else [])]
    plain = all(type(encoder) is TorchMultiStreamEncoder and encoder.output_layer is not None for encoder in encoders)
    return Passes(module) if plain else None


def _draws_as(distribution: Any, stock: Any) -> bool:
    names = ("from_logits", "rsample_and_logp", "sample_and_logp", "_squash", "_squashed_logp", "rsample", "sample")
    return all(_function(distribution, name) is _function(stock, name) for name in names)


def _function(kind: Any, name: str) -> Any:
    found = getattr(kind, name)
    return getattr(found, "__func__", found)


class ShortSAC(ReplayUpdate, PlainBackward, SACTorchLearner):
    """Mix-in: the passes above, the losses alone where nothing is logged, and one backward pass for all of them."""

    def build(self) -> None:
        self._passes: dict[str, tuple[RLModule, Passes | None]] = {}
        super().build()

    def _forward_module(self, module_id: str, module: RLModule, columns: dict[str, Any]) -> dict[str, Any]:
        known = self._passes.get(module_id)
        if known is None or known[0] is not module:
            known = self._passes[module_id] = module, passes_of(module)
        passes = known[1]
        return passes(columns) if passes else super()._forward_module(module_id, module, columns)

    def compute_loss_for_module(
        self, *, module_id: str, config: SACConfig, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        # Of discrete actions, or with figures that are kept.
        if LOGP not in fwd_out or not isinstance(self.metrics, TdErrors) or self.metrics.logs:
            return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        log_alpha = self.curr_log_alpha[module_id]
        with torch.no_grad():
            alpha = log_alpha.exp()
            following = fwd_out[QF_TARGET_NEXT] - alpha * fwd_out[LOGP_NEXT]
            following *= 1.0 - batch[Columns.TERMINATEDS].float()
            target = torch.addcmul(batch[Columns.REWARDS], config.gamma ** batch["n_step"], following)
            entropy_gap = fwd_out[LOGP].mean() + self.target_entropy[module_id]
        predictions = [fwd_out[name] for name in (QF_PREDS, QF_TWIN_PREDS) if name in fwd_out]
        loss = (alpha * fwd_out[LOGP] - fwd_out[Q_CURRENT]).mean() - (log_alpha * entropy_gap).mean()
        for predicted in predictions:
            loss = loss + (batch["weights"] * huber_loss(predicted, target, reduction="none")).mean()
        with torch.no_grad():
            errors = sum((predicted - target).abs() for predicted in predictions) / len(predictions)
        self.metrics.log_value(key=(module_id, TD_ERROR_KEY), value=errors, reduce="item_series")
        return loss

    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Any, torch.Tensor | None]:
        # No parameter is in two of the losses, so that each has the gradient of their sum; RLlib keeps them apart.
        gradients = super().compute_gradients(loss_per_module, **kwargs)
        self._temp_losses.clear()
        return gradients
