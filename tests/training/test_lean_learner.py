"""The lean Learners compute what RLlib's Learners compute: same batches in, same losses and parameters out."""

from __future__ import annotations

import copy

import gymnasium as gym
import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from tests.episodes import episodes_of, pendulum_steps
from tests.learner_results import assert_same_results, lean_learner
from trainyard.errors import NonFiniteNumber
from trainyard.rllib.learners import STOCK_LEARNERS, choose_learner
from trainyard.rllib.replay.buffer import FlatReplayBuffer

STEPS = {"num_env_steps_sampled_lifetime": 300}
SMALL = DefaultModelConfig(fcnet_hiddens=[16, 16])


@pytest.fixture(scope="module")
def spaces() -> tuple[gym.Space, gym.Space]:
    env = gym.make("CartPole-v1")
    return env.observation_space, env.action_space


@pytest.fixture(scope="module")
def pendulum() -> tuple[gym.Space, gym.Space]:
    env = gym.make("Pendulum-v1")
    return env.observation_space, env.action_space


def ppo(**training) -> PPOConfig:
    return (
        PPOConfig()
        .environment("CartPole-v1")
        .rl_module(model_config=SMALL)
        .debugging(seed=7)
        .training(lr=0.003, **training)
    )


def build(config: AlgorithmConfig, learner_class: type[Learner], spaces) -> TorchLearner:
    config = config.copy(copy_frozen=False)
    learner = learner_class(
        config=config, module_spec=config.get_multi_rl_module_spec(spaces={"default_policy": spaces})
    )
    learner.build()
    return learner


def both(config: AlgorithmConfig, spaces) -> tuple[TorchLearner, TorchLearner]:
    stock_class = config.learner_class
    stock = build(config, stock_class, spaces)
    lean = build(config, lean_learner(stock_class), spaces)
    lean.module.set_state(stock.module.get_state())
    return stock, lean


def update(learner: TorchLearner, episodes, *, seed: int = 11, **kwargs) -> dict:
    np.random.seed(seed)
    torch.manual_seed(seed)
    return MetricsLogger.peek_results(
        learner.update(episodes=copy.deepcopy(episodes), timesteps=dict(STEPS), **kwargs), compile=True
    )


def assert_same_parameters(stock: TorchLearner, lean: TorchLearner, tolerance: float = 2e-5) -> None:
    expected = {k: v for m in stock.module.values() for k, v in m.state_dict().items()}
    actual = {k: v for m in lean.module.values() for k, v in m.state_dict().items()}
    assert expected.keys() == actual.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(
            actual[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("training", "kwargs"),
    [
        pytest.param({}, {"num_epochs": 3, "minibatch_size": 64, "shuffle_batch_per_epoch": True}, id="shuffled"),
        pytest.param({}, {"num_epochs": 2, "minibatch_size": 50}, id="in order"),
        pytest.param({}, {"num_epochs": 2}, id="whole batch, two epochs"),
        pytest.param({}, {}, id="whole batch, once"),
        pytest.param({}, {"num_epochs": 2, "minibatch_size": 500}, id="minibatch larger than batch"),
        pytest.param(
            {"grad_clip": 0.5, "grad_clip_by": "global_norm", "entropy_coeff": 0.01},
            {"num_epochs": 3, "minibatch_size": 64, "shuffle_batch_per_epoch": True},
            id="clipped by global norm",
        ),
        pytest.param(
            {"use_kl_loss": False, "vf_loss_coeff": 0.5, "lr": [[0, 0.01], [1000, 0.0001]]},
            {"num_epochs": 2, "minibatch_size": 32, "shuffle_batch_per_epoch": True},
            id="learning-rate schedule",
        ),
    ],
)
def test_ppo_ends_with_the_stock_learners_parameters_losses_and_results(training, kwargs, spaces):
    training = dict(training)
    config = ppo()
    config.training(**training)
    stock, lean = both(config, spaces)
    episodes = episodes_of([40, 73, 11, 90])
    for seed in (1, 2):
        expected = update(stock, episodes, seed=seed, **kwargs)
        actual = update(lean, episodes, seed=seed, **kwargs)
        assert_same_results(expected, actual)
        assert_same_parameters(stock, lean)
    assert stock.curr_kl_coeffs_per_module["default_policy"] == lean.curr_kl_coeffs_per_module["default_policy"]


@pytest.mark.parametrize("implementation", [lean_learner, STOCK_LEARNERS.__getitem__], ids=["lean", "RLlib's"])
@pytest.mark.parametrize("clip", [{}, {"grad_clip": 1.0}, {"grad_clip": 1.0, "grad_clip_by": "value"}], ids=str)
def test_a_ppo_update_that_is_not_finite_raises_before_the_weights_change(spaces, implementation, clip):
    config = ppo()
    config.training(**clip)
    learner = build(config, implementation(config.get_default_learner_class()), spaces)
    episodes = episodes_of([40, 73])
    update(learner, episodes, num_epochs=1, minibatch_size=32)
    before = {name: tensor.clone() for name, tensor in learner.module["default_policy"].named_parameters()}
    episodes[1].rewards.data[5] = float("nan")
    with pytest.raises(
        NonFiniteNumber, match=r"learner, update 2: the gradients of \d+ of \d+ parameters are not finite"
    ):
        update(learner, episodes, num_epochs=1, minibatch_size=None)
    for name, tensor in learner.module["default_policy"].named_parameters():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.mark.parametrize("implementation", [lean_learner, STOCK_LEARNERS.__getitem__], ids=["lean", "RLlib's"])
@pytest.mark.parametrize("config_class", [DQNConfig, SACConfig])
def test_a_transition_that_is_not_finite_raises_before_the_weights_change(
    implementation, config_class, spaces, pendulum
):
    own = spaces if config_class is DQNConfig else pendulum
    environment = "CartPole-v1" if config_class is DQNConfig else "Pendulum-v1"
    config = config_class().environment(environment).rl_module(model_config=SMALL).debugging(seed=7)
    learner = build(config, implementation(config.get_default_learner_class()), own)
    episodes = transitions(32, 1) if config_class is DQNConfig else pendulum_steps(32, 1)
    episodes[3].rewards.data[0] = float("nan")
    with pytest.raises(NonFiniteNumber, match="not finite"):
        update(learner, episodes)
    assert all(torch.isfinite(tensor).all() for tensor in learner.module["default_policy"].parameters())


@pytest.mark.parametrize("implementation", [lean_learner, STOCK_LEARNERS.__getitem__], ids=["lean", "RLlib's"])
# Without a Ray of its own the thread would start one for its metrics.
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("config_class", [APPOConfig, IMPALAConfig])
def test_an_error_in_the_thread_that_updates_is_raised_where_it_is_waited_for(implementation, config_class, spaces):
    config = config_class().environment("CartPole-v1").rl_module(model_config=SMALL).debugging(seed=7)
    learner = build(config, implementation(config.get_default_learner_class()), spaces)
    episodes = episodes_of([50])
    episodes[0].rewards.data[5] = float("nan")

    def train():
        for _ in range(100):
            learner.update(TrainingData(episodes=[copy.deepcopy(episodes[0])]), timesteps={})

    with pytest.raises(NonFiniteNumber, match="gradients"):
        train()
    learner.shutdown()


def test_a_stock_checkpoint_goes_on_in_a_lean_learner_and_back(spaces):
    kwargs = {"num_epochs": 2, "minibatch_size": 64, "shuffle_batch_per_epoch": True}
    episodes = episodes_of([60, 70])
    before, lean = both(ppo(), spaces)
    update(before, episodes, **kwargs)
    for saver in (before, lean):
        # RLlib keeps the KL coefficient out of its checkpoints, so each continuation starts from two new Learners;
        # the tensors of a loaded state share its memory, so each gets its own copy.
        state = saver.get_state()
        stock, lean = build(ppo(), type(before), spaces), build(ppo(), lean_learner(type(before)), spaces)
        for learner in (stock, lean):
            learner.set_state(copy.deepcopy(state))
            update(learner, episodes, seed=5, **kwargs)
        assert_same_parameters(stock, lean)
        assert all(group["fused"] for o in lean._named_optimizers.values() for group in o.param_groups)


def test_recurrent_modules_are_trained_by_rllibs_own_update(spaces):
    config = ppo().rl_module(
        model_config=DefaultModelConfig(use_lstm=True, fcnet_hiddens=[8], lstm_cell_size=8, max_seq_len=10)
    )
    stock, lean = both(config, spaces)
    episodes = episodes_of(
        [40, 33], extra={"state_out": {"h": np.zeros((1, 8), np.float32), "c": np.zeros((1, 8), np.float32)}}
    )
    for learner in (stock, lean):
        update(learner, episodes, num_epochs=2, minibatch_size=20)
    assert_same_parameters(stock, lean)


@pytest.mark.parametrize("double_q", [True, False])
def test_dqn_ends_with_the_stock_learners_parameters_losses_and_td_errors(double_q, spaces):
    config = (
        DQNConfig()
        .environment("CartPole-v1")
        .rl_module(model_config=SMALL)
        .debugging(seed=7)
        .training(lr=0.003, double_q=double_q, grad_clip=40.0, target_network_update_freq=100)
    )
    stock, lean = both(config, spaces)
    for seed in (1, 2, 3):
        episodes = transitions(32, seed)
        assert_same_results(update(stock, episodes), update(lean, episodes))
        assert_same_parameters(stock, lean)


def test_sac_ends_with_the_stock_learners_parameters_losses_and_td_errors(pendulum):
    config = (
        SACConfig()
        .environment("Pendulum-v1")
        .rl_module(model_config=SMALL)
        .debugging(seed=7)
        .training(actor_lr=0.003, critic_lr=0.002, alpha_lr=0.001)
    )
    stock, lean = both(config, pendulum)
    for seed in (1, 2, 3):
        episodes = pendulum_steps(32, seed)
        assert_same_results(update(stock, episodes, seed=seed), update(lean, episodes, seed=seed))
        assert_same_parameters(stock, lean)


@pytest.mark.parametrize(("config_class", "spaces_of"), [(DQNConfig, "spaces"), (SACConfig, "pendulum")])
def test_updates_on_columns_are_those_on_the_same_transitions_as_episodes(config_class, spaces_of, request):
    """The columns of a flat replay buffer instead of episodes through RLlib's connectors."""
    observations, actions = request.getfixturevalue(spaces_of)
    config = config_class().environment("CartPole-v1").rl_module(model_config=SMALL).debugging(seed=7)
    stock, lean = both(config, (observations, actions))
    for seed in (1, 2, 3):
        episodes = transitions(32, seed) if config_class is DQNConfig else pendulum_steps(32, seed)
        expected = update(stock, episodes, seed=seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        errors = lean.update_on_columns(columns_of(episodes), timesteps=dict(STEPS), log=True)
        found = MetricsLogger.peek_results(lean.replay_results(), compile=True)
        module = expected["default_policy"]
        np.testing.assert_allclose(errors, np.concatenate(module.pop("td_error")), rtol=1e-4, atol=1e-5)
        # What RLlib's connectors log about themselves is gone with them.
        everything = {k: v for k, v in expected["__all_modules__"].items() if "connector" not in k}
        assert_same_results(everything, found["__all_modules__"])
        assert_same_results(module, found["default_policy"])
        assert_same_parameters(stock, lean)


@pytest.mark.parametrize("twin_q", [True, False], ids=["twin Q", "one Q"])
@pytest.mark.parametrize(
    "model", [SMALL, DefaultModelConfig(fcnet_hiddens=[16], fusionnet_hiddens=[], head_fcnet_hiddens=[8])]
)
def test_sac_updates_that_are_not_logged_end_with_the_stock_learners_parameters_and_td_errors(model, twin_q, pendulum):
    """Those take the losses from fewer operations than RLlib's, which the logged ones go through."""
    config = (
        SACConfig()
        .environment("Pendulum-v1")
        .rl_module(model_config=model)
        .debugging(seed=7)
        .training(actor_lr=0.003, critic_lr=0.002, alpha_lr=0.001, twin_q=twin_q, tau=0.1)
    )
    stock, lean = both(config, pendulum)
    for seed in (1, 2, 3):
        episodes = pendulum_steps(32, seed)
        expected = update(stock, episodes, seed=seed)["default_policy"]
        torch.manual_seed(seed)
        errors = lean.update_on_columns(columns_of(episodes), timesteps=dict(STEPS), log=False)
        np.testing.assert_allclose(errors, np.concatenate(expected["td_error"]), rtol=1e-4, atol=1e-5)
        assert_same_parameters(stock, lean)
    temperatures = [learner.curr_log_alpha["default_policy"] for learner in (stock, lean)]
    torch.testing.assert_close(*temperatures, rtol=1e-5, atol=1e-6)


def columns_of(episodes: list[SingleAgentEpisode]) -> dict[str, np.ndarray]:
    buffer = FlatReplayBuffer(capacity=1000)
    buffer.add([episode.to_numpy() for episode in copy.deepcopy(episodes)])
    rows = buffer._store.live
    return {
        "obs": buffer._store.column("observations", rows),
        "new_obs": buffer._store.next_observations(rows),
        "actions": buffer._store.column("actions", rows),
        "rewards": buffer._store.column("rewards", rows).astype(np.float32),
        "terminateds": buffer._store.column("terminated", rows),
        "truncateds": buffer._store.column("truncated", rows),
        "weights": np.ones(len(rows), np.float32),
        "n_step": np.ones(len(rows), np.int64),
    }


def transitions(count: int, seed: int) -> list[SingleAgentEpisode]:
    """Single steps, as RLlib's episode replay buffers give them."""
    return episodes_of([1] * count, seed, extra={"weights": 1.0, "n_step": 1})


@pytest.mark.parametrize("config", [APPOConfig(), IMPALAConfig()], ids=["APPO", "IMPALA"])
def test_appo_and_impala_step_their_optimizer_as_the_stock_learner_does(config, spaces):
    config = config.environment("CartPole-v1").rl_module(model_config=SMALL).training(lr=0.003)
    stock, lean = both(config, spaces)
    try:
        for seed in range(3):
            generator = torch.Generator().manual_seed(seed)
            for learner in (stock, lean):
                generator.manual_seed(seed)
                learner.apply_gradients(
                    {p: torch.randn(p.shape, generator=generator) for p in learner._params.values()}
                )
        assert_same_parameters(stock, lean)
    finally:
        stock.shutdown()
        lean.shutdown()


class TestChoice:
    @pytest.mark.parametrize("learners", [0, 1, 2])
    def test_is_the_lean_learner_for_every_stock_learner_that_has_one(self, learners):
        for config in (PPOConfig(), DQNConfig(), SACConfig(), APPOConfig(), IMPALAConfig()):
            config.learners(num_learners=learners)
            choice = choose_learner(config)
            assert choice.reason is None
            assert choice.learner_class is lean_learner(config.learner_class)

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            (lambda: PPOConfig().framework(torch_compile_learner=True), "torch_compile_learner"),
            (
                lambda: PPOConfig().experimental(_torch_lr_scheduler_classes=[torch.optim.lr_scheduler.ConstantLR]),
                "schedulers",
            ),
        ],
    )
    def test_is_the_stock_learner_with_a_reason_where_the_lean_one_would_differ(self, config, words):
        choice = choose_learner(config())
        assert choice.learner_class is STOCK_LEARNERS[config().learner_class]
        assert words in choice.reason

    def test_is_the_users_own_learner_when_there_is_one(self):
        class Own(PPOConfig().learner_class):
            pass

        choice = choose_learner(PPOConfig().training(learner_class=Own))
        assert choice.learner_class is Own
        assert "Own" in choice.reason


def test_the_version_is_the_one_whose_update_loop_was_read():
    """Names and signatures can be the same where the body that FlatUpdate replaces is not."""
    assert ray.__version__.split(".")[:2] == ["2", "60"], "read Learner.update() of this RLlib again"
