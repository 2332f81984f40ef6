"""The presets learn. tests/bench/presets.py has their curves over seeds."""

import pytest

from trainyard.spec.parsing import parse
from trainyard.training.config import build_config
from trainyard.training.evaluation import Evaluator
from trainyard.training.trainer import Trainer

pytestmark = pytest.mark.usefixtures("ray_session")


def test_cartpole_balances_within_twenty_thousand_steps():
    specification = parse(
        {
            "seed": 1,
            "algorithm": {"name": "PPO", "preset": "cartpole"},
            "environment": {"name": "CartPole-v1"},
            "sampling": {"envRunners": 0},
            "stop": {"envSteps": 20_000},
        }
    )
    trainer = Trainer(build_config(specification))
    evaluator = Evaluator(
        trainer.algorithm, kind="validation", episodes=3, explore=False, environment_config={}, seed=7
    )
    best = 0.0
    while best < 450 and trainer.env_steps() < 20_000:
        trainer.train()
        best = max(best, evaluator.evaluate(0).metrics["validation/return_mean"])
    evaluator.stop()
    trainer.stop()
    assert best >= 450
