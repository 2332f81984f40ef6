"""What an env runner says of a finished episode."""

import logging
import warnings
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from trainyard import metrics
from trainyard.metrics import EPISODE_METRICS, EPISODES, NON_FINITE
from trainyard.rllib import compat


class EpisodeLog(RLlibCallback):
    """Logs every finished episode, so that the driver can keep a window over all runners.

    Args:
        tolerate: share of the episodes that may have numbers that are not finite; with more than 0 the runner leaves
            such an episode out.
    """

    def __init__(self, tolerate: float = 0.0) -> None:
        self.tolerate = tolerate
        quieten()

    def on_episode_end(
        self, *, episode: Any, env_runner: Any, prev_episode_chunks: Any = None, metrics_logger: Any = None,
        **kwargs: Any,
    ) -> None:  # fmt: skip
        left_out = self.tolerate > 0 and env_runner.is_left_out(episode)
        figures = {NON_FINITE: 1.0} if left_out else episode_figures([*(prev_episode_chunks or []), episode])
        metrics_logger.log_value(EPISODES, figures, **compat.every_value())


def quieten() -> None:
    """Silence what RLlib says about its own API at every start; nothing of it is the user's to change."""
    for name in ("ray.rllib", "ray.tune.utils.util", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Every evaluation makes its environment under the one name that RLlib has for all.
    warnings.filterwarnings("ignore", ".*Overriding environment rllib-single-agent-env-v0")


def episode_figures(chunks: list[Any]) -> dict[str, float]:
    """Return, length and the environment's own figures of one episode, given all its chunks in order."""
    infos = chunks[-1].get_infos()
    own = infos[-1].get(EPISODE_METRICS, {}) if infos else {}
    return {
        "return": float(sum(chunk.get_return() for chunk in chunks)),
        # Not the sum of the chunks' lengths: with a local runner, PPO's connector has lengthened earlier ones by one.
        "length": chunks[-1].t,
        **metrics.figures(own, EPISODE_METRICS),
    }
