"""From `spec.environment` to something that RLlib can make, checked on the driver before any actor starts."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym

from trainyard import environments
from trainyard.errors import InvalidConfiguration, UserError

FIELD = "spec.environment"
SYNC = "sync"
VECTOR_ENTRY_POINT = "vector_entry_point"

Creator = Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class EnvironmentChoice:
    """What RLlib is given.

    Attributes:
        rllib_name: a Gymnasium id, or the name that `creator` is registered under.
        creator: None for a Gymnasium id; otherwise takes the configuration, with `num_envs` for a vectorised one.
        single: makes one environment, wrapped, from the configuration; picklable, and free of RLlib.
        vectorize_mode: how several environments of one runner are made into one.
        action_space, observation_space: of a single environment.
    """

    rllib_name: str
    creator: Creator | None
    single: Creator
    vectorize_mode: str
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]


def choose(name: str, config: Mapping[str, Any], wrappers: Sequence[Any] = ()) -> EnvironmentChoice:
    """Find the environment and make it once, so that a wrong name or a missing package fails here and at once.

    Raises:
        InvalidConfiguration: the name leads nowhere, or the environment cannot be made with `config` or wrapped.
    """
    env = _make_once(name, environments.creator(name), config, wrappers)
    try:
        spaces = env.observation_space, env.action_space
    finally:
        env.close()
    single = partial(_make_wrapped, name, list(wrappers))
    if wrappers:
        # Wrappers are of single environments, so a vectorised one would go without them.
        return EnvironmentChoice(f"trainyard/{name}", single, single, SYNC, *spaces)
    if name in gym.registry:
        vectorised = gym.spec(name).vector_entry_point is not None
        return EnvironmentChoice(name, None, single, VECTOR_ENTRY_POINT if vectorised else SYNC, *spaces)
    mode = VECTOR_ENTRY_POINT if name in environments.VECTORISED else SYNC
    return EnvironmentChoice(f"trainyard/{name}", single, single, mode, *spaces)


def _make_wrapped(name: str, wrappers: list[Any], config: Mapping[str, Any]) -> Any:
    """Make the environment in the process that will step it: only its name travels."""
    env = environments.creator(name)(config)
    return environments.wrap(env, wrappers) if wrappers else env


def _make_once(name: str, creator: Creator, config: Mapping[str, Any], wrappers: Sequence[Any]) -> Any:
    try:
        return environments.wrap(creator(dict(config)), wrappers)
    except UserError:
        raise
    except Exception as error:
        raise InvalidConfiguration.of(
            f"{FIELD}.config",
            f"{name} cannot be made: {''.join(traceback.format_exception(error, limit=-4)).strip()}",
            "correct the configuration or the environment",
        ) from error
