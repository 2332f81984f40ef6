"""Algorithms reach what is known to be best, and learn the same with the lean parts as with RLlib's own."""

import numpy as np
import pytest
from ray.rllib.utils.replay_buffers import EpisodeReplayBuffer

from tests.training.test_driver import IN_THE_DRIVER, play
from trainyard.rllib.replay.choice import ReplayChoice
from trainyard.training import config as training_config

pytestmark = pytest.mark.usefixtures("ray_session")

CORRIDOR = {"name": "environments:Corridor"}
FAST = {"lr": 0.005, "gamma": 0.9, "entropy_coeff": 0.01, "train_batch_size_per_learner": 400}


@pytest.mark.parametrize("algorithm", ["APPO", "IMPALA"])
def test_actors_and_learners_apart_find_what_pays_later(tmp_path, algorithm):
    """The optimum, 1, is known; who takes what pays at once gets 0.2."""
    run, _, _ = play(
        tmp_path,
        algorithm=algorithm,
        environment=CORRIDOR,
        config=FAST,
        sampling={"envRunners": 1},
        evaluation={"episodes": 2, "everyIterations": 5},
        stop={"iterations": 100, "metrics": [{"metric": "validation/return_mean", "atLeast": 0.99}]},
    )
    assert run.metrics["validation/return_mean"] == pytest.approx(1.0)


def test_whole_episodes_with_stale_weights_find_what_pays_later(tmp_path):
    """Eight environments play while an update takes four episodes: most are played by an older policy."""
    run, watch, _ = play(
        tmp_path,
        environment=CORRIDOR,
        config={"lr": 0.005, "gamma": 0.9, "num_epochs": 4, "minibatch_size": 32, "train_batch_size_per_learner": 400},
        sampling={
            "mode": "Asynchronous", "envRunners": 1, "envsPerRunner": 8, "episodesPerUpdate": 4, "maxPolicyLag": 50,
            "cpusPerEnvRunner": 0.5,
        },
        evaluation={"episodes": 2, "everyIterations": 10},
        stop={"iterations": 400, "metrics": [{"metric": "validation/return_mean", "atLeast": 0.99}]},
    )  # fmt: skip
    lags = [iteration.metrics["perf/policy_lag"] for iteration in watch.iterations]
    assert sum(lags) / len(lags) > 0.5
    assert run.metrics["validation/return_mean"] == pytest.approx(1.0)


def test_sac_finds_the_best_action(tmp_path):
    """The best action is the number that is observed, and is worth 0; a random one is worth -0.55 on average."""
    run, _, _ = play(
        tmp_path,
        algorithm="SAC",
        environment={"name": "environments:Target"},
        config={
            "actor_lr": 0.003, "critic_lr": 0.003, "alpha_lr": 0.003, "gamma": 0.0, "train_batch_size_per_learner": 64,
            "num_steps_sampled_before_learning_starts": 100, "initial_alpha": 0.1,
        },
        sampling=IN_THE_DRIVER,
        evaluation={"episodes": 20, "everyIterations": 3},
        stop={"iterations": 40, "metrics": [{"metric": "validation/return_mean", "atLeast": -0.01}]},
    )  # fmt: skip
    assert run.metrics["validation/return_mean"] > -0.01


@pytest.mark.parametrize(
    ("algorithm", "environment", "iterations"),
    [("PPO", CORRIDOR, 4), ("DQN", CORRIDOR, 1), ("SAC", {"name": "environments:Target"}, 3)],
)
def test_the_lean_parts_give_the_curve_of_rllibs_own(tmp_path, monkeypatch, algorithm, environment, iterations):
    """With one runner and one seed. RLlib's replay buffer is not seeded and draws in another order than the flat one.

    So both have RLlib's buffer, seeded, here; tests/unit/rllib/replay compares the buffers.
    """

    def with_rllibs_buffer(config, *spaces):
        if algorithm == "PPO":
            return ReplayChoice(config.algo_class, None)
        return ReplayChoice(config.algo_class, "the test compares Learners and runners")

    make_buffer = EpisodeReplayBuffer.__init__

    def make_seeded(self, *args, **kwargs):
        make_buffer(self, *args, **kwargs)
        self.rng = np.random.default_rng(3)

    monkeypatch.setattr(training_config, "choose_replay", with_rllibs_buffer)
    monkeypatch.setattr(EpisodeReplayBuffer, "__init__", make_seeded)
    more = {} if algorithm == "PPO" else {
        "num_steps_sampled_before_learning_starts": 50,
        "training_intensity": 2,
        "replay_buffer_config": {"type": "EpisodeReplayBuffer", "capacity": 1000},
    }  # fmt: skip
    curves = []
    for implementation in ("Auto", "RLlib"):
        _, watch, _ = play(
            tmp_path / implementation,
            algorithm=algorithm,
            environment=environment,
            config=more,
            sampling=IN_THE_DRIVER,
            learner={"implementation": implementation},
            stop={"iterations": iterations},
        )
        names = ("train/return_mean", "train/loss", "time/env_steps", "train/episodes")
        curves.append([[iteration.metrics.get(name, 0.0) for name in names] for iteration in watch.iterations])
    lean, stock = curves
    assert len(stock) == iterations
    for ours, theirs in zip(lean, stock, strict=True):
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.002)
