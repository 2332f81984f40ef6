"""Lean Learners by algorithm, and the rule that says when one of them is exact."""

from __future__ import annotations

from dataclasses import dataclass

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.learner.learner import Learner

from trainyard.rllib.learners.column_update import ReplayUpdate
from trainyard.rllib.learners.finite import ErrorsOfTheThread, FiniteGradients
from trainyard.rllib.learners.flat import FlatUpdate
from trainyard.rllib.learners.fused import FusedOptimizer, PlainBackward
from trainyard.rllib.learners.ppo_loss import WrittenOutPPOLoss
from trainyard.rllib.learners.sac_loss import ShortSAC
from trainyard.rllib.learners.targets import TargetsAtOnce


class LeanPPOTorchLearner(FlatUpdate, FusedOptimizer, PlainBackward, WrittenOutPPOLoss):
    """PPO: flat minibatches, fused Adam, the loss's gradient written out, metrics once per update."""


class LeanDQNTorchLearner(ReplayUpdate, FusedOptimizer, PlainBackward, TargetsAtOnce):
    """DQN: fused Adam, metrics once per update; takes flat batches from the replay buffer."""


class LeanSACTorchLearner(ShortSAC, FusedOptimizer, TargetsAtOnce, SACTorchLearner):
    """SAC: as DQN, and its losses from fewer operations and one backward pass."""


# APPO and IMPALA train in a thread that calls Learner.update() itself, one minibatch per batch, so only the
# optimizer and the finite test are theirs to change.
class LeanAPPOTorchLearner(ErrorsOfTheThread, FusedOptimizer, APPOTorchLearner):
    """APPO: fused Adam and one finite test per update."""


class LeanIMPALATorchLearner(ErrorsOfTheThread, FusedOptimizer, IMPALATorchLearner):
    """IMPALA: fused Adam and one finite test per update."""


LEAN_LEARNERS: dict[type[Learner], type[Learner]] = {
    PPOTorchLearner: LeanPPOTorchLearner,
    DQNTorchLearner: LeanDQNTorchLearner,
    SACTorchLearner: LeanSACTorchLearner,
    APPOTorchLearner: LeanAPPOTorchLearner,
    IMPALATorchLearner: LeanIMPALATorchLearner,
}


class StockPPOTorchLearner(FiniteGradients, PPOTorchLearner):
    """RLlib's own, except that a gradient that is not finite ends the run; so are those below."""


class StockDQNTorchLearner(FiniteGradients, DQNTorchLearner):
    """As above, of DQN."""


class StockSACTorchLearner(FiniteGradients, SACTorchLearner):
    """As above, of SAC."""


class StockAPPOTorchLearner(ErrorsOfTheThread, FiniteGradients, APPOTorchLearner):
    """As above, of APPO."""


class StockIMPALATorchLearner(ErrorsOfTheThread, FiniteGradients, IMPALATorchLearner):
    """As above, of IMPALA."""


STOCK_LEARNERS: dict[type[Learner], type[Learner]] = {
    PPOTorchLearner: StockPPOTorchLearner,
    DQNTorchLearner: StockDQNTorchLearner,
    SACTorchLearner: StockSACTorchLearner,
    APPOTorchLearner: StockAPPOTorchLearner,
    IMPALATorchLearner: StockIMPALATorchLearner,
}


@dataclass(frozen=True)
class LearnerChoice:
    """Which Learner trains, and why it is not the lean one.

    reason is None when learner_class is a lean one.
    """

    learner_class: type[Learner]
    reason: str | None


def choose_learner(config: AlgorithmConfig) -> LearnerChoice:
    """The lean counterpart of the configured Learner where it computes the same, else the configured Learner itself."""
    stock = config.learner_class
    lean = LEAN_LEARNERS.get(stock)
    reason = _why_not_exact(config)
    if lean is None:
        return LearnerChoice(stock, f"there is no lean counterpart of {stock.__name__}")
    if reason is not None:
        return LearnerChoice(STOCK_LEARNERS[stock], reason)
    return LearnerChoice(lean, None)


def stock_learner(config: AlgorithmConfig) -> type[Learner]:
    """RLlib's own Learner, with the test of its gradients where it is one of those above."""
    stock = config.learner_class or config.get_default_learner_class()
    return STOCK_LEARNERS.get(stock, stock)


def _why_not_exact(config: AlgorithmConfig) -> str | None:
    if config.torch_compile_learner:
        return "torch_compile_learner compiles RLlib's own update"
    if config._torch_grad_scaler_class is not None:
        return "mixed precision scales the loss in RLlib's own update"
    if config._torch_lr_scheduler_classes is not None:
        return "torch learning-rate schedulers are stepped in RLlib's own update"
    return None
