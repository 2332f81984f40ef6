"""Advantages and value targets for episodes that an older policy played.

Three policies take part: the one that played an episode (behaviour), the learner's at the start of the update
(proximal), and the one being optimised. As in decoupled PPO (Hilton, Cobbe and Schulman 2022, "Batch
size-invariance for policy optimization"), the clip compares with the proximal policy, while importance weights
proximal/behaviour correct for staleness. Those weights are truncated, and the traces cut, as in V-trace (Espeholt
et al. 2018, "IMPALA", section 4.1, with the lambda of its remark 2 and both truncation levels at 1).

With no staleness every weight is 1, and the result is generalised advantage estimation (Schulman et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TRUNCATION = 1.0
"""rho-bar and c-bar of V-trace."""


@dataclass(frozen=True)
class Corrected:
    """Each of shape (steps,), episodes one after the other.

    Attributes:
        advantages: of each step, later steps' corrections included, its own not.
        weights: truncated importance weight of the step itself; multiplies its policy gradient.
        value_targets: V-trace targets.
    """

    advantages: np.ndarray
    weights: np.ndarray
    value_targets: np.ndarray


def correct(
    *,
    lengths: np.ndarray,
    rewards: np.ndarray,
    values: np.ndarray,
    final_values: np.ndarray,
    log_ratios: np.ndarray,
    discount: float,
    trace_decay: float,
) -> Corrected:
    """V-trace over whole episodes.

    lengths: (episodes,) steps of each episode; rewards, values, log_ratios: (steps,), episodes one after the other,
    log_ratios = log proximal - log behaviour; final_values: (episodes,) value after the last step, 0 when the episode
    terminated; discount: gamma; trace_decay: lambda.
    """
    count, longest = len(lengths), int(lengths.max())
    valid = np.arange(longest) < lengths[:, None]

    def padded(flat: np.ndarray) -> np.ndarray:
        square = np.zeros((count, longest), dtype=np.float64)
        square[valid] = flat
        return square

    value = padded(values)
    following = np.zeros_like(value)
    following[:, :-1] = value[:, 1:]
    following[np.arange(count), lengths - 1] = final_values
    weight = np.where(valid, np.minimum(np.exp(padded(log_ratios)), TRUNCATION), 0.0)
    delta = np.where(valid, padded(rewards) + discount * following - value, 0.0)

    advantage = np.zeros_like(delta)
    later = np.zeros(count)
    for step in range(longest - 1, -1, -1):
        advantage[:, step] = delta[:, step] + discount * trace_decay * later
        later = weight[:, step] * advantage[:, step]
    return Corrected(
        advantages=advantage[valid],
        weights=weight[valid],
        value_targets=(value + weight * advantage)[valid],
    )
