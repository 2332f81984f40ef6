"""The lean Learner of SAC."""

from __future__ import annotations

from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner

from trainyard.rllib.learners.fused import FusedOptimizer
from trainyard.rllib.learners.sac_loss import ShortSAC
from trainyard.rllib.learners.targets import TargetsAtOnce


class LeanSACTorchLearner(ShortSAC, FusedOptimizer, TargetsAtOnce, SACTorchLearner):
    """SAC: as DQN, and its losses from fewer operations and one backward pass."""
