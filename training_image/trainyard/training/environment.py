"""From `spec.environment` to something that RLlib can make, checked on the driver before any actor starts."""

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gymnasium as gym

from trainyard import environments
from trainyard.environments.trial import try_out
from trainyard.errors import Fault, InvalidConfiguration, UserError
from trainyard.runs.seeds import Stream, seed_of
from trainyard.spec.sections import Specification

logger = logging.getLogger(__name__)

FIELD = "spec.environment"
CONFIG_FIELD = f"{FIELD}.config"
NAME_FIELD = f"{FIELD}.name"
SYNC = "sync"
VECTOR_ENTRY_POINT = "vector_entry_point"

Creator = Callable[[Mapping[str, Any]], Any]
Spaces = tuple[gym.Space[Any], gym.Space[Any]]


@dataclass(frozen=True)
class EnvironmentChoice:
    """What RLlib is given.

    Attributes:
        name: as the specification has it.
        rllib_name: a Gymnasium id, or the name that `creator` is registered under.
        creator: None for a Gymnasium id; otherwise takes the configuration, with `num_envs` for a vectorised one.
        single: makes one environment, wrapped, from the configuration; picklable, and free of RLlib.
        vectorize_mode: how several environments of one runner are made into one.
        action_space, observation_space: of a single environment.
        trial: makes one with another configuration, plays a few steps and returns its spaces.
    """

    name: str
    rllib_name: str
    creator: Creator | None
    single: Creator
    vectorize_mode: str
    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    trial: Callable[[Mapping[str, Any]], Spaces]


def choose(
    name: str, config: Mapping[str, Any], wrappers: Sequence[Any] = (), *, seed: int = 0, tolerates: bool = False
) -> EnvironmentChoice:
    """Find the environment, make it once and play a few steps, so that what is wrong with it fails here and at once.

    Args:
        seed: of the run.
        tolerates: whether numbers that are not finite are let pass here.

    Raises:
        InvalidConfiguration: the name leads nowhere, the environment cannot be made with `config` or wrapped, or a
            method of it raises or gives what it must not.
        NonFiniteNumber: a reward or an observation is NaN or infinite.
    """
    # It is pickled by its name, and a runner of whole episodes imports the module of that: not this one, with pydantic.
    single = partial(environments.make, name, wrappers=list(wrappers))
    trial = partial(_tried, name, single, seed=seed_of(seed, Stream.TRIED), tolerates=tolerates)
    spaces = trial(config)
    if wrappers:
        # Wrappers are of single environments, so a vectorised one would go without them.
        return EnvironmentChoice(name, f"trainyard/{name}", single, single, SYNC, *spaces, trial)
    if name in gym.registry:
        vectorised = gym.spec(name).vector_entry_point is not None
        return EnvironmentChoice(name, name, None, single, VECTOR_ENTRY_POINT if vectorised else SYNC, *spaces, trial)
    mode = VECTOR_ENTRY_POINT if name in environments.VECTORISED else SYNC
    return EnvironmentChoice(name, f"trainyard/{name}", single, single, mode, *spaces, trial)


def chosen(specification: Specification) -> EnvironmentChoice:
    """The environment of an `algorithm` run; that of evaluation and test is made once, too.

    The test's would else be met only when all the training is done.

    Raises:
        InvalidConfiguration: one of them cannot be made, or what was trained cannot play it.
    """
    environment = specification.environment
    assert environment is not None
    wrappers = [wrapper.model_dump() for wrapper in environment.wrappers]
    tolerates = specification.sampling.non_finite.tolerate > 0
    choice = choose(environment.name, environment.config, wrappers, seed=specification.seed, tolerates=tolerates)
    for section in ("evaluation", "test"):
        if (wanted := getattr(specification, section)) is not None:
            field = f"spec.{section}.environmentConfig"
            check_overlay(choice, environment.config, wanted.environment_config, field)
    return choice


def check_overlay(
    trained: EnvironmentChoice, config: Mapping[str, Any], overlay: Mapping[str, Any], field: str
) -> None:
    """Make and try the environment of an evaluation: what only it would meet fails before training, not after it.

    Args:
        trained: the environment of training.
        config: its configuration.
        overlay: what the evaluation lays over it.
        field: path of the overlay, with which faults of its keys are told.

    Raises:
        InvalidConfiguration: it cannot be made, or what was trained cannot play it.
    """
    if not overlay:
        return
    try:
        spaces = trained.trial({**config, **overlay})
    except InvalidConfiguration as error:
        raise InvalidConfiguration([_moved(fault, overlay, field) for fault in error.faults]) from error
    pairs = {"observations": trained.observation_space, "actions": trained.action_space}
    for (kind, of_training), own in zip(pairs.items(), spaces, strict=True):
        if _form(own) != _form(of_training):
            raise InvalidConfiguration.of(
                field, f"its {kind} are {own}, and those of training {of_training}", f"remove what makes other {kind}"
            )


def _form(space: gym.Space[Any]) -> tuple[Any, ...]:
    """What a network depends on; the bounds of a Box may differ."""
    return type(space), space.shape, getattr(space, "n", None)


def _moved(fault: Fault, overlay: Mapping[str, Any], field: str) -> Fault:
    """The fault with the place where its key was written."""
    key = fault.field.removeprefix(CONFIG_FIELD).removeprefix(".").partition(".")[0]
    if key and key not in overlay:
        return fault
    return replace(fault, field=field + fault.field.removeprefix(CONFIG_FIELD))


def _tried(
    name: str, make: Creator, config: Mapping[str, Any], *, seed: int, tolerates: bool
) -> tuple[gym.Space[Any], gym.Space[Any]]:
    """Observation and action space of an environment that is made, tried and closed again."""
    try:
        env = make(dict(config))
    except UserError:
        raise
    except Exception as error:
        raise InvalidConfiguration.of(
            CONFIG_FIELD,
            f"{name} cannot be made: {''.join(traceback.format_exception(error, limit=-4)).strip()}",
            "correct the configuration or the environment",
        ) from error
    try:
        try_out(env, field=NAME_FIELD, name=name, seed=seed, tolerates=tolerates)
        return env.observation_space, env.action_space
    finally:
        _close(env, name)


def _close(env: Any, name: str) -> None:
    """What was tried is closed, whatever came of it; an error of that must not hide the other."""
    try:
        env.close()
    except Exception:
        logger.warning("%s could not be closed after it was tried", name, exc_info=True)
