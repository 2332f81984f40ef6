"""Lean Learners: RLlib's Learners without the work that changes no result.

They keep RLlib's connectors, modules, losses, checkpoints and metric names; losses and parameters after an update
are the stock Learner's to float tolerance (tests/training/test_lean_learner.py). What belongs here: subclasses of
RLlib Learners and the rule when they may be used. What does not: changes of an algorithm.
"""

from trainyard.rllib.learners.choice import (
    LEAN_LEARNERS,
    STOCK_LEARNERS,
    LearnerChoice,
    choose_learner,
    counterpart,
    stock_learner,
)

__all__ = ["LEAN_LEARNERS", "STOCK_LEARNERS", "LearnerChoice", "choose_learner", "counterpart", "stock_learner"]
