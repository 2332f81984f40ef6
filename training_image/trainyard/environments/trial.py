"""One environment, tried before anything starts: reset with a seed, a few steps, and a look at what it gives.

The rules are those of gymnasium's passive checker and Stable-Baselines3's `check_env`, as far as a collector here needs
them: what only deviates in form, and works (a list for an array, float64 for float32, an integer reward), is taken.
"""

from __future__ import annotations

import time
import traceback
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.passive_env_checker import check_action_space, check_observation_space

from trainyard.environments.stuck import StuckStep
from trainyard.episodes.finite import REMEDY, first_fault, is_finite
from trainyard.errors import Fault, InvalidConfiguration, NonFiniteNumber, UserError

STEPS = 10
SECONDS = 5.0
"""A slow environment is tried for no longer, and for two steps at least."""

RESET = "def reset(self, *, seed=None, options=None): ... return observation, info"
STEP = "return observation, reward, terminated, truncated, info"


def try_out(env: Any, *, field: str, name: str, seed: int, tolerates: bool = False) -> None:
    """Play a few random steps.

    Args:
        field: of the specification, for faults.
        name: of the environment, for people.
        tolerates: whether numbers that are not finite are somebody else's concern.

    Raises:
        InvalidConfiguration: a method is missing, raises, or gives what it must not; the words say which, what it gave
            and what is expected.
        NonFiniteNumber: a reward or an observation is NaN or infinite.
    """
    trial = _Trial(env, field, name, tolerates)
    trial.check_spaces()
    env.action_space.seed(seed)
    with StuckStep(f"{name}, tried before the start,"):
        trial.play(seed)


class _Trial:
    def __init__(self, env: Any, field: str, name: str, tolerates: bool) -> None:
        self._env = env
        self._field = field
        self._name = name
        self._tolerates = tolerates

    def check_spaces(self) -> None:
        for attribute, check in (
            ("observation_space", check_observation_space), ("action_space", check_action_space),
        ):  # fmt: skip
            space = getattr(self._env, attribute, None)
            if not isinstance(space, spaces.Space):
                self._refuse(f"its {attribute} is {_short(space)}", "set it to a space of gymnasium.spaces in __init__")
            try:
                check(space)
            except (AssertionError, TypeError, ValueError) as error:
                self._refuse(f"its {attribute} cannot be used: {error}", "correct the space")

    def play(self, seed: int) -> None:
        deadline = time.monotonic() + SECONDS
        self._reset(seed)
        for number in range(1, STEPS + 1):
            if self._step(number):
                self._reset(None)
            if number >= 2 and time.monotonic() > deadline:
                return

    def _reset(self, seed: int | None) -> None:
        result = self._call("reset()", lambda: self._env.reset(seed=seed, options=None), RESET)
        if not isinstance(result, tuple) or len(result) != 2:
            self._refuse(f"reset() gave {_short(result)}, not a pair of an observation and an info", RESET)
        observation, info = result
        self._look("reset()", observation=observation)
        self._check_observation("reset()", observation)
        self._check_info("reset()", info)

    def _step(self, number: int) -> bool:
        """Returns whether the episode is over."""
        action = self._env.action_space.sample()
        result = self._call("step()", lambda: self._env.step(action), STEP)
        if not isinstance(result, tuple) or len(result) != 5:
            count = f"{len(result)} results" if isinstance(result, tuple) else _short(result)
            old = ": done of the old gym API is terminated and truncated now" if count == "4 results" else ""
            self._refuse(f"step() gave {count}, not 5{old}", STEP)
        observation, reward, terminated, truncated, info = result
        self._look(f"step {number}", observation=observation, reward=reward)
        self._check_observation("step()", observation)
        self._check_info("step()", info)
        if not _is_number(reward):
            self._refuse(f"step() gave the reward {_short(reward)}", "give one number, for instance float(reward)")
        for what, value in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(value, bool | np.bool_ | int | np.integer):
                self._refuse(f"step() gave {what} as {_short(value)}", "give True or False")
        return bool(terminated or truncated)

    def _call(self, method: str, call: Any, expected: str) -> Any:
        try:
            return call()
        except UserError:
            raise
        except Exception as error:  # noqa: BLE001 - the user's environment may raise anything; it is refused with it
            if isinstance(error, TypeError) and "unexpected keyword argument" in str(error) and method == "reset()":
                self._refuse(f"reset() does not take what it is called with ({error})", expected, error)
            self._refuse(f"{method} raised {type(error).__name__}: {error} {_place(error)}", "correct it", error)

    def _look(self, place: str, **values: Any) -> None:
        for name, value in values.items():
            if not self._tolerates and not is_finite(value):
                raise NonFiniteNumber(
                    f"{self._name}, tried before the start, {place}: {first_fault(value, name)}; {REMEDY}"
                )

    def _check_observation(self, method: str, observation: Any) -> None:
        problem = observation_problem(self._env.observation_space, observation)
        if problem:
            self._refuse(
                f"{method} gave an observation that is not one of its observation_space: {problem}",
                f"give what {self._env.observation_space} describes, or correct the space",
            )

    def _check_info(self, method: str, info: Any) -> None:
        if not isinstance(info, dict):
            self._refuse(f"{method} gave {_short(info)} as its info", "give a dictionary, {} for none")

    def _refuse(self, problem: str, remedy: str, cause: BaseException | None = None) -> NoReturn:
        raise InvalidConfiguration([Fault(self._field, f"{self._name}: {problem}", remedy)]) from cause


def observation_problem(space: gymnasium.Space[Any], observation: Any) -> str:
    """Why a collector cannot take an observation for one of the space; "" when it can.

    Bounds are not looked at: an observation outside of them is learned from like any other.
    """
    if isinstance(space, spaces.Box):
        try:
            array = np.asarray(observation)
        except ValueError as error:
            return str(error)
        if array.dtype.kind not in "biuf":
            return f"it is {_short(observation)}"
        return "" if array.shape == space.shape else f"its shape is {array.shape}, and the space's {space.shape}"
    if isinstance(space, spaces.Dict) and isinstance(observation, dict) and set(observation) == set(space.spaces):
        found = {key: observation_problem(part, observation[key]) for key, part in space.spaces.items()}
        return next((f"of {key!r}, {problem}" for key, problem in found.items() if problem), "")
    return "" if space.contains(observation) else f"it is {_short(observation)}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.bool_) or (
        isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in "biuf"
    )


def _short(value: Any) -> str:
    """A value in a few words: its type and the value, or an array's form."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"(at {last.filename}:{last.lineno}, in {last.name})"
