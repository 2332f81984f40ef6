"""From a specification to a running RLlib algorithm on the new API stack.

Importing this module imports RLlib and torch (seconds); a driver connects to Ray first.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from trainyard.episodes.records import settings_of
from trainyard.errors import Fault, InvalidConfiguration
from trainyard.rllib import compat
from trainyard.rllib.env_runner import EnvRunner
from trainyard.rllib.episode_log import EpisodeLog, quieten
from trainyard.rllib.learners import choose_learner, stock_learner
from trainyard.rllib.replay import choose_replay, choose_runner
from trainyard.spec import presets
from trainyard.spec.sections import Specification
from trainyard.training import networks, parameters
from trainyard.training.environment import EnvironmentChoice, chosen

logger = logging.getLogger(__name__)


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


def faults(specification: Specification) -> list[Fault]:
    """Faults that only RLlib's own signatures show."""
    algorithm = specification.algorithm
    if algorithm is None or algorithm.name not in CONFIGS:
        return []
    config = CONFIGS[algorithm.name]()
    found = parameters.config_faults(algorithm.name, config, algorithm.config)
    # A network of the user's own has parameters of its own.
    return found if algorithm.module else found + parameters.model_faults(algorithm.name, algorithm.model)


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
            .callbacks([partial(EpisodeLog, specification.sampling.non_finite.tolerate), *runner_callbacks])
            # An environment that raises must end the run at once, with its traceback. RLlib's restarts would stall for
            # a minute and then loop.
            .fault_tolerance(restart_failed_env_runners=False, ignore_env_runner_failures=False)
            # One train() is one iteration of work, not ten seconds (IMPALA) or one second (SAC).
            .reporting(min_time_s_per_iteration=0)
            .debugging(seed=specification.seed, log_level="ERROR")
        )
        if specification.whole_episodes:
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
            config.learners(learner_class=stock_learner(config))
        elif learner.implementation == "Auto":
            _choose_learner(config)
            _choose_replay(config, choice)
            _choose_connectors(config, choice)
        else:
            config.learners(learner_class=stock_learner(config))
        config.validate()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InvalidConfiguration([parameters.refused(str(error), algorithm.config)]) from error
    return config


def _config_class(specification: Specification) -> type[AlgorithmConfig]:
    algorithm = specification.algorithm
    assert algorithm is not None
    if specification.whole_episodes:
        found, reason = compat.lean("trainyard.rllib.asynchronous.algorithm:AsynchronousPPOConfig", "whole episodes")
        if reason is not None:
            raise InvalidConfiguration.of(
                "spec.sampling.mode", f"is Asynchronous, which this Ray cannot do: {reason}",
                "use Synchronous, or the version of Ray that Trainyard is tested with",
            )  # fmt: skip
        return found
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
        "gym_env_vectorize_mode": gym.VectorizeMode(choice.vectorize_mode),
        # RLlib returns fewer samples, without a word, when slow environments take longer than this.
        "sample_timeout_s": None,
        # APPO and IMPALA would have every runner ask one more actor for weights before each sample. The first sample
        # then waits until that actor's process has imported RLlib, and so does the error of a broken environment.
        **({} if compat.why_not("state server") else {"use_env_runner_state_server": False}),
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
        "tolerate_non_finite": sampling.non_finite.tolerate,
    }


def _choose_learner(config: AlgorithmConfig) -> None:
    """The lean Learner where it is exact; elsewhere RLlib's own, and why."""
    if config.learner_class is None:
        # RLlib fills in the algorithm's own Learner class only when it validates.
        config.training(learner_class=config.get_default_learner_class())
    choice = choose_learner(config)
    if choice.reason is not None:
        logger.warning("%s trains, not a lean Learner: %s", choice.learner_class.__name__, choice.reason)
    config.training(learner_class=choice.learner_class)


def _choose_replay(config: AlgorithmConfig, environment: EnvironmentChoice) -> None:
    """Flat replay where it is exact; elsewhere RLlib's own, and why."""
    choice = choose_replay(config, environment.observation_space, environment.action_space)
    if choice.reason is not None:
        logger.warning("RLlib's own replay buffer is used, not a flat one: %s", choice.reason)
    if choice.algo_class is config.algo_class:
        return
    config.algo_class = choice.algo_class
    runner = choose_runner()
    if runner.runner_class is None:
        logger.warning("RLlib's own sample() plays every round: %s", runner.reason)
    else:
        config.env_runners(env_runner_cls=runner.runner_class)


def _choose_connectors(config: AlgorithmConfig, environment: EnvironmentChoice) -> None:
    """The lean connectors where they are exact; elsewhere RLlib's own, and why where the reason is this Ray."""
    make_lean, reason = compat.lean("trainyard.rllib.connectors:make_lean_where_exact", "connectors")
    if reason is not None:
        logger.warning("RLlib's own connectors are used, not lean ones: %s", reason)
    else:
        make_lean(config, environment.observation_space, environment.action_space)


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
