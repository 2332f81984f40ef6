"""The lean Learner of PPO."""

from __future__ import annotations

from trainyard.rllib.learners.flat import FlatUpdate
from trainyard.rllib.learners.fused import FusedOptimizer, PlainBackward
from trainyard.rllib.learners.ppo_loss import WrittenOutPPOLoss


class LeanPPOTorchLearner(FlatUpdate, FusedOptimizer, PlainBackward, WrittenOutPPOLoss):
    """PPO: flat minibatches, fused Adam, the loss's gradient written out, metrics once per update."""
