"""From a specification to a running RLlib algorithm on the new API stack.

Importing this module imports RLlib and torch (seconds); a driver connects to Ray first.
"""

import logging
import pickle
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from trainyard import metrics, networks, parameters, presets, resuming
from trainyard.asynchronous.algorithm import ASYNCHRONOUS, POLICY_LAG_MEAN, AsynchronousPPO, AsynchronousPPOConfig
from trainyard.connectors import make_lean, may_be_lean
from trainyard.env_runner import EnvRunner
from trainyard.environment_names import EnvironmentChoice, chosen
from trainyard.errors import Fault, InvalidConfiguration, root_cause
from trainyard.learners import choose_learner
from trainyard.metrics import EPISODE_METRICS, EPISODES
from trainyard.recording.callback import settings_of
from trainyard.replay import choose_replay, saving
from trainyard.replay.rounds import RoundRunner
from trainyard.replay.training import FlatReplayDQN
from trainyard.specification import Specification

logger = logging.getLogger(__name__)

# Where RLlib keeps the networks below an algorithm's checkpoint.
MODULES = "learner_group/learner/rl_module"
MODULE_FILE = f"{MODULES}/{DEFAULT_MODULE_ID}/module_state.pkl"

CONFIGS: dict[str, type[AlgorithmConfig]] = {
    "PPO": PPOConfig,
    "DQN": DQNConfig,
    "APPO": APPOConfig,
    "IMPALA": IMPALAConfig,
    "SAC": SACConfig,
}

# Where several environments per runner change nothing but the speed. DQN and SAC make one update per round of steps,
# so that more environments would mean fewer updates per step: they stay at 1 unless the user asks.
ENVS_PER_RUNNER = {"PPO": 8, "APPO": 8, "IMPALA": 8, "DQN": 1, "SAC": 1}


class EpisodeLog(RLlibCallback):
    """Logs every finished episode, so that the driver can keep a window over all runners."""

    def __init__(self) -> None:
        quieten()

    def on_episode_end(
        self, *, episode: Any, prev_episode_chunks: Any = None, metrics_logger: Any = None, **kwargs: Any
    ) -> None:
        chunks = [*(prev_episode_chunks or []), episode]
        metrics_logger.log_value(EPISODES, episode_figures(chunks), reduce="item_series")


def quieten() -> None:
    """Silence what RLlib says about its own API at every start; nothing of it is the user's to change."""
    for name in ("ray.rllib", "ray.tune.utils.util", "ray._common.deprecation"):
        logging.getLogger(name).setLevel(logging.ERROR)


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


def faults(specification: Specification) -> list[Fault]:
    """Faults that only RLlib's own signatures show."""
    algorithm = specification.algorithm
    if algorithm is None or algorithm.name not in CONFIGS:
        return []
    config = CONFIGS[algorithm.name]()
    found = parameters.config_faults(algorithm.name, config, algorithm.config)
    # A network of the user's own has parameters of its own.
    return found if algorithm.module else found + parameters.model_faults(algorithm.name, algorithm.model)


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


def build_config(specification: Specification, runner_callbacks: Sequence[Callable[[], Any]] = ()) -> AlgorithmConfig:
    """Make RLlib's configuration of an `algorithm` run.

    Raises:
        InvalidConfiguration: unknown parameters, an environment that cannot be made, or a combination that RLlib
            refuses.
    """
    quieten()
    algorithm, environment = specification.algorithm, specification.environment
    if algorithm is None or environment is None:
        raise ValueError("the specification has no algorithm")
    preset = presets.PRESETS[algorithm.preset] if algorithm.preset else None
    training = presets.filled(algorithm.config, preset.config if preset else {})
    model = presets.filled(algorithm.model, preset.model if preset else {})
    if found := faults(specification):
        raise InvalidConfiguration(found)
    choice = chosen(specification)
    if choice.creator is not None:
        register_env(choice.rllib_name, choice.creator)
    learner = specification.learner
    try:
        config = (
            _config_class(specification)()
            .framework("torch")
            .api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
            .environment(choice.rllib_name, env_config=environment.config)
            .training(**training)
            .learners(num_learners=learner.count, num_cpus_per_learner=learner.cpus, num_gpus_per_learner=learner.gpus)
            .callbacks([EpisodeLog, *runner_callbacks])
            # An environment that raises must end the run at once, with its traceback. RLlib's restarts would stall for
            # a minute and then loop.
            .fault_tolerance(restart_failed_env_runners=False, ignore_env_runner_failures=False)
            # One train() is one iteration of work, not ten seconds (IMPALA) or one second (SAC).
            .reporting(min_time_s_per_iteration=0)
            .debugging(seed=specification.seed, log_level="ERROR")
        )
        if isinstance(config, AsynchronousPPOConfig):
            config.asynchronous(**_episode_runners(specification, choice))
        else:
            config.env_runners(**_env_runners(specification, choice))
        if algorithm.module:
            config.rl_module(rl_module_spec=networks.spec_of(algorithm.module, algorithm.model))
        elif algorithm.name == "SAC":
            config.rl_module(model_config=model, rl_module_spec=RLModuleSpec(catalog_class=networks.GreedySACCatalog))
        elif model:
            config.rl_module(model_config=model)
        if algorithm.name in ("APPO", "IMPALA"):
            # Without a minimum, train() returns as soon as any runner has answered.
            config.reporting(min_sample_timesteps_per_iteration=config.train_batch_size_per_learner)
        _check_spaces(algorithm.name, choice)
        blame = _blame_for_the_network(bool(algorithm.module), bool(model))
        module = networks.make(config, choice.observation_space, choice.action_space, blame)
        own = networks.why_not_lean(module) if algorithm.module else None
        if own is not None:
            logger.warning("RLlib's own implementation trains, not the lean one: %s", own)
        elif learner.implementation == "Auto":
            _choose_learner(config)
            _choose_replay(config, choice)
            if may_be_lean(config, choice.observation_space, choice.action_space):
                make_lean(config)
        config.validate()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidConfiguration([parameters.refused(str(error), algorithm.config)]) from error
    return config


def _config_class(specification: Specification) -> type[AlgorithmConfig]:
    algorithm = specification.algorithm
    assert algorithm is not None
    if specification.whole_episodes:
        return AsynchronousPPOConfig
    return CONFIGS[algorithm.name]


def _env_runners(specification: Specification, choice: EnvironmentChoice) -> dict[str, Any]:
    """RLlib's own env runners."""
    algorithm, sampling = specification.algorithm, specification.sampling
    assert algorithm is not None
    preset = presets.PRESETS[algorithm.preset] if algorithm.preset else None
    usual = (preset.envs_per_runner if preset else None) or ENVS_PER_RUNNER[algorithm.name]
    return {
        "env_runner_cls": EnvRunner,
        "num_env_runners": sampling.env_runners,
        "num_envs_per_env_runner": sampling.envs_per_runner or usual,
        "num_cpus_per_env_runner": sampling.cpus_per_env_runner,
        "gym_env_vectorize_mode": choice.vectorize_mode,
        # RLlib returns fewer samples, without a word, when slow environments take longer than this.
        "sample_timeout_s": None,
        # APPO and IMPALA would have every runner ask one more actor for weights before each sample. The first sample
        # then waits until that actor's process has imported RLlib, and so does the error of a broken environment.
        "use_env_runner_state_server": False,
    }


def _episode_runners(specification: Specification, choice: EnvironmentChoice) -> dict[str, Any]:
    """Runners that play whole episodes, each environment on its own."""
    environment, sampling = specification.environment, specification.sampling
    assert environment is not None
    given = {"episodes_per_update": sampling.episodes_per_update} if sampling.episodes_per_update else {}
    return given | {
        "make_env": partial(choice.single, environment.config),
        "episode_runners": sampling.env_runners,
        "envs_per_episode_runner": sampling.envs_per_runner or 1,
        "num_cpus_per_episode_runner": sampling.cpus_per_env_runner,
        "max_policy_lag": sampling.max_policy_lag,
        "recording": settings_of(specification) if specification.recording is not None else None,
    }


def _choose_learner(config: AlgorithmConfig) -> None:
    """The lean Learner where it is exact; elsewhere RLlib's own, and why."""
    if config.learner_class is None:
        # RLlib fills in the algorithm's own Learner class only when it validates.
        config.learners(learner_class=config.get_default_learner_class())
    choice = choose_learner(config)
    if choice.reason is not None:
        logger.warning("%s trains, not a lean Learner: %s", choice.learner_class.__name__, choice.reason)
    config.learners(learner_class=choice.learner_class)


def _choose_replay(config: AlgorithmConfig, environment: EnvironmentChoice) -> None:
    """Flat replay where it is exact; elsewhere RLlib's own, and why."""
    choice = choose_replay(config, environment.observation_space, environment.action_space)
    if choice.reason is not None:
        logger.warning("RLlib's own replay buffer is used, not a flat one: %s", choice.reason)
    config.algo_class = choice.algo_class
    if issubclass(choice.algo_class, FlatReplayDQN):
        config.env_runners(env_runner_cls=RoundRunner)


def _blame_for_the_network(own: bool, configured: bool) -> tuple[str, str]:
    """The field to correct when no network can be made, and how."""
    if own:
        return networks.FIELD, "correct the class"
    if configured:
        return parameters.MODEL, "correct it"
    remedy = "wrap it in FlattenObservation, or bring a network of your own with spec.algorithm.module"
    return "spec.environment", remedy


def _check_spaces(algorithm: str, choice: EnvironmentChoice) -> None:
    kind = type(choice.action_space).__name__
    if algorithm == "DQN" and kind != "Discrete":
        raise InvalidConfiguration.of(
            "spec.algorithm.name",
            f"DQN needs discrete actions, and the environment's are {choice.action_space}",
            "use SAC or PPO",
        )
    if algorithm == "SAC" and kind != "Box":
        raise InvalidConfiguration.of(
            "spec.algorithm.name",
            f"SAC needs continuous actions, and the environment's are {choice.action_space}",
            "use DQN or PPO",
        )


class Trainer:
    """An RLlib algorithm with the few calls that the driver loop makes.

    Another way to train (for instance whole-episode asynchronous collection) offers the same methods.
    """

    def __init__(self, config: AlgorithmConfig) -> None:
        if config.num_env_runners and not config.num_learners:
            # torch imports its compiler with the first optimizer; here, while the env runners' processes start.
            Thread(target=import_module, args=("torch._dynamo",), daemon=True).start()
        self.algorithm: Algorithm = config.build_algo()

    def train(self) -> tuple[dict[str, Any], list[dict[str, float]]]:
        """One iteration: RLlib's result and the episodes that finished in it."""
        try:
            result = self.algorithm.train()
        except RuntimeError as error:
            # A remote error keeps Ray's wrapping, whose text is the remote traceback; a local runner's has none.
            if type(error) is not RuntimeError:
                raise
            raise root_cause(error) from None
        return result, finished_episodes(result)

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
        if isinstance(self.algorithm, AsynchronousPPO):
            self.algorithm.listeners.append(call)

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
