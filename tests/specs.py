"""Specifications of runs that take seconds."""

from typing import Any


def small_ppo(steps: int = 200, **sections: Any) -> dict[str, Any]:
    """PPO on CartPole, played by the driver, `steps` in an iteration; `sections` replace those of the same name."""
    return {
        "seed": 7,
        "algorithm": {
            "name": "PPO",
            "config": {"train_batch_size_per_learner": steps, "minibatch_size": steps // 2, "num_epochs": 1},
            "model": {"fcnet_hiddens": [16]},
        },
        "environment": {"name": "CartPole-v1"},
        "sampling": {"envRunners": 0},
        "stop": {"iterations": 1},
    } | sections
