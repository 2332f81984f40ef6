"""RLlib's runner for one agent, without what changes no result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from trainyard.errors import root_cause


class EnvRunner(SingleAgentEnvRunner):
    """RLlib's runner, except that an error in it reaches the driver, and that its module stays in evaluation mode.

    RLlib's own ends its process instead, and what the environment said is lost; and it sets every layer to evaluation
    mode and back for each step.
    """

    def make_module(self) -> None:
        super().make_module()
        if self.module is not None:
            self.module.eval()

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return func(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again, as what the environment raised
            raise root_cause(error) from None
