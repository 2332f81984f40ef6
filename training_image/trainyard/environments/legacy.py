"""Environments with the API of the old ``gym`` package, through shimmy.

shimmy's wrappers are constructed directly around the instance: ``gym.make`` puts a checker around it that fails with
numpy 2 (it uses ``numpy.bool8``).
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import gymnasium

from trainyard.errors import InvalidConfiguration

_FIELD = "spec.environment.name"


def adapt(env: Any) -> gymnasium.Env[Any, Any]:
    """Return ``env`` itself if it is a Gymnasium environment, otherwise the old-API environment behind an adapter.

    Raises:
        InvalidConfiguration: it is neither, or the package ``gym`` that it was written for is missing.
    """
    if isinstance(env, gymnasium.Env):
        return env
    name = type(env).__name__
    if not all(callable(getattr(env, method, None)) for method in ("reset", "step")):
        raise InvalidConfiguration.of(_FIELD, f"{name} has no reset() and step()", "name a Gymnasium environment")
    if isinstance(getattr(env, "action_space", None), gymnasium.Space):
        raise InvalidConfiguration.of(
            _FIELD, f"{name} has Gymnasium spaces but is not a gymnasium.Env", "derive it from gymnasium.Env"
        )
    from shimmy.openai_gym_compatibility import GymV21CompatibilityV0, GymV26CompatibilityV0

    adapter = GymV26CompatibilityV0 if _takes_seed(env) else GymV21CompatibilityV0
    if adapter is GymV21CompatibilityV0 and not hasattr(env, "seed"):
        env.seed = _warn_unseedable(name)
    try:
        return adapter(env=env)
    except gymnasium.error.DependencyNotInstalled as error:
        raise InvalidConfiguration.of(
            _FIELD, f"{name} has the old gym API, and gym is missing", "add gym==0.26.2 to the image or the run"
        ) from error


def _takes_seed(env: Any) -> bool:
    """From gym 0.26 on, reset() takes the seed and returns (observation, info)."""
    return "seed" in inspect.signature(env.reset).parameters


def _warn_unseedable(name: str) -> Any:
    def seed(_: int | None = None) -> None:
        warnings.warn(f"{name} has no seed(): its episodes cannot be reproduced", stacklevel=2)

    return seed
