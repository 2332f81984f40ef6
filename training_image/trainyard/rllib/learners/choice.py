"""Lean Learners by algorithm, and the rule that says when one of them is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo.torch.appo_torch_learner import APPOTorchLearner
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.impala.torch.impala_torch_learner import IMPALATorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.learner.learner import Learner

from trainyard.rllib import compat

_HERE = "trainyard.rllib.learners"
LEAN_LEARNERS: dict[type[Learner], tuple[str, ...]] = {
    PPOTorchLearner: (f"{_HERE}.lean_ppo:LeanPPOTorchLearner", "optimizer", "update", "PPO's loss"),
    DQNTorchLearner: (f"{_HERE}.lean_dqn:LeanDQNTorchLearner", "optimizer", "update", "targets"),
    SACTorchLearner: (f"{_HERE}.lean_sac:LeanSACTorchLearner", "optimizer", "update", "targets", "SAC's loss"),
    APPOTorchLearner: (f"{_HERE}.lean_appo:LeanAPPOTorchLearner", "optimizer"),
    IMPALATorchLearner: (f"{_HERE}.lean_appo:LeanIMPALATorchLearner", "optimizer"),
}
"""RLlib's Learner to the place of the lean one, which a Ray without one of those groups of names cannot import."""


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
    return LearnerChoice(config.learner_class, reason) if reason else choice


def counterpart(stock: type[Learner]) -> LearnerChoice:
    """The lean counterpart of one of RLlib's Learners where there is one for this Ray, whatever is configured."""
    if stock not in LEAN_LEARNERS:
        return LearnerChoice(stock, f"there is no lean counterpart of {stock.__name__}")
    lean, reason = compat.lean(*LEAN_LEARNERS[stock])
    return LearnerChoice(lean or stock, reason)


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
