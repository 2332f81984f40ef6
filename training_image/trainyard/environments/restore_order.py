"""Restoring compromised hosts in a requested order: the built-in example of an order-conditioned policy.

Every step restores one host; then each host that is still compromised does damage in proportion to its priority. The
best policy restores the compromised host of the highest priority first, so one policy has to follow every order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from trainyard.environments.context import ContextWrapper, priorities
from trainyard.environments.options import check_integer, check_number, read_options
from trainyard.errors import InvalidConfiguration


@dataclass(frozen=True, kw_only=True)
class RestoreOrderOptions:
    """Configuration of ``restore-order``.

    Attributes:
        hosts: how many there are.
        compromised: probability that a host is compromised at the start; at least one always is.
        order: the same order in every episode, first to last; None draws one per episode.
    """

    hosts: int = 4
    compromised: float = 0.8
    order: tuple[int, ...] | list[int] | None = None

    def __post_init__(self) -> None:
        check_integer("hosts", self.hosts, 2, 64)
        check_number("compromised", self.compromised, 0.0, 1.0)
        if self.order is not None and sorted(self.order) != list(range(self.hosts)):
            raise InvalidConfiguration.of(
                "spec.environment.config.order",
                f"{self.order!r} does not name each host once",
                f"list 0 to {self.hosts - 1} in the order to restore them",
            )


class RestoreOrderEnv(gymnasium.Env[np.ndarray, np.int64]):
    """Hosts with priorities given as ``options["context"]`` of reset().

    Observation: for each host 1 where it is compromised, else 0. Action: the host to restore. Reward: minus the sum
    of the priorities of the hosts that are compromised after the action. Terminated when none is left; truncated
    after twice as many steps as there are hosts.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, hosts: int, compromised: float = 0.8) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, shape=(hosts,), dtype=np.float32)
        self.action_space = spaces.Discrete(hosts)
        self._probability = compromised
        self._hosts = hosts
        self._priorities = np.ones(hosts, dtype=np.float32)
        self._compromised = np.zeros(hosts, dtype=bool)
        self._steps = 0
        self._in_order = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        context = (options or {}).get("context")
        self._priorities = priorities(range(self._hosts)) if context is None else np.asarray(context)
        self._compromised = self.np_random.random(self._hosts) < self._probability
        self._compromised[self.np_random.integers(self._hosts)] = True
        self._steps = self._in_order = 0
        return self._compromised.astype(np.float32), {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        most_urgent = int(np.argmax(self._priorities * self._compromised))
        self._in_order += int(action) == most_urgent
        self._compromised[int(action)] = False
        self._steps += 1
        damage = float(self._priorities[self._compromised].sum())
        terminated = not self._compromised.any()
        truncated = not terminated and self._steps >= 2 * self._hosts
        over = terminated or truncated
        info = {"episode_metrics": {"order_followed": self._in_order / self._steps}} if over else {}
        return self._compromised.astype(np.float32), -damage, terminated, truncated, info


def best_return(compromised: np.ndarray, host_priorities: np.ndarray) -> float:
    """Return of the best policy: the compromised hosts in order of priority, each step one less.

    With the priorities of the compromised hosts sorted downwards, p1 >= p2 >= ..., host k does damage in k - 1 steps.
    """
    ordered = np.sort(host_priorities[compromised.astype(bool)])[::-1]
    return -float((np.arange(len(ordered)) * ordered).sum())


def create(config: Mapping[str, Any]) -> gymnasium.Env[np.ndarray, Any]:
    """Make the environment of a configuration, its context wrapper included."""
    options = read_options(RestoreOrderOptions, config)
    fixed = None if options.order is None else priorities(options.order).tolist()
    return ContextWrapper(
        RestoreOrderEnv(options.hosts, options.compromised), kind="permutation", size=options.hosts, fixed=fixed
    )
