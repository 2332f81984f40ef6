"""CAGE Challenge 2 (CybORG's Scenario2: 13 hosts, the blue agent defends) as a Gymnasium environment.

The user has to install CybORG from its source: the package ``cyborg`` on PyPI is a different project.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from trainyard.environments.options import PREFIX, check_choice, check_integer, read_options
from trainyard.errors import InvalidConfiguration

RED_AGENTS = ("b_line", "meander", "sleep")

INSTALL = (
    "install it without its dependencies from the source of github.com/cage-challenge/cage-challenge-2 (folder "
    "CybORG; tested at commit 26ce1c1), and also gym==0.26.2, prettytable and paramiko, as "
    "docs/environments.md shows"
)


@dataclass(frozen=True, kw_only=True)
class Cage2Options:
    """Configuration of ``cage2``.

    Attributes:
        red_agent: ``b_line``, ``meander``, ``sleep``, or a list of them from which each episode draws one.
        steps: length of an episode; the challenge uses 30, 50 and 100.
    """

    red_agent: str | Sequence[str] = "b_line"
    steps: int = 100

    def __post_init__(self) -> None:
        agents = [self.red_agent] if isinstance(self.red_agent, str) else self.red_agent
        if not isinstance(agents, Sequence) or not agents:
            raise InvalidConfiguration.of(
                f"{PREFIX}.red_agent", f"is {self.red_agent!r}", f"use one or more of {', '.join(RED_AGENTS)}"
            )
        for agent in agents:
            check_choice("red_agent", agent, RED_AGENTS)
        check_integer("steps", self.steps, 1)

    @property
    def red_agents(self) -> tuple[str, ...]:
        return (self.red_agent,) if isinstance(self.red_agent, str) else tuple(self.red_agent)


class Cage2Env(gymnasium.Env[np.ndarray, np.int64]):
    """The blue agent's view through CybORG's ChallengeWrapper: 52 numbers for 13 hosts, 145 actions.

    CybORG draws from Python's global random module. Every environment keeps its own state of it and puts it in place
    only while CybORG acts, so that seeded environments in one process do not disturb each other.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - gymnasium declares it so

    def __init__(self, options: Cage2Options) -> None:
        self._options = options
        self._environments = {agent: _challenge(agent) for agent in options.red_agents}
        self._red_agent = options.red_agents[0]
        first = self._environments[self._red_agent]
        self.observation_space = spaces.Box(-1.0, 1.0, shape=first.observation_space.shape, dtype=np.float32)
        self.action_space = spaces.Discrete(int(first.action_space.n))
        self._random_state = random.Random().getstate()
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._random_state = random.Random(seed).getstate()
        agents = self._options.red_agents
        self._red_agent = agents[int(self.np_random.integers(len(agents)))]
        self._steps = 0
        observation = self._with_own_random(self._environments[self._red_agent].reset)
        return np.asarray(observation, dtype=np.float32), {"red_agent": self._red_agent}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        environment = self._environments[self._red_agent]
        observation, reward, done, _ = self._with_own_random(lambda: environment.step(int(action)))
        self._steps += 1
        truncated = self._steps >= self._options.steps
        info = {
            "red_agent": self._red_agent,
            "blue_action": str(environment.get_last_action("Blue")),
            "red_action": str(environment.get_last_action("Red")),
        }
        return np.asarray(observation, dtype=np.float32), float(reward), bool(done), truncated and not done, info

    def _with_own_random(self, act: Any) -> Any:
        outside = random.getstate()
        random.setstate(self._random_state)
        try:
            return act()
        finally:
            self._random_state = random.getstate()
            random.setstate(outside)


def _challenge(red_agent: str) -> Any:
    """Make CybORG's Scenario2 with a red agent, behind the challenge's own wrapper for the blue agent."""
    try:
        from CybORG import CybORG
        from CybORG.Agents import B_lineAgent, SleepAgent
        from CybORG.Agents.SimpleAgents.Meander import RedMeanderAgent
        from CybORG.Agents.Wrappers import ChallengeWrapper
    except ImportError as error:
        raise InvalidConfiguration.of("spec.environment.name", f"cage2 needs CybORG: {error}", INSTALL) from error
    agents = {"b_line": B_lineAgent, "meander": RedMeanderAgent, "sleep": SleepAgent}
    scenario = Path(inspect.getfile(CybORG)).parent / "Shared" / "Scenarios" / "Scenario2.yaml"
    if not scenario.is_file():
        raise InvalidConfiguration.of(
            "spec.environment.name",
            f"the installed CybORG has no {scenario.name}: it belongs to another challenge",
            INSTALL,
        )
    return ChallengeWrapper(agent_name="Blue", env=CybORG(str(scenario), "sim", agents={"Red": agents[red_agent]}))


def create(config: Mapping[str, Any]) -> Cage2Env:
    """Make the environment of a configuration."""
    return Cage2Env(read_options(Cage2Options, config))
