"""Lean Learners by algorithm, and the rule that says when one of them is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.impala.impala_learner import IMPALALearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.learner.learner import Learner

from trainyard.rllib import compat
from trainyard.rllib.learners.finite import ErrorsOfTheThread, FiniteGradients

_HERE = "trainyard.rllib.learners"
LEAN_LEARNERS: dict[type[Learner], tuple[str, ...]] = {
    PPOTorchLearner: (f"{_HERE}.lean_ppo:LeanPPOTorchLearner", "optimizer", "update", "PPO's loss"),
    DQNTorchLearner: (f"{_HERE}.lean_dqn:LeanDQNTorchLearner", "optimizer", "update", "targets"),
    SACTorchLearner: (f"{_HERE}.lean_sac:LeanSACTorchLearner", "optimizer", "update", "targets", "SAC's loss"),
    APPOTorchLearner: (f"{_HERE}.lean_appo:LeanAPPOTorchLearner", "optimizer", "update thread"),
    IMPALATorchLearner: (f"{_HERE}.lean_appo:LeanIMPALATorchLearner", "optimizer", "update thread"),
}
"""RLlib's Learner to the place of the lean one, which a Ray without one of those groups of names cannot import."""


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
    choice = counterpart(config.learner_class)
    reason = choice.reason or _why_not_exact(config)
    return LearnerChoice(stock_learner(config), reason) if reason else choice


def counterpart(stock: type[Learner]) -> LearnerChoice:
    """The lean counterpart of one of RLlib's Learners, if there is one for this Ray; independent of the settings."""
    if stock not in LEAN_LEARNERS:
        return LearnerChoice(stock, f"there is no lean counterpart of {stock.__name__}")
    lean, reason = compat.lean(*LEAN_LEARNERS[stock])
    return LearnerChoice(lean or stock, reason)


def stock_learner(config: AlgorithmConfig) -> type[Learner]:
    """RLlib's own Learner, with the test of its gradients where it is one of those above."""
    stock = config.learner_class or config.get_default_learner_class()
    needed = ("finite gradients", "update thread") if issubclass(stock, IMPALALearner) else ("finite gradients",)
    return stock if compat.why_not(*needed) else STOCK_LEARNERS.get(stock, stock)


def _why_not_exact(config: AlgorithmConfig) -> str | None:
    if config.torch_compile_learner:
        return "torch_compile_learner compiles RLlib's own update"
    if config._torch_grad_scaler_class is not None:
        return "mixed precision scales the loss in RLlib's own update"
    if config._torch_lr_scheduler_classes is not None:
        return "torch learning-rate schedulers are stepped in RLlib's own update"
    return None


def __getattr__(name: str) -> Any:
    """The lean Learners were in this module in version 0.1, whose checkpoints name them so."""
    for path, *groups in LEAN_LEARNERS.values():
        if path.endswith(f":{name}"):
            lean, reason = compat.lean(path, *groups)
            if reason is not None:
                raise AttributeError(f"{name} is not for this Ray: {reason}")
            return lean
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
