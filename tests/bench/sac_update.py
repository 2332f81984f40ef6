"""One SAC update: drawing 256 transitions of Pendulum-v1, losses, gradients, Adam, target networks; without Ray.

The variants alternate in one process, so that whatever else the machine does meets all of them; the figure is the
smallest mean CPU time of a repeat.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from stable_baselines3 import SAC

from tests.bench.measure import table
from trainyard.rllib.learners.choice import LeanSACTorchLearner
from trainyard.rllib.learners.column_update import ReplayUpdate
from trainyard.rllib.learners.fused import FusedOptimizer
from trainyard.rllib.replay.buffer import FlatReplayBuffer
from trainyard.rllib.replay.transitions import Chunk
from trainyard.spec.presets import PRESETS
from trainyard.training import networks

ROWS, STEPS = 256, 1000
PRESET = dict(PRESETS["pendulum"].model)
RLLIBS = {"fcnet_hiddens": [64, 64], "head_fcnet_hiddens": []}


class RLlibsLosses(ReplayUpdate, FusedOptimizer, SACTorchLearner):
    """The same flat batches and optimizer, RLlib's passes, losses, gradients and target networks."""


def ours(learner_class: type[SACTorchLearner], model: dict) -> Callable[[], None]:
    env = gym.make("Pendulum-v1")
    unit = gym.spaces.Box(-1, 1, (1,), np.float32)
    config = SACConfig().environment("Pendulum-v1").debugging(seed=1)
    config.training(actor_lr=1e-3, critic_lr=1e-3, alpha_lr=1e-3)
    config.rl_module(model_config=model, rl_module_spec=RLModuleSpec(catalog_class=networks.GreedySACCatalog))
    spec = config.get_multi_rl_module_spec(spaces={"default_policy": (env.observation_space, unit)})
    learner = learner_class(config=config, module_spec=spec)
    learner.build()
    buffer = FlatReplayBuffer(STEPS, seed=1)
    buffer.add_chunks([_played()])

    def update() -> None:
        learner.update_on_columns(buffer.sample(ROWS), timesteps={}, log=False)

    return update


def _played() -> Chunk:
    """Steps of made-up values; what they are costs nothing."""
    generator = np.random.default_rng(1)
    return Chunk(
        "1", generator.normal(size=(STEPS + 1, 3)).astype(np.float32),
        generator.uniform(-1, 1, (STEPS, 1)).astype(np.float32), generator.normal(size=STEPS), False, False,
    )  # fmt: skip


def stable_baselines(layers: list[int]) -> Callable[[], None]:
    model = SAC(
        "MlpPolicy", "Pendulum-v1", learning_rate=1e-3, seed=1, device="cpu", policy_kwargs={"net_arch": layers},
        learning_starts=STEPS + 1,
    )  # fmt: skip
    model.learn(STEPS)
    return lambda: model.train(1, ROWS)


VARIANTS = {
    "Stable-Baselines3, two layers of 256": lambda: stable_baselines([256, 256]),
    "Stable-Baselines3, two layers of 64": lambda: stable_baselines([64, 64]),
    "RLlib's losses, RLlib's fusion layers": lambda: ours(RLlibsLosses, RLLIBS),
    "RLlib's losses, the preset's network": lambda: ours(RLlibsLosses, PRESET),
    "lean, RLlib's fusion layers": lambda: ours(LeanSACTorchLearner, RLLIBS),
    "lean, the preset's network": lambda: ours(LeanSACTorchLearner, PRESET),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="One SAC update")
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    updates = {name: variant() for name, variant in VARIANTS.items()}
    smallest = dict.fromkeys(updates, float("inf"))
    for _ in range(options.repeats + 1):
        for name, update in updates.items():
            start = time.process_time()
            for _ in range(options.updates):
                update()
            smallest[name] = min(smallest[name], (time.process_time() - start) / options.updates)
    results = {name: [{"CPU ms/update": 1000 * seconds}] for name, seconds in smallest.items()}
    print(f"`python -m tests.bench.sac_update --updates {options.updates} --repeats {options.repeats}`\n")
    print(table(results, ("CPU ms/update",), next(iter(VARIANTS)), "CPU ms/update"))


if __name__ == "__main__":
    main()
