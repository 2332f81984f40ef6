"""The lean Learner of DQN."""

from __future__ import annotations

from trainyard.rllib.learners.column_update import ReplayUpdate
from trainyard.rllib.learners.fused import FusedOptimizer, PlainBackward
from trainyard.rllib.learners.targets import TargetsAtOnce


class LeanDQNTorchLearner(ReplayUpdate, FusedOptimizer, PlainBackward, TargetsAtOnce):
    """DQN: fused Adam, metrics once per update; takes flat batches from the replay buffer."""
