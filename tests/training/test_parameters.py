"""Names of algorithm parameters, against RLlib's own signatures; no Ray is started."""

import dataclasses
from pathlib import Path

import gymnasium as gym
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.models.catalog import Catalog
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from tests.learner_results import lean_learner
from trainyard.errors import InvalidConfiguration
from trainyard.spec import presets
from trainyard.spec.parsing import parse
from trainyard.spec.relations import ALGORITHMS
from trainyard.training import config as algorithms
from trainyard.training.parameter_values import value_faults
from trainyard.training.parameters import UNREAD, model_parameters, training_parameters

FRAMES = {"name": "FrameStackObservation", "config": {"stack_size": 3}}
"""Makes observations of two dimensions."""


def specification(name="PPO", environment="CartPole-v1", **algorithm):
    return parse(
        {
            "algorithm": {"name": name} | algorithm,
            "environment": {"name": environment},
            "stop": {"iterations": 1},
        }
    )


@pytest.mark.parametrize(
    ("algorithm", "names"),
    [
        (
            "PPO",
            {"lr", "gamma", "clip_param", "lambda_", "num_epochs", "minibatch_size", "train_batch_size_per_learner"},
        ),
        ("DQN", {"lr", "double_q", "dueling", "n_step", "epsilon", "replay_buffer_config", "training_intensity"}),
        ("APPO", {"lr", "vtrace", "clip_param", "circular_buffer_num_batches"}),
        ("IMPALA", {"lr", "vtrace", "entropy_coeff"}),
        ("SAC", {"actor_lr", "critic_lr", "alpha_lr", "tau", "twin_q"}),
    ],
)
def test_what_the_algorithm_takes_is_allowed(algorithm, names):
    allowed = set(training_parameters(algorithms.CONFIGS[algorithm]()))
    assert names <= allowed
    assert not allowed & {"model", "num_env_runners", "sgd_minibatch_size", "lr_schedule", "learner_class"}


@pytest.mark.parametrize(
    ("config", "field", "words"),
    [
        ({"minibatch_sze": 1}, "minibatch_sze", "did you mean minibatch_size?"),
        ({"learning_rate": 1}, "learning_rate", "write lr"),
        ({"sgd_minibatch_size": 1}, "sgd_minibatch_size", "write minibatch_size"),
        ({"num_sgd_iter": 1}, "num_sgd_iter", "write num_epochs"),
        ({"train_batch_size": 4000}, "train_batch_size", "write train_batch_size_per_learner"),
        ({"lambda": 0.9}, "lambda", "write lambda_"),
        ({"num_env_runners": 1}, "num_env_runners", "write spec.sampling.envRunners"),
        ({"num_workers": 1}, "num_workers", "write spec.sampling.envRunners"),
        ({"num_gpus": 1}, "num_gpus", "write spec.learner.gpus"),
        ({"seed": 1}, "seed", "write spec.seed"),
        ({"model": {}}, "model", "write spec.algorithm.model"),
        ({"fcnet_hiddens": []}, "fcnet_hiddens", "write spec.algorithm.model.fcnet_hiddens"),
        ({"framework": "tf2"}, "framework", "is tf2, which RLlib's new API stack does not have"),
        ({"clip_params": 1}, "clip_params", "did you mean clip_param?"),
    ],
)
def test_a_wrong_parameter_is_refused_with_what_to_write(config, field, words):
    (fault,) = algorithms.faults(specification(config=config))
    assert fault.field == f"spec.algorithm.config.{field}"
    assert words in str(fault)


def test_a_wrong_field_of_the_network_is_refused():
    (fault,) = algorithms.faults(specification(model={"fcnet_hidens": [8]}))
    assert str(fault).startswith("spec.algorithm.model.fcnet_hidens: ")
    assert "did you mean fcnet_hiddens?" in str(fault)


@pytest.mark.parametrize(
    ("algorithm", "field"),
    [("PPO", "head_fcnet_kernel_initializer"), ("SAC", "head_fcnet_bias_initializer"), ("DQN", "vf_share_layers")],
)
def test_a_field_of_the_network_that_nothing_reads_is_refused(algorithm, field):
    (fault,) = algorithms.faults(specification(algorithm, model={"fcnet_hiddens": [8], field: None}))
    assert str(fault).startswith(f"spec.algorithm.model.{field}: is not read by RLlib's network for {algorithm};")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_fields_that_no_network_reads_are_those_that_rllib_never_asks_for(algorithm, monkeypatch):
    asked = set()

    class Noted(dict):
        def __getitem__(self, name):
            asked.add(name)
            return super().__getitem__(name)

        def get(self, name, default=None):
            asked.add(name)
            return super().get(name, default)

    def noting(catalog):
        catalog._model_config_dict = Noted(catalog._model_config_dict)
        determine(catalog)

    determine = Catalog._determine_components_hook
    monkeypatch.setattr(Catalog, "_determine_components_hook", noting)
    environments = {"DQN": ["CartPole-v1"], "SAC": ["Pendulum-v1"]}.get(algorithm, ["CartPole-v1", "Pendulum-v1"])
    for environment in environments:
        space = gym.make(environment)
        for model in ({}, {"use_lstm": True}):
            config = algorithms.build_config(specification(algorithm, environment, model=model))
            spaces = {"default_policy": (space.observation_space, space.action_space)}
            config.get_rl_module_spec(spaces=spaces).build()
    # Networks for pictures are not built here; sequences are cut by a connector.
    elsewhere = {name for name in model_parameters() if name.startswith("conv_")} | {"max_seq_len"}
    assert set(model_parameters()) - asked - elsewhere == UNREAD[algorithm]


def test_all_wrong_parameters_are_reported_at_once():
    found = algorithms.faults(specification(config={"a": 1, "b": 2}, model={"c": 3}))
    assert [fault.field.rsplit(".", 1)[1] for fault in found] == ["a", "b", "c"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_counts_mean_work_and_failures_are_not_hidden(algorithm):
    environment = "Pendulum-v1" if algorithm == "SAC" else "CartPole-v1"
    config = algorithms.build_config(specification(algorithm, environment))
    assert config.min_time_s_per_iteration == 0
    assert config.restart_failed_env_runners is False
    assert config.ignore_env_runner_failures is False
    assert (config.num_env_runners, config.num_learners, config.num_cpus_per_env_runner) == (1, 0, 1)
    assert config.enable_rl_module_and_learner
    assert config.enable_env_runner_and_connector_v2


@pytest.mark.parametrize(
    ("algorithm", "environment", "words"),
    [
        ("DQN", "Pendulum-v1", "DQN needs discrete actions"),
        ("SAC", "CartPole-v1", "SAC needs continuous actions"),
        ("PPO", "CartPol-v1", "did you mean 'CartPole-v1'"),
        ("PPO", "no.such.module:Env", "cannot be imported"),
        ("PPO", "LunarLander-v3", "box2d"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_before_anything_starts(algorithm, environment, words):
    with pytest.raises(InvalidConfiguration) as error:
        algorithms.build_config(specification(algorithm, environment))
    assert words.lower() in str(error.value).lower()


@pytest.mark.parametrize("section", ["evaluation", "test"])
def test_the_environment_of_an_evaluation_is_refused_before_anything_starts(section):
    spec = {"algorithm": {"name": "PPO"}, "environment": {"name": "restore-order"}, "stop": {"iterations": 1}}
    with pytest.raises(InvalidConfiguration, match=rf"spec\.{section}\.environmentConfig\.hosst: is not known"):
        algorithms.build_config(parse(spec | {section: {"environmentConfig": {"hosst": 5}}}))


def refused(**algorithm):
    with pytest.raises(InvalidConfiguration) as error:
        algorithms.build_config(specification(**algorithm))
    return str(error.value)


def test_a_minibatch_larger_than_its_batch_is_refused_with_both_numbers():
    words = refused(config={"minibatch_size": 9000, "train_batch_size_per_learner": 100})
    assert words.startswith("spec.algorithm.config.minibatch_size: is 9000, more than the 100 steps of a batch")
    assert "_validate_config" not in words


def test_what_rllib_refuses_without_quoting_a_parameter_names_the_section():
    words = refused(config={"grad_clip_by": "nonsense", "grad_clip": 1})
    assert words.startswith("spec.algorithm.config")
    assert "RLlib refuses it" in words


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("PPO", {"lr": "high"}, "write a number, or a schedule such as [[0, 0.001], [100000, 0.0001]]"),
        ("PPO", {"gamma": "0.9"}, "write a number"),
        ("PPO", {"num_epochs": True}, "write a whole number"),
        ("PPO", {"use_gae": "yes"}, "write true or false"),
        ("PPO", {"lr": -1}, "write 0 or more"),
        ("PPO", {"lr": [[0, 0.1], [1000, -0.1]]}, "write 0 or more"),
        ("PPO", {"gamma": 7}, "write a number from 0 to 1"),
        ("PPO", {"num_epochs": 0}, "write 1 or more"),
        ("DQN", {"n_step": "3"}, "write a whole number, or a list of whole numbers"),
        ("DQN", {"replay_buffer_config": "large"}, "write a mapping"),
    ],
)
def test_an_impossible_value_is_refused_with_what_to_write(name, config, words):
    ((parameter, value),) = config.items()
    assert [str(fault) for fault in algorithms.faults(specification(name, config=config))] == [
        f"spec.algorithm.config.{parameter}: is {value!r}; {words}"
    ]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"fcnet_hiddens": "large"}, "write a list of whole numbers"),
        ({"fcnet_hiddens": [-4]}, "write 1 or more"),
        ({"vf_share_layers": "no"}, "write true or false"),
        ({"conv_filters": 3}, "write a list of [filters, kernel size, stride] such as [[16, 4, 2], [32, 4, 2]]"),
    ],
)
def test_an_impossible_value_of_the_network_is_refused_with_what_to_write(model, words):
    ((parameter, value),) = model.items()
    (fault,) = algorithms.faults(specification(model=model))
    assert str(fault) == f"spec.algorithm.model.{parameter}: is {value!r}; {words}"


def test_schedules_and_pairs_are_possible_where_rllib_takes_them():
    schedule = [[0, 0.001], [100000, 0.0001]]
    assert algorithms.faults(specification("PPO", config={"lr": schedule, "entropy_coeff": schedule})) == []
    assert algorithms.faults(specification("DQN", config={"n_step": [2, 5], "grad_clip": 0.5})) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rllibs_own_values_and_those_of_presets_are_possible(algorithm):
    config = algorithms.CONFIGS[algorithm]()
    annotations = training_parameters(config)
    defaults = {name: getattr(config, name) for name in annotations if hasattr(config, name)}
    filled = [preset for preset in presets.PRESETS.values() if preset.algorithm == algorithm]
    assert [*value_faults("", defaults, annotations)] == []
    for preset in filled:
        assert [*value_faults("", preset.config, annotations)] == []
        assert [*value_faults("", preset.model, model_parameters())] == []
    assert [*value_faults("", dataclasses.asdict(DefaultModelConfig()), model_parameters())] == []


def test_a_network_that_cannot_be_made_is_refused_before_anything_starts():
    words = refused(model={"fcnet_activation": "relux"})
    assert words.startswith("spec.algorithm.model: DefaultPPOTorchRLModule cannot be made for this environment: ")
    assert "relux" in words


def test_an_environment_for_which_there_is_no_network_is_refused_before_anything_starts():
    spec = {
        "algorithm": {"name": "PPO"},
        "environment": {"name": "CartPole-v1", "wrappers": [FRAMES]},
        "stop": {"iterations": 1},
    }
    with pytest.raises(
        InvalidConfiguration, match=r"(?s)spec\.environment: .*2D Box spaces are not.*FlattenObservation"
    ):
        algorithms.build_config(parse(spec))


def test_making_the_network_once_leaves_the_random_numbers_alone():
    torch.manual_seed(5)
    algorithms.build_config(specification())
    first = torch.rand(1)
    torch.manual_seed(5)
    assert first == torch.rand(1)


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.usefixtures("networks")
@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("no_such_module:Wide", "spec.algorithm.module: 'no_such_module' cannot be imported"),
        ("networks:ActorCrtic", "did you mean 'ActorCritic'"),
        ("networks:Encoder", "is no TorchRLModule"),
        ("networks:Broken", "Broken cannot be made for this environment: RuntimeError: no such layer"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused(module, words):
    assert words in refused(module=module)


@pytest.mark.usefixtures("networks")
def test_lean_pieces_go_with_a_feed_forward_network_alone():
    built = {
        name: algorithms.build_config(specification(module=f"networks:{name}", model={"width": 8}))
        for name in ("ActorCritic", "Recurrent")
    }
    assert built["ActorCritic"].learner_class is lean_learner(PPOTorchLearner)
    assert issubclass(built["Recurrent"].learner_class, PPOTorchLearner)
    assert built["Recurrent"].learner_class is not lean_learner(PPOTorchLearner)


def test_names_in_model_are_the_networks_own_where_there_is_one():
    assert algorithms.faults(specification(module="networks:ActorCritic", model={"width": 8})) == []
    assert algorithms.faults(specification(model={"width": 8})) != []


def test_whole_episodes_need_rllibs_network():
    with pytest.raises(InvalidConfiguration, match=r"spec\.algorithm\.module: is set, but runners of whole episodes"):
        parse(
            {
                "algorithm": {"name": "PPO", "module": "networks:ActorCritic"},
                "environment": {"name": "CartPole-v1"},
                "sampling": {"mode": "Asynchronous"},
                "stop": {"iterations": 1},
            }
        )


def test_sac_plays_squashed_actions_when_it_does_not_explore():
    """RLlib's greedy action is the mean before it is squashed (ray-project/ray#51544)."""
    built = algorithms.build_config(specification("SAC", "Pendulum-v1"))
    space = gym.make("Pendulum-v1")
    module = built.get_rl_module_spec(spaces={"default_policy": (space.observation_space, space.action_space)}).build()
    inputs = torch.tensor([[2.0, 0.0], [-0.5, 0.0]])
    greedy = module.get_inference_action_dist_cls().from_logits(inputs).to_deterministic().sample()
    torch.testing.assert_close(greedy, torch.tanh(inputs[:, :1]))
