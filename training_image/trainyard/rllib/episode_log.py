"""What an env runner says of a finished episode."""

import logging
import warnings
from typing import Any

from ray.rllib.callbacks.callbacks import RLlibCallback

from trainyard import metrics
from trainyard.metrics import EPISODE_METRICS, EPISODES
from trainyard.rllib import compat


class EpisodeLog(RLlibCallback):
    """Logs every finished episode, so that the driver can keep a window over all runners."""

    def __init__(self) -> None:
        quieten()

    def on_episode_end(
        self, *, episode: Any, prev_episode_chunks: Any = None, metrics_logger: Any = None, **kwargs: Any
    ) -> None:
        chunks = [*(prev_episode_chunks or []), episode]
        metrics_logger.log_value(EPISODES, episode_figures(chunks), **compat.every_value())


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
        **metrics.finite(own),
    }
