"""The rule that says when DQN and SAC replay from flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import gymnasium as gym
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn import DQN
from ray.rllib.algorithms.sac import SAC
from ray.rllib.env.env_runner import EnvRunner

from trainyard.rllib import compat

FLAT_REPLAY: dict[type[Algorithm], str] = {
    DQN: "trainyard.rllib.replay.training:FlatReplayDQN",
    SAC: "trainyard.rllib.replay.training:FlatReplaySAC",
}
"""RLlib's algorithm to the place of the one with flat replay, which not every Ray can import."""


@dataclass(frozen=True)
class ReplayChoice:
    """Which algorithm class trains, and why it is not the one with flat replay.

    reason is None when it is, and when the algorithm has no replay buffer.
    """

    algo_class: type[Algorithm]
    reason: str | None


def choose_replay(config: AlgorithmConfig, observations: gym.Space, actions: gym.Space) -> ReplayChoice:
    """The counterpart with flat replay of the configured algorithm where it trains the same, else itself.

    config: with the Learner class that was chosen.
    """
    stock = config.algo_class
    if stock not in FLAT_REPLAY:
        return ReplayChoice(stock, None)
    flat, missing = compat.lean(FLAT_REPLAY[stock], "replay", "update")
    reason = missing or _why_not(config, observations, actions)
    return ReplayChoice(stock if reason else flat, reason)


@dataclass(frozen=True)
class RunnerChoice:
    """Which env runner plays for flat replay where there is one alone; None and the reason: RLlib's sample()."""

    runner_class: type[EnvRunner] | None
    reason: str | None


def choose_runner() -> RunnerChoice:
    """The runner that plays rounds, where this Ray has what it needs."""
    return RunnerChoice(*compat.lean("trainyard.rllib.replay.round_runner:RoundRunner", "env runner", "rounds"))


def _why_not(config: AlgorithmConfig, observations: gym.Space, actions: gym.Space) -> str | None:
    # Not every Ray can import these; this one can.
    from trainyard.rllib.learners.column_update import ReplayUpdate
    from trainyard.rllib.replay.training import BUFFERS

    if not (isinstance(config.learner_class, type) and issubclass(config.learner_class, ReplayUpdate)):
        return f"{config.learner_class.__name__} takes episodes, not flat batches"
    if config.num_learners > 1:
        return f"{config.num_learners} learners share episodes, not flat batches"
    kind = config.replay_buffer_config["type"]
    if kind not in BUFFERS:
        return f"there is no flat form of the replay buffer {kind}"
    for name, space in (("observations", observations), ("actions", actions)):
        if not isinstance(space, gym.spaces.Box | gym.spaces.Discrete):
            return f"the environment's {name} are {type(space).__name__}"
    model = config.model_config
    if model.get("use_lstm"):
        return "recurrent modules need sequences"
    if config._learner_connector is not None or not config.add_default_connectors_to_learner_pipeline:
        return "a learner connector of your own needs episodes"
    if config.count_steps_by != "env_steps":
        return f"steps are counted by {config.count_steps_by}"
    return None
