"""The exported policy plays, without RLlib, what the module plays greedily; what cannot be exported says why."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import nn

from trainyard.rllib.asynchronous.export import ActionRules
from trainyard.spec.parsing import parse
from trainyard.training.config import build_config
from trainyard.training.exporting import NotExported, export

ALONE = """
import sys, numpy as np, torch
policy = torch.export.load(sys.argv[1]).module()
observations = torch.from_numpy(np.load(sys.argv[2]))
np.save(sys.argv[3], policy(observations).detach().numpy())
assert "ray" not in sys.modules
"""


def configured(name, environment, **algorithm):
    """RLlib's configuration of a run, and the module that it makes with its spaces."""
    spec = {"algorithm": {"name": name, **algorithm}, "environment": {"name": environment}, "stop": {"iterations": 1}}
    config = build_config(parse(spec))
    env = gym.make(environment)
    spaces = {DEFAULT_MODULE_ID: (env.observation_space, env.action_space)}
    torch.manual_seed(2)
    return config, config.get_rl_module_spec(spaces=spaces).build()


def observations_of(module, number=33):
    space = module.observation_space
    space.seed(5)
    return np.stack([space.sample() for _ in range(number)]).astype(np.float32)


def load(path):
    policy = torch.export.load(path).module()
    return lambda observations: policy(torch.from_numpy(observations)).detach().numpy()


@pytest.mark.parametrize("name", ["PPO", "APPO", "IMPALA", "DQN"])
def test_discrete_actions_are_those_of_the_largest_output(tmp_path, name):
    config, module = configured(name, "CartPole-v1")
    export(module, tmp_path / "policy.pt2", ActionRules.of(config))
    observations = observations_of(module)
    output = module.forward_inference({Columns.OBS: torch.from_numpy(observations)})
    if name == "DQN":
        expected = output[Columns.ACTIONS].detach().numpy()
    else:
        expected = output[Columns.ACTION_DIST_INPUTS].argmax(-1).detach().numpy()
    assert len(set(expected)) == 2, "the observations tell nothing apart"
    found = load(tmp_path / "policy.pt2")(observations)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(load(tmp_path / "policy.pt2")(observations[:1]), expected[:1])


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_continuous_actions_are_in_the_environments_own_scale(tmp_path, name):
    """Pendulum takes -2..2: PPO's mean is scaled from -1..1 and cut, SAC's is squashed into -1..1 first."""
    config, module = configured(name, "Pendulum-v1")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(3)  # beyond the bounds
    export(module, tmp_path / "policy.pt2", ActionRules.of(config))
    observations = observations_of(module)
    inputs = module.forward_inference({Columns.OBS: torch.from_numpy(observations)})[Columns.ACTION_DIST_INPUTS]
    mean = inputs[:, :1].detach().numpy()
    expected = np.clip(2 * mean, -2, 2) if name == "PPO" else 2 * np.tanh(mean)
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(load(tmp_path / "policy.pt2")(observations), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param(
            ActionRules(normalize_actions=False, clip_actions=True), lambda mean: np.clip(mean, -2, 2), id="clip"
        ),
        pytest.param(ActionRules(normalize_actions=False, clip_actions=False), lambda mean: mean, id="as is"),
    ],
)
def test_other_rules_for_actions_are_followed(tmp_path, rules, expected):
    _, module = configured("PPO", "Pendulum-v1")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(4)
    export(module, tmp_path / "policy.pt2", rules)
    observations = observations_of(module)
    inputs = module.forward_inference({Columns.OBS: torch.from_numpy(observations)})[Columns.ACTION_DIST_INPUTS]
    mean = inputs[:, :1].detach().numpy()
    assert np.abs(mean).max() > 2
    np.testing.assert_allclose(load(tmp_path / "policy.pt2")(observations), expected(mean), atol=1e-4)


def test_torch_alone_loads_it(tmp_path):
    config, module = configured("PPO", "CartPole-v1")
    export(module, tmp_path / "policy.pt2", ActionRules.of(config))
    observations = observations_of(module)
    np.save(tmp_path / "observations.npy", observations)
    files = [str(tmp_path / name) for name in ("policy.pt2", "observations.npy", "actions.npy")]
    subprocess.run([sys.executable, "-c", ALONE, *files], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "actions.npy"), load(tmp_path / "policy.pt2")(observations))


class Linear(TorchRLModule):
    def setup(self):
        self.policy = nn.Linear(3, 2)

    def _forward(self, batch, **kwargs):
        return {Columns.ACTION_DIST_INPUTS: self.policy(batch[Columns.OBS])}


class Recurrent(Linear):
    def get_initial_state(self):
        return {"h": torch.zeros(4)}


class LooksAtValues(Linear):
    def _forward(self, batch, **kwargs):
        if batch[Columns.OBS].sum() > 0:
            return super()._forward(batch)
        return {Columns.ACTION_DIST_INPUTS: -self.policy(batch[Columns.OBS])}


class PlaysSomethingElse(Linear):
    def forward_inference(self, batch, **kwargs):
        return {name: -value for name, value in super().forward_inference(batch).items()}


BOX = gym.spaces.Box(-1, 1, (3,), np.float32)


def made(kind, observations=BOX, actions=None):
    actions = actions or gym.spaces.Discrete(2)
    return RLModuleSpec(module_class=kind, observation_space=observations, action_space=actions).build()


@pytest.mark.parametrize(
    ("module", "why"),
    [
        pytest.param(lambda: made(Recurrent), "recurrent", id="recurrent"),
        pytest.param(lambda: made(LooksAtValues), "torch.export: ", id="cannot be traced"),
        pytest.param(lambda: made(PlaysSomethingElse), "plays other actions", id="plays something else"),
        pytest.param(
            lambda: made(Linear, gym.spaces.Discrete(3)), r"observations are Discrete\(3\)", id="observations"
        ),
        pytest.param(
            lambda: made(Linear, BOX, gym.spaces.MultiDiscrete([2, 2])), "actions are MultiDiscrete", id="actions"
        ),
    ],
)
def test_what_cannot_be_exported_says_why(tmp_path, module, why):
    with pytest.raises(NotExported, match=why):
        export(module(), tmp_path / "policy.pt2", ActionRules())
    assert torch.distributions.Distribution._validate_args, "distributions check their arguments again"
