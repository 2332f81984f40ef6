"""The names that `algorithm.config` and `algorithm.model` may hold.

RLlib does not check names: a misspelt or an obsolete one passes in silence and changes nothing. The allowed names are
those of the algorithm's own `.training()` on the new API stack, read from its signature, and those of the model's
fields that the algorithm's own network reads.
"""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import DEPRECATED_VALUE, AlgorithmConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from trainyard.errors import Fault, nearest
from trainyard.training.parameter_values import value_faults

CONFIG = "spec.algorithm.config"
MODEL = "spec.algorithm.model"

# Keys of RLlib that another section of the spec owns.
OWNED_ELSEWHERE = {
    "env": "spec.environment.name",
    "env_config": "spec.environment.config",
    "num_env_runners": "spec.sampling.envRunners",
    "num_workers": "spec.sampling.envRunners",
    "num_rollout_workers": "spec.sampling.envRunners",
    "num_envs_per_env_runner": "spec.sampling.envsPerRunner",
    "num_envs_per_worker": "spec.sampling.envsPerRunner",
    "num_cpus_per_env_runner": "spec.sampling.cpusPerEnvRunner",
    "num_cpus_per_worker": "spec.sampling.cpusPerEnvRunner",
    "num_learners": "spec.learner.count",
    "num_learner_workers": "spec.learner.count",
    "num_cpus_per_learner": "spec.learner.cpus",
    "num_gpus_per_learner": "spec.learner.gpus",
    "num_gpus": "spec.learner.gpus",
    "seed": "spec.seed",
    "explore": "spec.evaluation.explore",
    "evaluation_interval": "spec.evaluation.everyIterations",
    "evaluation_duration": "spec.evaluation.episodes",
    "evaluation_num_episodes": "spec.evaluation.episodes",
    "evaluation_config": "spec.evaluation.environmentConfig",
    "model": "spec.algorithm.model",
    "checkpoint_freq": "spec.checkpoints.everyIterations",
    "checkpoint_frequency": "spec.checkpoints.everyIterations",
    "keep_checkpoints_num": "spec.checkpoints.keep",
    "training_iteration": "spec.stop.iterations",
    "timesteps_total": "spec.stop.envSteps",
    "stop": "spec.stop",
}

# Keys of the old API stack and of other libraries, and what to write on the new stack.
SUCCESSORS = {
    "sgd_minibatch_size": "write minibatch_size",
    "mini_batch_size": "write minibatch_size",
    "num_sgd_iter": "write num_epochs",
    "n_epochs": "write num_epochs",
    "train_batch_size": "write train_batch_size_per_learner",
    "batch_size": "write train_batch_size_per_learner",
    "learning_rate": "write lr",
    "lambda": "write lambda_",
    "gae_lambda": "write lambda_",
    "clip_range": "write clip_param",
    "ent_coef": "write entropy_coeff",
    "vf_coef": "write vf_loss_coeff",
    "lr_schedule": "write the schedule under lr: [[0, 0.001], [100000, 0.0001]]",
    "entropy_coeff_schedule": "write the schedule under entropy_coeff: [[0, 0.01], [100000, 0.0]]",
    "vf_share_layers": "write spec.algorithm.model.vf_share_layers",
    "hiddens": "write spec.algorithm.model.head_fcnet_hiddens",
    "exploration_config": "DQN explores by epsilon: [[0, 1.0], [10000, 0.05]]; the other algorithms by their policies",
    "exploration_final_eps": "write the schedule under epsilon: [[0, 1.0], [10000, 0.05]]",
    "buffer_size": "write replay_buffer_config: {capacity: ...}",
    "learning_starts": "write num_steps_sampled_before_learning_starts",
    "prioritized_replay": "write replay_buffer_config: {type: PrioritizedEpisodeReplayBuffer}",
    "target_update_frequency": "write target_network_update_freq",
    "optimization": "write actor_lr, critic_lr and alpha_lr",
    "optimization_config": "write actor_lr, critic_lr and alpha_lr",
    "q_model_config": "write spec.algorithm.model",
    "policy_model_config": "write spec.algorithm.model",
    "_separate_vf_optimizer": "RLlib's new stack has one optimizer; remove it",
    "_lr_vf": "RLlib's new stack has one optimizer; remove it",
    "rollout_fragment_length": "RLlib derives it from the batch size; remove it",
    "batch_mode": "RLlib's new stack cuts episodes where the batch ends; remove it",
    "callbacks": "write a trainyard.callbacks.Callback",
    "observation_filter": "write it as an environment wrapper",
    "framework": "Trainyard runs torch; remove it",
    "framework_str": "Trainyard runs torch; remove it",
    "enable_rl_module_and_learner": "Trainyard always uses the new API stack; remove it",
    "enable_env_runner_and_connector_v2": "Trainyard always uses the new API stack; remove it",
}

# Parameters of .training() that are code, not data, or that only the old stack reads.
_NOT_IN_A_FILE = {
    "learner_class", "learner_connector", "add_default_connectors_to_learner_pipeline", "learner_config_dict",
    "before_learn_on_batch", "optimizer", "num_gpu_loader_threads", "num_multi_gpu_tower_stacks",
    "minibatch_buffer_size", "replay_proportion", "replay_buffer_num_slots", "learner_queue_size",
    "learner_queue_timeout", "timeout_s_sampler_manager", "timeout_s_aggregator_manager", "opt_type", "decay",
    "momentum", "store_buffer_in_checkpoints",
}  # fmt: skip

# Fields of DefaultModelConfig by what they belong to, and which of them the networks of each algorithm do not read.
_INITIALIZERS = ("kernel_initializer", "kernel_initializer_kwargs", "bias_initializer", "bias_initializer_kwargs")
_HEAD_INITIALIZERS = {f"head_fcnet_{name}" for name in _INITIALIZERS}
_FUSION = {f"fusionnet_{name}" for name in ("hiddens", "activation", *_INITIALIZERS)}
_PREVIOUS = {"lstm_use_prev_action", "lstm_use_prev_reward"}
_NOT_OF_ACTOR_CRITICS = _HEAD_INITIALIZERS | _FUSION | _PREVIOUS
UNREAD = {
    "PPO": _NOT_OF_ACTOR_CRITICS,
    "APPO": _NOT_OF_ACTOR_CRITICS,
    "IMPALA": _NOT_OF_ACTOR_CRITICS,
    "DQN": _FUSION | _PREVIOUS | {"head_fcnet_use_layernorm", "vf_share_layers", "free_log_std", "log_std_clip_param"},
    "SAC": _HEAD_INITIALIZERS | _PREVIOUS | {"head_fcnet_use_layernorm", "vf_share_layers"},
}


def training_parameters(config: AlgorithmConfig) -> dict[str, Any]:
    """What `config.training()` takes on the new API stack, the base class's included: names and annotations."""
    found: dict[str, Any] = {}
    # From the base on, so that an algorithm's own annotation replaces it.
    for owner in reversed(type(config).__mro__):
        method = vars(owner).get("training")
        if method is None:
            continue
        for name, parameter in inspect.signature(method).parameters.items():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is not DEPRECATED_VALUE:
                found[name] = Any if parameter.annotation is inspect.Parameter.empty else parameter.annotation
    elsewhere = _NOT_IN_A_FILE | OWNED_ELSEWHERE.keys() | SUCCESSORS.keys()
    return {name: found[name] for name in sorted(found) if name not in elsewhere}


def model_parameters() -> dict[str, Any]:
    """Names and annotations of RLlib's DefaultModelConfig."""
    return {field.name: field.type for field in dataclasses.fields(DefaultModelConfig)}


def config_faults(algorithm: str, config: AlgorithmConfig, given: Mapping[str, Any]) -> list[Fault]:
    """Faults in names and values of `algorithm.config`."""
    allowed = training_parameters(config)
    names = [_fault(algorithm, name, value, list(allowed)) for name, value in given.items() if name not in allowed]
    return [*names, *value_faults(CONFIG, given, allowed)]


def _fault(algorithm: str, name: str, value: Any, allowed: list[str]) -> Fault:
    field = f"{CONFIG}.{name}"
    if name in ("framework", "framework_str") and value in ("tf2", "tf"):
        return Fault(field, f"is {value}, which RLlib's new API stack does not have", "Trainyard runs torch; remove it")
    if name in OWNED_ELSEWHERE:
        return Fault(field, "belongs to another section", f"write {OWNED_ELSEWHERE[name]}")
    if name in SUCCESSORS:
        return Fault(field, f"is no parameter of {algorithm} on RLlib's new API stack", SUCCESSORS[name])
    if name in model_parameters():
        return Fault(field, "describes the network", f"write {MODEL}.{name}")
    if name in _NOT_IN_A_FILE:
        return Fault(field, "cannot be set from a file, or has no effect on RLlib's new API stack", "remove it")
    return Fault(field, f"is no parameter of {algorithm}", nearest(name, allowed))


def refused(message: str, given: Mapping[str, Any]) -> Fault:
    """The fault that RLlib's own words are about: of the parameter that they quote, or of the whole section."""
    words = message.partition("\nTo suppress all validation errors")[0]
    named = next((name for name in re.findall(r"`(\w+)`", words) if name in given), None)
    return Fault(f"{CONFIG}.{named}" if named else CONFIG, f"RLlib refuses it: {words}", "correct it")


def model_faults(algorithm: str, given: Mapping[str, Any]) -> list[Fault]:
    """Faults in names and values of `algorithm.model`, where the network is RLlib's own."""
    read = {name: kind for name, kind in model_parameters().items() if name not in UNREAD[algorithm]}
    names = [_model_fault(algorithm, name, list(read)) for name in given if name not in read]
    return [*names, *value_faults(MODEL, given, read)]


def _model_fault(algorithm: str, name: str, read: list[str]) -> Fault:
    field = f"{MODEL}.{name}"
    if name in UNREAD[algorithm]:
        return Fault(field, f"is not read by RLlib's network for {algorithm}", "remove it: it would change nothing")
    return Fault(field, "is no field of RLlib's DefaultModelConfig", nearest(name, read))
