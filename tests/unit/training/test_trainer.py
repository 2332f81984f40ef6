"""What the driver reads from an iteration's result."""

import pytest
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from trainyard.metrics import EPISODES
from trainyard.training.trainer import finished_episodes


@pytest.mark.parametrize("count", [0, 1, 2])
def test_finished_episodes_are_a_list_however_many_there_are(count):
    """As RLlib compiles them: what was logged once in an iteration comes as the value, not as a list of one."""
    logger = MetricsLogger(root=True)
    episodes = [{"return": float(number), "length": 7.0} for number in range(count)]
    for episode in episodes:
        logger.log_value(("env_runners", EPISODES), episode, reduce="item_series")
    result = logger.compile()
    assert finished_episodes(result) == episodes
    assert EPISODES not in result.get("env_runners", {})
