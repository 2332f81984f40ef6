"""The written-out loss and its gradients are those that autograd finds for RLlib's PPO loss."""

import gymnasium as gym
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from tests.learner_results import lean_learner
from trainyard.rllib.learners.flat import UnloggedMetrics

ROWS = 64
SPACES = {
    "discrete": (gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(4)),
    "box": (gym.spaces.Box(-1, 1, (3,)), gym.spaces.Box(-1, 1, (2,))),
}
SETTINGS = [
    pytest.param({}, id="RLlib's defaults"),
    pytest.param({"use_kl_loss": False, "vf_clip_param": float("inf"), "vf_loss_coeff": 0.5}, id="no penalty"),
    pytest.param({"entropy_coeff": 0.05, "clip_param": 0.1, "kl_coeff": 0.7}, id="entropy"),
    pytest.param({"vf_clip_param": 0.5, "kl_coeff": 0.0}, id="value loss clipped"),
]


def learner(learner_class, spaces, settings):
    config = PPOConfig().debugging(seed=3).training(**settings)
    config.environment(observation_space=spaces[0], action_space=spaces[1])
    config.rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[8]))
    built = learner_class(config=config, module_spec=config.get_multi_rl_module_spec(spaces={"default_policy": spaces}))
    built.build()
    return built


def minibatch(spaces, *, masked):
    """A minibatch with ratios on both sides of the clip, signs of both kinds and errors beyond the value clip."""
    draw = torch.Generator().manual_seed(5)
    inputs = spaces[1].n if isinstance(spaces[1], gym.spaces.Discrete) else 2 * spaces[1].shape[0]

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    discrete = isinstance(spaces[1], gym.spaces.Discrete)
    batch = {
        "obs": normal(ROWS, 3),
        "action_dist_inputs": 0.5 * normal(ROWS, inputs),
        "actions": torch.randint(inputs, (ROWS,), generator=draw) if discrete else normal(ROWS, 2),
        "action_logp": normal(ROWS) - 1.5,
        "advantages": normal(ROWS),
        "value_targets": 4 * normal(ROWS),
    }
    if masked:
        batch["loss_mask"] = torch.rand(ROWS, generator=draw) < 0.8
    return {"default_policy": batch}


def loss_and_gradients(built, batch):
    """The loss of the minibatch and the gradient of each parameter."""
    loss = built.compute_losses(fwd_out=built.module.forward_train(batch), batch=batch)["default_policy"]
    return loss, torch.autograd.grad(loss, list(built._params.values()), retain_graph=True)


@pytest.mark.parametrize("masked", [True, False], ids=["masked", "all rows"])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
def test_the_loss_and_the_gradients_are_rllibs(spaces, settings, masked):
    batch = minibatch(spaces, masked=masked)
    stock = learner(PPOTorchLearner, spaces, settings)
    lean = learner(lean_learner(PPOTorchLearner), spaces, settings)
    lean.module.set_state(stock.module.get_state())
    lean.metrics = UnloggedMetrics()
    expected_loss, expected = loss_and_gradients(stock, batch)
    loss, gradients = loss_and_gradients(lean, batch)
    assert type(loss.grad_fn).__name__ == "PPOLossBackward"
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients, expected, rtol=1e-4, atol=1e-6)


def test_a_row_that_does_not_count_may_hold_anything():
    batch = minibatch(SPACES["discrete"], masked=True)
    built = learner(lean_learner(PPOTorchLearner), SPACES["discrete"], {})
    built.metrics = UnloggedMetrics()
    expected_loss, expected = loss_and_gradients(built, batch)
    columns = batch["default_policy"]
    columns["value_targets"][~columns["loss_mask"]] = float("nan")
    columns["action_logp"][~columns["loss_mask"]] = -float("inf")
    loss, gradients = loss_and_gradients(built, batch)
    torch.testing.assert_close(loss, expected_loss)
    torch.testing.assert_close(gradients, expected)


def test_a_minibatch_that_is_logged_takes_rllibs_own_loss():
    batch = minibatch(SPACES["discrete"], masked=True)
    built = learner(lean_learner(PPOTorchLearner), SPACES["discrete"], {})
    built.compute_losses(fwd_out=built.module.forward_train(batch), batch=batch)
    assert built.metrics.peek(("default_policy", "mean_kl_loss")) != 0


@pytest.mark.parametrize("column", ["advantages", "value_targets", "action_logp", "obs"])
@pytest.mark.parametrize("spaces", SPACES.values(), ids=SPACES)
def test_a_row_that_is_not_a_number_shows_in_the_gradients(spaces, column):
    batch = minibatch(spaces, masked=False)
    batch["default_policy"][column][3] = float("nan")
    built = learner(lean_learner(PPOTorchLearner), spaces, {})
    built.metrics = UnloggedMetrics()
    _, gradients = loss_and_gradients(built, batch)
    assert any(not torch.isfinite(gradient).all() for gradient in gradients)
