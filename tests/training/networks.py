"""Networks of a team's own, as algorithm.module names them."""

import torch
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ENCODER_OUT
from ray.rllib.core.rl_module.apis import ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import nn


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """For PPO: one hidden layer of `width` that policy and value share."""

    def setup(self):
        inputs, actions = self.observation_space.shape[0], self.action_space.n
        self.body = nn.Sequential(nn.Linear(inputs, self.model_config["width"]), nn.Tanh())
        self.policy, self.value = (nn.Linear(self.model_config["width"], outputs) for outputs in (actions, 1))

    def _forward(self, batch, **kwargs):
        features = self.body(batch[Columns.OBS])
        return {Columns.EMBEDDINGS: features, Columns.ACTION_DIST_INPUTS: self.policy(features)}

    def compute_values(self, batch, embeddings=None):
        features = self.body(batch[Columns.OBS]) if embeddings is None else embeddings
        return self.value(features).squeeze(-1)


class Encoder(nn.Module):
    def __init__(self, inputs, width, outputs):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.Linear(width, outputs), nn.ReLU())

    def forward(self, batch):
        return {ENCODER_OUT: self.net(batch[Columns.OBS])}


class NormalisedQ(DefaultDQNTorchRLModule):
    """For DQN: RLlib's heads behind an encoder of our own."""

    def setup(self):
        super().setup()
        outputs = self.catalog.latent_dims[0]
        self.encoder = Encoder(self.observation_space.shape[0], self.model_config["width"], outputs)


class Recurrent(ActorCritic):
    def get_initial_state(self):
        return {"h": torch.zeros(4)}


class Broken(TorchRLModule):
    def setup(self):
        raise RuntimeError("no such layer")
