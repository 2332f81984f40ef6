"""RLlib's runner for one agent, without what changes no result."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from trainyard.errors import root_cause
from trainyard.rllib import compat


class EnvRunner(SingleAgentEnvRunner):
    """RLlib's runner, except that an error in it reaches the driver, and that it leaves out what nobody sees.

    RLlib's own ends its process instead, and what the environment said is lost; it sets every layer to evaluation mode
    and back for each step; and it prepares to tell of each step where nobody listens.
    """

    def make_module(self) -> None:
        super().make_module()
        if self.module is not None:
            self.module.eval()

    @cached_property
    def tells_of_steps(self) -> bool:
        """Whether anybody wants to be told of each step, as far as this Ray lets know."""
        if compat.why_not("env runner") is not None:
            return True
        own = RLlibCallback.on_episode_step
        return bool(self.config.callbacks_on_episode_step) or any(
            type(callback).on_episode_step is not own for callback in self._callbacks
        )

    def _make_on_episode_callback(self, which: str, *args: Any, **kwargs: Any) -> None:
        if which != "on_episode_step" or self.tells_of_steps:
            super()._make_on_episode_callback(which, *args, **kwargs)

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return func(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again, as what the environment raised
            raise root_cause(error) from None
