"""The lean Learners of APPO and IMPALA.

These train in a thread that calls Learner.update() itself, one minibatch per batch, so that only the optimizer and the
finite test are theirs to change.
"""

from __future__ import annotations

from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner

from trainyard.rllib.learners.finite import ErrorsOfTheThread
from trainyard.rllib.learners.fused import FusedOptimizer


class LeanAPPOTorchLearner(ErrorsOfTheThread, FusedOptimizer, APPOTorchLearner):
    """APPO: fused Adam and one finite test per update."""


class LeanIMPALATorchLearner(ErrorsOfTheThread, FusedOptimizer, IMPALATorchLearner):
    """IMPALA: fused Adam and one finite test per update."""
