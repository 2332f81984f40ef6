"""An RLlib algorithm behind the few calls that the driver loop makes."""

import pickle
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID

from trainyard.errors import root_cause
from trainyard.metrics import EPISODES
from trainyard.rllib.asynchronous.results import ASYNCHRONOUS, POLICY_LAG_MEAN
from trainyard.rllib.compat import MODULE_FILE, MODULES
from trainyard.rllib.env_runner import EnvRunner
from trainyard.rllib.replay import saving
from trainyard.runs import resuming
from trainyard.runs.stopping import OutOfTime


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch in this process; RLlib seeds its runners and learners from the same number."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def limit_threads(cpus: float) -> None:
    """Give torch in this process as many threads as it was promised CPUs.

    Its default is one per core of the node, whatever the pod may use; the networks here are too small to profit, and
    threads that spin for each other on a busy node made updates eight times slower.
    """
    torch.set_num_threads(max(1, int(cpus)))


class Trainer:
    """An RLlib algorithm with the few calls that the driver loop makes.

    Another way to train (for instance whole-episode asynchronous collection) offers the same methods.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        if config.num_env_runners and not config.num_learners:
            # torch imports its compiler with the first optimizer; here, while the env runners' processes start.
            Thread(target=import_module, args=("torch._dynamo",), daemon=True).start()
        self.algorithm: Algorithm = config.build_algo()
        self._waits_for = ""

    def train(self, deadline: float | None = None) -> tuple[dict[str, Any], list[dict[str, float]]]:
        """One iteration: RLlib's result and the episodes that finished in it.

        Args:
            deadline: of time.monotonic(); looked at while whole episodes are waited for. RLlib's own sampling counts
                steps, so that its iterations end by themselves.

        Raises:
            OutOfTime: the deadline came first.
        """
        self._waits_for = ""
        # AsynchronousPPO has it; its module is not for every Ray.
        if hasattr(self.algorithm, "on_wait"):
            self.algorithm.on_wait = partial(self._wait, deadline)
        try:
            result = self.algorithm.train()
        except RuntimeError as error:
            # A remote error keeps Ray's wrapping, whose text is the remote traceback; a local runner's has none.
            if type(error) is not RuntimeError:
                raise
            raise root_cause(error) from None
        return result, finished_episodes(result)

    def words(self) -> str:
        """What the iteration under way is doing, as far as this process knows; asked from another thread."""
        if self._waits_for:
            return f": {self._waits_for}"
        runner = self.algorithm.env_runner
        seconds = runner.stuck.seconds() if isinstance(runner, EnvRunner) else 0.0
        return f": an environment has been in one reset or step for {seconds:.0f} s" if seconds >= 10 else ""

    def _wait(self, deadline: float | None, words: str) -> None:
        self._waits_for = words
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTime

    def env_steps(self) -> int:
        """Environment steps over the algorithm's life, those before a restored checkpoint included."""
        return int(self.algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0))

    def foreach_env_runner(self, call: Callable[[Any], None]) -> None:
        """Call a function with every env runner; an error in one of them is raised here."""
        group = self.algorithm.env_runner_group
        if group is not None:
            group.foreach_env_runner(call)

    def listen(self, call: Callable[[list[Any]], None]) -> None:
        """Call a function in this process with the whole episodes that arrive, where the algorithm collects such."""
        # AsynchronousPPO has them; its module is not for every Ray.
        listeners = getattr(self.algorithm, "listeners", None)
        if listeners is not None:
            listeners.append(call)

    def save(self, folder: Path, *, replay: bool = False) -> None:
        """Write the algorithm's state into a folder, and its replay buffer where `replay` asks for it."""
        self.algorithm.save_to_path(str(folder))
        if replay:
            saving.save(self.algorithm, folder)

    def restore(self, folder: Path) -> None:
        """Take over a state; the replay buffer too where the folder has one."""
        self.algorithm.restore_from_path(str(folder))
        saving.restore(self.algorithm, folder)

    def replay(self) -> saving.SavedReplay | None:
        """What a checkpoint would hold of the replay buffer now; None when the algorithm has none."""
        return saving.describe(self.algorithm)

    def check_network(self, folder: Path) -> None:
        """Raises InvalidConfiguration when the network of the checkpoint in ``folder`` is not this one."""
        own = self.algorithm.learner_group.get_weights()[DEFAULT_MODULE_ID]
        resuming.check_network(pickle.loads((folder / MODULE_FILE).read_bytes()), own)

    def restore_weights(self, folder: Path) -> None:
        """Take the network alone: the optimizer, counters and schedules stay as they are."""
        self.algorithm.restore_from_path(str(folder / MODULES), component=MODULES)

    def stop(self) -> None:
        self.algorithm.stop()


def finished_episodes(result: dict[str, Any]) -> list[dict[str, float]]:
    """Take the episodes that finished in an iteration out of its result, where RLlib makes of a single one no list."""
    episodes = result.get("env_runners", {}).pop(EPISODES, [])
    return [episodes] if isinstance(episodes, dict) else list(episodes)


def env_steps(result: Mapping[str, Any]) -> int:
    """Environment steps that all runners have sampled since the algorithm was built or restored."""
    return int(result.get("num_env_steps_sampled_lifetime", result.get("env_runners", {}).get(
        "num_env_steps_sampled_lifetime", 0)))  # fmt: skip


def loss(result: Mapping[str, Any]) -> float | None:
    """The total loss of the policy's last update; None in an iteration without one."""
    learners = result.get("learners", {})
    modules = [module for name, module in learners.items() if name != "__all_modules__" and "total_loss" in module]
    return float(modules[0]["total_loss"]) if modules else None


def policy_lag(result: Mapping[str, Any]) -> float | None:
    """Updates between the weights that played an episode and its use, on average; None with RLlib's own sampling."""
    lag = result.get(ASYNCHRONOUS, {}).get(POLICY_LAG_MEAN)
    return None if lag is None else float(lag)
