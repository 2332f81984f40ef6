"""Every private or undocumented name of Ray, RLlib, Tune and torch that Trainyard uses, and whether this Ray has it.

Such names may go, or change, with any release. NAMES lists them by what needs them; `why_not` asks about the installed
Ray. What has a counterpart of RLlib's own (Learners, replay, runners, connectors) asks first and trains with that one
where a name is missing. Tests look for each name, and for uses of names that are not listed here.

What belongs here: the list, the question, and what differs between the versions of Ray in docs/ray-versions.md. What
does not: what the names are used for.
"""

from __future__ import annotations

import dis
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any


@dataclass(frozen=True)
class Name:
    """One name that is used.

    Attributes:
        owner: `package.module` or `package.module:Class`.
        name: an attribute of the owner: of a module or class itself, or one that a method of the class sets on its
            instances. Empty: the module itself.
        signature: of a function, as Python writes it, without annotations. None: of an attribute, and of what is
            written in C and tells none.
        holds: keys that a mapping must have, or the string that it must be.
    """

    owner: str
    name: str = ""
    signature: str | None = None
    holds: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [self.owner.rpartition(":")[2], self.name]
        return ".".join(part for part in parts if part)


@dataclass(frozen=True)
class Group:
    """Names that are used together: without one of them, none is used.

    Attributes:
        files: where they are used, below `trainyard`.
        otherwise: what happens with a Ray that lacks one of them.
    """

    files: tuple[str, ...]
    otherwise: str
    names: tuple[Name, ...]


_learner = partial(Name, "ray.rllib.core.learner.learner:Learner")
_torch_learner = partial(Name, "ray.rllib.core.learner.torch.torch_learner:TorchLearner")
_ppo_learner = partial(Name, "ray.rllib.algorithms.ppo.torch.ppo_torch_learner:PPOTorchLearner")
_dqn_learner = partial(Name, "ray.rllib.algorithms.dqn.dqn_learner:DQNLearner")
_sac_learner = partial(Name, "ray.rllib.algorithms.sac.torch.sac_torch_learner:SACTorchLearner")
_module = partial(Name, "ray.rllib.core.rl_module.torch.torch_rl_module:TorchRLModule")
_config = partial(Name, "ray.rllib.algorithms.algorithm_config:AlgorithmConfig")
_runner = partial(Name, "ray.rllib.env.single_agent_env_runner:SingleAgentEnvRunner")
_episode = partial(Name, "ray.rllib.env.single_agent_episode:SingleAgentEpisode")
_buffer = partial(Name, "ray.rllib.utils.replay_buffers.episode_replay_buffer:EpisodeReplayBuffer")
_encoder = partial(Name, "ray.rllib.core.models.torch.encoder:TorchMultiStreamEncoder")
_squashed = partial(Name, "ray.rllib.core.distribution.torch.torch_distribution:TorchSquashedGaussian")
_core = partial(Name, "ray.rllib.core")
_kv = partial(Name, "ray.experimental.internal_kv")
_torch = partial(Name, "torch")

_LOOKUP = "ray.rllib.utils.metrics.metrics_logger"
_REDUCTIONS = Name(_LOOKUP, "DEFAULT_STATS_CLS_LOOKUP", holds=("ema", "item_series", "lifetime_sum", "max", "sum"))
_LOSS = "(self, *, module_id, config, batch, fwd_out)"
_PASS = "(self, batch, **kwargs)"

NAMES: dict[str, Group] = {
    "optimizer": Group(
        ("rllib/learners/fused.py", "rllib/learners/choice.py"),
        "RLlib's own Learner trains",
        (
            _config("_torch_grad_scaler_class"),
            _config("_torch_lr_scheduler_classes"),
            _torch_learner("_params"),
            _torch_learner("_named_optimizers"),
            _torch_learner("_grad_scalers"),
            _torch_learner("_set_optimizer_state", "(self, state)"),
            _torch_learner("_get_clip_function", "()"),
            _torch_learner("compute_gradients", "(self, loss_per_module, **kwargs)"),
            _torch_learner("apply_gradients", "(self, gradients_dict)"),
            Name(
                "ray.rllib.utils.torch_utils",
                "clip_gradients",
                "(gradients_dict, *, grad_clip=None, grad_clip_by='value')",
            ),
            _torch("_foreach_add_"),
            _torch("_foreach_mul_"),
            _torch("_foreach_norm"),
            _torch("_fused_adam_"),
            _torch("_fused_adamw_"),
            Name("torch.optim:Optimizer", "_optimizer_step_pre_hooks"),
            Name("torch.optim:Optimizer", "_optimizer_step_post_hooks"),
            Name(
                "torch.optim:Adam",
                "_init_group",
                "(self, group, params_with_grad, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs, state_steps)",
            ),
        ),
    ),
    "update": Group(
        ("rllib/learners/flat.py", "rllib/learners/column_update.py"),
        "RLlib's own Learner trains",
        (
            _learner(
                "update",
                "(self, batch=None, batches=None, batch_refs=None, episodes=None, episodes_refs=None, "
                "data_iterators=None, training_data=None, *, timesteps=None, num_total_minibatches=0, num_epochs=1, "
                "minibatch_size=None, shuffle_batch_per_epoch=False, _no_metrics_reduce=False, **kwargs)",
            ),
            _learner("_check_is_built", "(self, error=True)"),
            _learner("_make_batch_if_necessary", "(self, training_data)"),
            _learner("_weights_seq_no"),
            _learner("_metrics_all_modules_num_env_steps_trained"),
            _learner("_metrics_all_modules_num_module_steps_trained"),
            _learner("before_gradient_based_update", "(self, *, timesteps)"),
            _learner("after_gradient_based_update", "(self, *, timesteps)"),
            _learner("postprocess_gradients", "(self, gradients_dict)"),
            _torch_learner("_compute_off_policyness", "(self, batch)"),
            _torch_learner("_device"),
            _module("_forward_train", _PASS),
            Name("ray.rllib.core.learner.training_data:TrainingData", "validate", "(self)"),
            Name("ray.rllib.core.learner.training_data:TrainingData", "solve_refs", "(self)"),
            _REDUCTIONS,
        ),
    ),
    "finite gradients": Group(
        ("rllib/learners/finite.py",),
        "RLlib's own Learner trains as it is: it puts 0 in the place of gradients that are not finite",
        (_torch_learner("_params"), _torch_learner("_grad_scalers"), _learner("_weights_seq_no")),
    ),
    "update thread": Group(
        ("rllib/learners/finite.py",),
        "RLlib's own Learner trains as it is: an error in APPO's or IMPALA's update is not told",
        (
            Name("ray.rllib.algorithms.impala.impala_learner:IMPALALearner", "_learner_thread"),
            Name("ray.rllib.algorithms.impala.impala_learner:_LearnerThread", "_update_method"),
        ),
    ),
    "PPO's loss": Group(
        ("rllib/learners/ppo_loss.py",),
        "RLlib's own Learner trains",
        (
            _ppo_learner("compute_loss_for_module", _LOSS),
            _ppo_learner("curr_kl_coeffs_per_module"),
            _ppo_learner("entropy_coeff_schedulers_per_module"),
        ),
    ),
    "targets": Group(
        ("rllib/learners/targets.py",),
        "RLlib's own Learner trains",
        (
            _dqn_learner("after_gradient_based_update", "(self, *, timesteps)"),
            _dqn_learner("last_update_ts_by_mid"),
            Name("ray.rllib.core.rl_module.multi_rl_module:MultiRLModule", "_rl_modules"),
            Name("ray.rllib.core.learner.utils", "update_target_network", "(*, main_net, target_net, tau)"),
            _torch("_foreach_lerp_"),
            _REDUCTIONS,
        ),
    ),
    "SAC's loss": Group(
        ("rllib/learners/sac_loss.py",),
        "RLlib's own Learner trains",
        (
            _sac_learner("compute_loss_for_module", _LOSS),
            _sac_learner("compute_gradients", "(self, loss_per_module, **kwargs)"),
            _sac_learner("_temp_losses"),
            _sac_learner("curr_log_alpha"),
            _sac_learner("target_entropy"),
            _encoder("base_encoders"),
            _encoder("fusion_layers"),
            _encoder("output_layer"),
            _encoder("hidden_activation"),
            _encoder("output_activation"),
            _squashed("_squash", "(self, sample)"),
            _squashed("_squashed_logp", "(self, unsquashed)"),
        ),
    ),
    "replay": Group(
        ("rllib/replay/buffer.py", "rllib/replay/training.py", "rllib/replay/choice.py"),
        "RLlib's own replay buffer is used",
        (
            _config("_learner_connector"),
            Name(
                "ray.rllib.algorithms.algorithm:Algorithm", "_create_local_replay_buffer_if_necessary", "(self, config)"
            ),
            Name(
                "ray.rllib.execution.rollout_ops",
                "synchronous_parallel_sample",
                "(*, worker_set, max_agent_steps=None, max_env_steps=None, concat=True, sample_timeout_s=None, "
                "random_actions=False, _uses_new_env_runners=False, _return_metrics=False)",
            ),
            _runner("_weights_seq_no"),
            _learner("_weights_seq_no"),
            _buffer("_metrics_num_episodes_for_smoothing"),
            _buffer("_num_timesteps_added"),
            _buffer("_num_episodes_evicted"),
            _buffer(
                "_update_add_metrics",
                "(self, *, num_episodes_added, num_env_steps_added, num_episodes_evicted, num_env_steps_evicted, "
                "agent_to_num_episodes_added, agent_to_num_steps_added, agent_to_num_episodes_evicted, "
                "agent_to_num_steps_evicted, module_to_num_steps_added, module_to_num_episodes_added, "
                "module_to_num_episodes_evicted, module_to_num_steps_evicted, **kwargs)",
            ),
            _buffer(
                "_update_sample_metrics",
                "(self, *, num_env_steps_sampled, num_episodes_per_sample, num_env_steps_per_sample, sampled_n_step, "
                "num_resamples, agent_to_num_steps_sampled, agent_to_num_episodes_per_sample, "
                "agent_to_num_steps_per_sample, agent_to_sampled_n_step, agent_to_num_resamples, "
                "module_to_num_steps_sampled, module_to_num_episodes_per_sample, module_to_num_steps_per_sample, "
                "module_to_sampled_n_step, module_to_num_resamples, **kwargs)",
            ),
            _torch("_foreach_copy_"),
            _REDUCTIONS,
        ),
    ),
    "env runner": Group(
        ("rllib/env_runner.py",),
        "RLlib's own runner prepares to tell of every step, also where nobody listens",
        (
            _runner("_callbacks"),
            _runner("_make_on_episode_callback", "(self, which, idx, episodes)"),
        ),
    ),
    "environment's answers": Group(
        ("rllib/env_runner.py", "training/evaluation.py"),
        "nothing stands in for it: what an environment gives is neither copied nor tested for being finite",
        (
            _runner("_ongoing_episodes"),
            _runner("_new_episode", "(self, env_index, episodes=None)"),
            _runner("_try_env_reset", "(self, *, seed=None, options=None)"),
            _runner("_try_env_step", "(self, actions)"),
        ),
    ),
    "rounds": Group(
        ("rllib/replay/round_runner.py",),
        "RLlib's own sample() plays every round",
        (
            _runner("_cached_to_module"),
            _runner("_callbacks"),
            _runner("_device"),
            _runner("_done_episodes_for_metrics"),
            _runner("_env_to_module"),
            _runner("_module_to_env"),
            _runner("_needs_initial_reset"),
            _runner("_ongoing_episodes"),
            _runner("_ongoing_episodes_for_metrics"),
            _runner("_weights_seq_no"),
            _runner("_metrics_num_env_steps_sampled"),
            _runner("_metrics_num_try_env_step"),
            _runner("num_env_steps_sampled_lifetime"),
            _runner("episodes_to_numpy"),
            _runner("_increase_sampled_metrics", "(self, num_steps, num_episodes_completed)"),
            _runner("_log_env_steps", "(self, metric, num_steps)"),
            _runner("_make_on_episode_callback", "(self, which, idx, episodes)"),
            _runner("_new_episode", "(self, env_index, episodes=None)"),
            _runner("_reset_envs_and_episodes", "(self, explore)"),
            _module("_forward_exploration", _PASS),
            _module("_forward_inference", _PASS),
            _episode("add_env_reset", "(self, observation, infos=None)"),
            _episode(
                "add_env_step",
                "(self, observation, action, reward, infos=None, *, terminated=False, truncated=False, "
                "extra_model_outputs=None)",
            ),
            _episode("cut", "(self, len_lookback_buffer=0)"),
            _episode("validate", "(self)"),
            Name("ray.rllib.env.utils.infinite_lookback_buffer:InfiniteLookbackBuffer", "data"),
            Name("ray.rllib.env.utils.infinite_lookback_buffer:InfiniteLookbackBuffer", "lookback"),
            Name(
                "ray.rllib.callbacks.utils",
                "make_callback",
                "(callback_name, callbacks_objects=None, callbacks_functions=None, *, args=None, kwargs=None)",
            ),
            _REDUCTIONS,
        ),
    ),
    "connectors": Group(
        ("rllib/connectors.py",),
        "RLlib's own connectors are used",
        (
            _config("_env_to_module_connector"),
            _config("_module_to_env_connector"),
            _config("add_default_connectors_to_env_to_module_pipeline"),
            _config("add_default_connectors_to_module_to_env_pipeline"),
            Name(
                "ray.rllib.connectors.module_to_env:GetActions",
                "__call__",
                "(self, *, rl_module, batch, episodes, explore=None, shared_data=None, **kwargs)",
            ),
            Name(
                "ray.rllib.connectors.connector_v2:ConnectorV2",
                "__init__",
                "(self, input_observation_space=None, input_action_space=None, **kwargs)",
            ),
        ),
    ),
    "state server": Group(
        ("rllib/replay/round_runner.py", "training/config.py"),
        "there is no such server, and nothing to turn off",
        (_runner("_env_runner_state_server"), _config("use_env_runner_state_server")),
    ),
    "exported policy": Group(
        ("training/exporting.py",),
        "the best policy is not exported, and the summary says why",
        (
            _module("_forward_inference", _PASS),
            Name("torch.distributions:Distribution", "_validate_args"),
        ),
    ),
    "whole episodes": Group(
        ("rllib/asynchronous/algorithm.py",),
        "a specification that asks for it is refused",
        (
            Name("ray.rllib.algorithms.algorithm_config", "NotProvided"),
            Name("ray.rllib.policy.sample_batch", "MultiAgentBatch"),
            Name("ray.rllib.evaluation.postprocessing", "Postprocessing"),
            Name("ray.tune.execution.placement_groups", "PlacementGroupFactory"),
            _REDUCTIONS,
        ),
    ),
    "checkpoints": Group(
        ("rllib/compat.py",),
        "nothing stands in for it: spec.resumeFrom with Weights and the exported policy find no network",
        (
            _core("COMPONENT_LEARNER_GROUP", holds=("learner_group",)),
            _core("COMPONENT_LEARNER", holds=("learner",)),
            _core("COMPONENT_RL_MODULE", holds=("rl_module",)),
            _core("DEFAULT_MODULE_ID", holds=("default_policy",)),
            Name("ray.rllib.core.rl_module.rl_module:RLModule", "STATE_FILE_NAME", holds=("module_state",)),
        ),
    ),
    "failed trials": Group(
        ("search/on_tune.py",),
        "the error of a trial is in Ray's log only",
        (
            Name("ray.tune.experiment.trial:Trial", "pickled_error_file"),
            Name("ray.tune.experiment.trial:Trial", "error_file"),
        ),
    ),
    "clean-up": Group(
        ("cleanup.py", "runs/packages.py"),
        "processes that start late may leave their folder, and what a worker process said of its packages is not told",
        (
            _kv("_internal_kv_exists", "(key, *, namespace=None)"),
            _kv("_internal_kv_get", "(key, *, namespace=None)"),
            _kv("_internal_kv_initialized", "()"),
            _kv("_internal_kv_put", "(key, value, overwrite=True, *, namespace=None)"),
        ),
    ),
    "Tune's folders": Group(
        ("cleanup.py",),
        "`<Ray session>/artifacts/<time>/<experiment>` stays on the nodes (tests/training/test_cleanup.py looks)",
        (
            Name("ray.train._internal.storage:StorageContext", "_get_session_path", "(self)"),
            Name("ray.train._internal.storage:StorageContext", "_timestamp"),
            Name("ray.train._internal.storage:StorageContext", "experiment_dir_name"),
        ),
    ),
    "start-up": Group(
        ("training/trainer.py", "rllib/episode_log.py"),
        "training starts a little later, and says more about RLlib's own API",
        (
            Name("torch._dynamo"),
            Name("ray._common.deprecation"),
            Name("ray.tune.utils.util"),
        ),
    ),
}


# Where RLlib keeps the network below an algorithm's checkpoint.
MODULES = "learner_group/learner/rl_module"
MODULE_FILE = f"{MODULES}/default_policy/module_state.pkl"


def why_not(*groups: str) -> str | None:
    """What is wrong with the first name of the groups that this Ray or torch has not as it is used; None: nothing."""
    missing = (reason for group in groups for name in NAMES[group].names if (reason := why_absent(name)))
    return next(missing, None)


def lean(path: str, *groups: str) -> tuple[Any, str | None]:
    """What stands at `package.module:Name` of ours and needs the names of these groups, and None.

    Where this Ray lacks one of them, or something else that the module imports: None, and the reason.
    """
    reason = why_not(*groups)
    if reason is not None:
        return None, reason
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name), None
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("ray", "torch"):
            raise
        return None, f"{_installed(error.name or '')}: {error}"


def why_absent(name: Name) -> str | None:
    """What is wrong with a name; None when the installed Ray or torch has it as it is used."""
    where = _installed(name.owner)
    if not name.name:
        return None if importlib.util.find_spec(name.owner) else f"{where} has no {name}"
    try:
        owner = _owner(name.owner)
        found = getattr(owner, name.name)
    except (ImportError, AttributeError):
        if isinstance(owner := _owner_or_none(name.owner), type) and _sets(owner, name.name):
            return None
        return f"{where} has no {name}"
    if name.signature is not None and (signature := _signature(found)) != name.signature:
        return f"{name} of {where} takes {signature}, not {name.signature}"
    lacking = [key for key in name.holds if key not in ((found,) if isinstance(found, str) else found)]
    return f"{name} of {where} is without {', '.join(lacking)}" if lacking else None


def _installed(owner: str) -> str:
    """`Ray 2.60.0` or `torch 2.15.0`, of whichever a dotted name begins with."""
    package = owner.partition(".")[0].partition(":")[0]
    return f"{package.replace('ray', 'Ray')} {importlib.import_module(package).__version__}"


def _owner(path: str) -> Any:
    module, _, name = path.partition(":")
    found = importlib.import_module(module)
    return getattr(found, name) if name else found


def _owner_or_none(path: str) -> Any:
    try:
        return _owner(path)
    except (ImportError, AttributeError):
        return None


def _signature(function: Any) -> str:
    signature = inspect.signature(function)
    # Ray adds a parameter to the methods of a class that has become an actor's in this process.
    own = [parameter for name, parameter in signature.parameters.items() if name != "_ray_trace_ctx"]
    bare = [parameter.replace(annotation=parameter.empty) for parameter in own]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def _sets(owner: type, name: str) -> bool:
    """Whether a method of the class or of its bases sets this attribute."""
    return any(
        name in code.co_names
        and any(step.opname == "STORE_ATTR" and step.argval == name for step in dis.get_instructions(code))
        for base in owner.__mro__
        for code in _codes(base)
    )


def _codes(owner: type) -> Iterator[CodeType]:
    """Of its methods and properties, and of what is wrapped in them."""
    for value in vars(owner).values():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        wrapped = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
        for found in (function, *wrapped):
            if inspect.isfunction(found):
                yield inspect.unwrap(found).__code__


def every_value() -> dict[str, Any]:
    """What RLlib's MetricsLogger.log_value is given so that a result has all values and not their mean."""
    if why_absent(_REDUCTIONS) is None:
        return {"reduce": "item_series"}
    return {"reduce": None, "clear_on_reduce": True}
