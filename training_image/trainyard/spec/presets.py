"""Settings for known environments, by name: `algorithm.preset`.

A preset gives defaults for fields that the file leaves out; values in the file have priority. The defaults come from
experience with these environments; `python -m tests.bench.presets` measures them over seeds.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """Settings of one algorithm.

    Attributes:
        config, model: defaults for spec.algorithm.config and spec.algorithm.model.
        envs_per_runner: default for spec.sampling.envsPerRunner.
    """

    algorithm: str
    description: str
    config: Mapping[str, Any]
    model: Mapping[str, Any] = field(default_factory=dict)
    envs_per_runner: int | None = None


# PPO's losses are bounded by their clips here, and Adam follows the ordinary learning rate; RLlib's additional
# KL penalty and its clip of the value loss at 10 only slow these environments down.
_PPO: dict[str, Any] = {
    "use_kl_loss": False,
    "vf_clip_param": float("inf"),
    "vf_loss_coeff": 0.5,
    "grad_clip": 0.5,
    "grad_clip_by": "global_norm",
    "lambda_": 0.95,
}

PRESETS: dict[str, Preset] = {
    "cartpole": Preset(
        "PPO",
        "CartPole-v1 to a greedy return of 450 within 19,000 steps (all of ten seeds)",
        {
            **_PPO,
            # The first policies can learn with a high rate; later policies would lose with it what they have learned.
            "lr": [[0, 0.001], [20_000, 0.0001]],
            # With a shorter horizon the cart drifts away, because the cost of the drift comes after the horizon.
            "gamma": 0.99,
            "lambda_": 0.9,
            "train_batch_size_per_learner": 1024,
            "minibatch_size": 256,
            "num_epochs": 20,
            "clip_param": 0.2,
        },
        {"fcnet_hiddens": [64, 64], "vf_share_layers": False},
        envs_per_runner=16,
    ),
    "acrobot": Preset(
        "PPO",
        "Acrobot-v1 to a greedy return of -100 within 54,000 steps (all of five seeds)",
        {
            **_PPO,
            "lr": 0.001,
            "gamma": 0.99,
            "lambda_": 0.94,
            "train_batch_size_per_learner": 2048,
            "minibatch_size": 256,
            "num_epochs": 6,
        },
        {"fcnet_hiddens": [64, 64], "vf_share_layers": False},
        envs_per_runner=16,
    ),
    "pendulum": Preset(
        "SAC",
        "Pendulum-v1 to a greedy return of -200 within 5,000 steps (all of five seeds)",
        {
            "actor_lr": 0.001,
            "critic_lr": 0.001,
            "alpha_lr": 0.001,
            "gamma": 0.99,
            "tau": 0.005,
            "target_entropy": "auto",
            "n_step": 1,
            "train_batch_size_per_learner": 256,
            "num_steps_sampled_before_learning_starts": 500,
            "replay_buffer_config": {"type": "EpisodeReplayBuffer", "capacity": 50_000},
        },
        # Without RLlib's wide layers over the encodings of observations and actions, which take most of an update.
        {"fcnet_hiddens": [64], "fcnet_activation": "relu", "fusionnet_hiddens": [], "head_fcnet_hiddens": [64]},
        envs_per_runner=1,
    ),
    "trading": Preset(
        "PPO",
        "the built-in trading environment on daily prices",
        {
            **_PPO,
            "lr": 0.0003,
            "gamma": 0.9,
            "lambda_": 0.9,
            "entropy_coeff": 0.01,
            "train_batch_size_per_learner": 4096,
            "minibatch_size": 512,
            "num_epochs": 6,
        },
        {"fcnet_hiddens": [64, 64], "vf_share_layers": False},
        envs_per_runner=16,
    ),
    "lunar-lander": Preset(
        "PPO",
        "LunarLander-v3 (needs Box2D in the image)",
        {
            **_PPO,
            "lr": 0.001,
            "gamma": 0.99,
            "lambda_": 0.95,
            "entropy_coeff": 0.01,
            "train_batch_size_per_learner": 4096,
            "minibatch_size": 256,
            "num_epochs": 10,
        },
        {"fcnet_hiddens": [64, 64], "vf_share_layers": False},
        envs_per_runner=16,
    ),
}


def problem(name: str, algorithm: str) -> tuple[str, str] | None:
    """What is wrong with preset `name` for `algorithm` and what to do about it; None when nothing is."""
    preset = PRESETS.get(name)
    if preset is None:
        near = difflib.get_close_matches(name.lower(), list(PRESETS), n=1)
        return f"is {name!r}", f"did you mean {near[0]}?" if near else f"use one of {', '.join(sorted(PRESETS))}"
    if preset.algorithm != algorithm:
        own = sorted(other for other, item in PRESETS.items() if item.algorithm == algorithm)
        alternatives = f"use one of {', '.join(own)}" if own else f"there is none for {algorithm}: remove it"
        return f"{name!r} is for {preset.algorithm}, not {algorithm}", alternatives
    return None


def filled(given: Mapping[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `preset`."""
    return {**preset, **given}
