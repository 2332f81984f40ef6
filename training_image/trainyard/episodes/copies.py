"""Whose memory it is: what is kept of an environment's answers is copied, because it may use its arrays again.

Gymnasium does not forbid that, simulators do it, and gymnasium's own vectors copy, too.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np


def own_info(info: dict[str, Any]) -> dict[str, Any]:
    """An info that stays as it is now: a new dictionary, with copies of what in it can change."""
    return {
        key: copy.deepcopy(value) if isinstance(value, list | dict | set | np.ndarray) else value
        for key, value in info.items()
    }


def own_observation(observation: Any) -> Any:
    """An observation, or a batch of them, that stays as it is now."""
    return np.array(observation) if isinstance(observation, np.ndarray) else copy.deepcopy(observation)


def lent(action: Any) -> Any:
    """An action, or a batch of them, that an environment may write into without changing what was chosen."""
    return own_observation(action)
