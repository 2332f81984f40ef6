"""The best policy as a file that needs torch alone: `checkpoints/best/policy.pt2`, made at the end of a run.

It maps a batch of observations, as the wrapped environment gives them, to the greedy actions that the environment
takes. Between the two RLlib has only pieces that batch and cast (a specification has no way to name others), and the
treatment of Box actions, which is part of the file. It is kept only if it plays what RLlib's own module plays.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.spaces.space_utils import clip_action, unsquash_action
from torch import nn

from trainyard.errors import described
from trainyard.rllib.asynchronous.export import ActionRules
from trainyard.rllib.compat import MODULES
from trainyard.runs.checkpoints import BEST, CheckpointStore
from trainyard.runs.run import Run

logger = logging.getLogger(__name__)

POLICY_FILE = "policy.pt2"
CHECKED_OBSERVATIONS = 64
TOLERANCE = 1e-5


class NotExported(Exception):
    """Why there is no such file."""


def export_best(run: Run) -> dict[str, Any]:
    """Write the file beside the best checkpoint; return for the summary where it is, or why it is not."""
    store = CheckpointStore(run.storage, run.specification.checkpoints.keep)
    best = store.best()
    if best is None or run.best is None:
        return {}
    try:
        module = RLModule.from_checkpoint(str(store.algorithm_folder(best) / MODULES / DEFAULT_MODULE_ID))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / POLICY_FILE
            # A specification does not change how RLlib treats actions.
            export(module, path, ActionRules.of(AlgorithmConfig()))
            store.add_to_best(path)
    except NotExported as error:
        logger.warning("the best policy is not exported: %s", error)
        return {"policyNotExported": str(error)}
    except Exception as error:
        # The training is done and its checkpoint safe.
        logger.exception("the best policy is not exported")
        return {"policyNotExported": described(error)}
    return {"policy": f"{BEST}/{POLICY_FILE}"}


def export(module: RLModule, path: Path, rules: ActionRules) -> None:
    """Write the module's greedy policy to `path`.

    Raises:
        NotExported: with the reason, for what has a memory, other spaces, or a forward pass that torch cannot trace.
    """
    if module.is_stateful():
        raise NotExported("the network is recurrent: its actions follow from more than the observation")
    if not isinstance(module.observation_space, gym.spaces.Box):
        raise NotExported(f"its observations are {module.observation_space}, not a Box")
    if not isinstance(module.action_space, gym.spaces.Box | gym.spaces.Discrete):
        raise NotExported(f"its actions are {module.action_space}, neither Box nor Discrete")
    assert isinstance(module, nn.Module)
    module.to("cpu").eval()
    observations = _observations(module.observation_space)
    policy = GreedyPolicy(module, rules)
    validated = torch.distributions.Distribution._validate_args
    # Distributions look at values to check them, which cannot be traced.
    torch.distributions.Distribution.set_default_validate_args(False)
    try:
        # Two of them: of one, torch would take the size for a constant.
        batch = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(policy, (observations[:2],), dynamic_shapes=batch, strict=False)
        torch.export.save(program, path)
    except Exception as error:
        # Whatever a forward pass of any class raises while torch traces it.
        raise NotExported(f"torch.export: {described(error).strip().splitlines()[0]}") from error
    finally:
        torch.distributions.Distribution.set_default_validate_args(validated)
    _require_same_actions(module, rules, observations, path)


class GreedyPolicy(nn.Module):
    """Observations [batch, ...] -> actions [batch, ...] as the environment takes them."""

    def __init__(self, module: Any, rules: ActionRules) -> None:
        super().__init__()
        self.module = module
        space = module.action_space
        self._distribution = module.get_inference_action_dist_cls()
        self._bounds: tuple[torch.Tensor, torch.Tensor] | None = None
        self._scaled = False
        if isinstance(space, gym.spaces.Box):
            bounded = bool(np.all(space.bounded_below) and np.all(space.bounded_above))
            self._scaled = rules.normalize_actions and bounded
            if self._scaled or (rules.clip_actions and not rules.normalize_actions):
                self._bounds = (torch.from_numpy(space.low.copy()), torch.from_numpy(space.high.copy()))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        outputs = self.module._forward_inference({Columns.OBS: observations})
        actions = _greedy(outputs, self._distribution)
        if self._bounds is None:
            return actions
        low, high = self._bounds
        if self._scaled:
            actions = low + (actions + 1.0) * (high - low) / 2.0
        return torch.clamp(actions, low, high)


def _greedy(outputs: dict[str, torch.Tensor], distribution: Any) -> torch.Tensor:
    """The most probable actions, before they are unsquashed or clipped."""
    if Columns.ACTIONS in outputs:
        return outputs[Columns.ACTIONS]
    actions: torch.Tensor = distribution.from_logits(outputs[Columns.ACTION_DIST_INPUTS]).to_deterministic().sample()
    return actions


def _observations(space: gym.spaces.Box) -> torch.Tensor:
    """Random ones in the type that modules get; the space's own generator stays as it is."""
    drawn = copy.deepcopy(space)
    drawn.seed(0)
    observations = torch.from_numpy(np.stack([drawn.sample() for _ in range(CHECKED_OBSERVATIONS)]))
    return observations.float() if observations.dtype == torch.float64 else observations


def _require_same_actions(module: Any, rules: ActionRules, observations: torch.Tensor, path: Path) -> None:
    """The file, read again, against the module and RLlib's own treatment of actions."""
    policy = torch.export.load(path).module()
    with torch.no_grad():
        outputs = module.forward_inference({Columns.OBS: observations})
        expected = _greedy(outputs, module.get_inference_action_dist_cls()).numpy()
        if rules.normalize_actions:
            expected = unsquash_action(expected, module.action_space)
        elif rules.clip_actions:
            expected = clip_action(expected, module.action_space)
        for size in (len(observations), 1):
            actions = policy(observations[:size]).numpy()
            wanted = expected[:size]
            if actions.shape != wanted.shape or not np.allclose(actions, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                raise NotExported("the exported policy plays other actions than the module")
