"""Finding environments and wrappers by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainyard.errors import Fault, InvalidConfiguration
from trainyard.loading import load

if TYPE_CHECKING:
    import gymnasium

EnvironmentCreator = Callable[[Mapping[str, Any]], "gymnasium.Env[Any, Any]"]

NAME_FIELD = "spec.environment.name"
WRAPPERS_FIELD = "spec.environment.wrappers"

BUILT_IN: dict[str, str] = {
    "trading": "trainyard.environments.market.trading:create",
    "portfolio": "trainyard.environments.market.portfolio:create",
    "restore-order": "trainyard.environments.restore_order:create",
    "cage2": "trainyard.environments.cage2:create",
}

# Built-in environments whose creator makes one vectorised environment when its configuration has `num_envs`.
VECTORISED = frozenset({"trading", "portfolio"})

WRAPPERS: dict[str, str] = {
    "context": "trainyard.environments.context:ContextWrapper",
    "episode-seeds": "trainyard.environments.episode_seeds:EpisodeSeeds",
}

# Parameters by which a class takes its whole configuration as one mapping, as RLlib's environments do.
_WHOLE_CONFIG = ("config", "env_config", "env_context")

# Extras of gymnasium that are often missing: the packages to add, and environments of the same kind that need none.
# What gymnasium[box2d] asks for has to be compiled; these have wheels.
_PACKAGES = {"box2d": "box2d and pygame"}
_ALTERNATIVES = {
    "box2d": "Acrobot-v1 or CartPole-v1 (discrete actions) or Pendulum-v1 (continuous actions)",
    "mujoco": "Pendulum-v1 or MountainCarContinuous-v0",
    "atari": "CartPole-v1 or Acrobot-v1",
}


def resolve(name: str) -> EnvironmentCreator | None:
    """Return the creator of a built-in environment, or None where ``name`` is none of :data:`BUILT_IN`."""
    return load(BUILT_IN[name], NAME_FIELD) if name in BUILT_IN else None


def creator(name: str) -> EnvironmentCreator:
    """Return the creator of any environment: built-in, ``package.module:Class``, or a Gymnasium id.

    A class gets the configuration as keyword arguments, or whole where its constructor has a parameter ``config``,
    ``env_config`` or ``env_context``. What has the old ``gym`` API is adapted.

    Raises:
        InvalidConfiguration: nothing has this name; by the creator itself: it cannot be made as configured.
    """
    built_in = resolve(name)
    if built_in is not None:
        return built_in
    if ":" in name:
        return _creator_of_class(name)
    _check_gymnasium_id(name)
    return lambda config: _make_gymnasium(name, config)


def make(name: str, config: Mapping[str, Any], wrappers: Sequence[Any] = ()) -> gymnasium.Env[Any, Any]:
    """Make and wrap one environment."""
    return wrap(creator(name)(config), wrappers)


def wrap(env: gymnasium.Env[Any, Any], wrappers: Sequence[Any]) -> gymnasium.Env[Any, Any]:
    """Wrap ``env``, the first wrapper innermost; what wrappers may keep of its results are copies.

    Args:
        env: the environment.
        wrappers: names, or objects with ``name`` and ``config``. A name is one of :data:`WRAPPERS`, a class of
            ``gymnasium.wrappers`` (``FlattenObservation``), or ``package.module:Class``.

    Raises:
        InvalidConfiguration: an unknown name, or a configuration that the wrapper does not take.
    """
    if wrappers:
        from trainyard.environments.own_results import OwnResults

        env = OwnResults(env)
    for index, entry in enumerate(wrappers):
        field = f"{WRAPPERS_FIELD}[{index}]"
        name, config = _wrapper_entry(entry, field)
        wrapper = _wrapper_class(name, field)
        try:
            env = wrapper(env, **config)
        except InvalidConfiguration as error:
            raise InvalidConfiguration(_written_in(field, fault) for fault in error.faults) from error
        except (TypeError, ValueError, AssertionError) as error:
            raise InvalidConfiguration.of(
                field, f"{name} cannot wrap {env}: {error}", f"it takes {_parameters(wrapper)}"
            ) from error
    return env


def _written_in(wrapper: str, fault: Fault) -> Fault:
    """A wrapper's own fault, whose field is an argument, with the place of that argument."""
    return replace(fault, field=f"{wrapper}.config.{fault.field}" if fault.field else wrapper)


def _wrapper_entry(entry: Any, field: str) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or set(entry) - {"name", "config"}:
        raise InvalidConfiguration.of(field, f"is {entry!r}", "give a name, or an object with name and config")
    return entry["name"], dict(entry.get("config") or {})


def _wrapper_class(name: str, field: str) -> Callable[..., Any]:
    if name in WRAPPERS:
        return load(WRAPPERS[name], field)
    if ":" in name:
        return load(name, field)
    import gymnasium.wrappers

    known = [*WRAPPERS, *gymnasium.wrappers.__all__]
    if name not in gymnasium.wrappers.__all__ or name == "vector":
        near = difflib.get_close_matches(name, known, n=1)
        remedy = (
            f"did you mean {near[0]!r}" if near else f"use one of {', '.join(WRAPPERS)}, a class of gymnasium.wrappers"
        )
        raise InvalidConfiguration.of(field, f"{name!r} is no wrapper", f"{remedy}, or package.module:Class")
    return getattr(gymnasium.wrappers, name)


def _parameters(wrapper: Callable[..., Any]) -> str:
    names = [name for name in inspect.signature(wrapper).parameters if name not in ("self", "env")]
    return ", ".join(names) or "no configuration"


def _creator_of_class(name: str) -> EnvironmentCreator:
    from trainyard.environments.legacy import adapt

    kind = load(name, NAME_FIELD)
    parameters = inspect.signature(kind).parameters
    whole = next((parameter for parameter in _WHOLE_CONFIG if parameter in parameters), None)

    def create(config: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
        given = {key: value for key, value in config.items() if key != "num_envs"}
        if whole is not None and whole not in given:
            return adapt(kind(**{whole: given}))
        try:
            inspect.signature(kind).bind(**given)
        except TypeError as error:
            raise InvalidConfiguration.of(
                "spec.environment.config", f"{name} does not take it: {error}", f"it takes {_parameters(kind)}"
            ) from error
        return adapt(kind(**given))

    return create


def _check_gymnasium_id(name: str) -> None:
    import gymnasium
    from gymnasium.envs.registration import registry

    try:
        gymnasium.spec(name)
    except gymnasium.error.DeprecatedEnv as error:
        raise InvalidConfiguration.of(NAME_FIELD, f"{name!r} is outdated: {error}", "use the newer version") from error
    except (gymnasium.error.Error, ImportError) as error:
        near = difflib.get_close_matches(name, [*BUILT_IN, *registry], n=1)
        remedy = f"did you mean {near[0]!r}" if near else f"use a Gymnasium id, one of {', '.join(BUILT_IN)}"
        raise InvalidConfiguration.of(
            NAME_FIELD, f"no environment is called {name!r}", f"{remedy}, or package.module:Class"
        ) from error


def _make_gymnasium(name: str, config: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    import gymnasium

    given = {key: value for key, value in config.items() if key != "num_envs"}
    try:
        return gymnasium.make(name, **given)
    except gymnasium.error.DependencyNotInstalled as error:
        raise InvalidConfiguration.of(
            NAME_FIELD, f"{name} needs more than is installed: {error}", _extra_remedy(name)
        ) from error
    except TypeError as error:
        # gymnasium words an unexpected keyword argument of the environment as a TypeError.
        raise InvalidConfiguration.of(
            "spec.environment.config", f"{name} does not take it: {error}", "correct it"
        ) from error


def _extra_remedy(name: str) -> str:
    """Name the extra of gymnasium that an environment's module belongs to, and what runs without it."""
    import gymnasium

    entry_point = str(gymnasium.spec(name).entry_point)
    extra = next((extra for extra in _ALTERNATIVES if f".{extra}" in entry_point), None)
    if extra is None:
        return "add what it needs to spec.runtimeEnv.pip or to the image"
    packages = _PACKAGES.get(extra, f"gymnasium[{extra}]")
    return f"add {packages} to spec.runtimeEnv.pip or to the image; {_ALTERNATIVES[extra]} need nothing more"
