"""The driver loop on real Ray: all algorithms, evaluation, stopping, checkpoints, resuming, broken environments."""

import csv
import io
import json
import math
import pickle
import time
from itertools import pairwise

import numpy as np
import pytest

from tests.learner_results import lean_learner
from trainyard.callbacks import Callback
from trainyard.errors import InvalidConfiguration
from trainyard.observers.curves import Curves
from trainyard.rllib.replay import saving
from trainyard.runs.run import Identity, RestoredReplay, Run
from trainyard.runs.storage import at_directory
from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse
from trainyard.training import config as training_config
from trainyard.training.loop import train

pytestmark = pytest.mark.usefixtures("ray_session")

NETWORK = "learner_group/learner/rl_module/default_policy/module_state.pkl"
SMALL = {"fcnet_hiddens": [16]}
PPO = {"train_batch_size_per_learner": 200, "minibatch_size": 100, "num_epochs": 1}
OFF_POLICY = {"num_steps_sampled_before_learning_starts": 50, "train_batch_size_per_learner": 16}
FEW_UPDATES = {"training_intensity": 1}
"""One update for 16 steps instead of 16: an iteration of DQN has a thousand steps."""
IN_THE_DRIVER = {"envRunners": 0}
"""No other process imports RLlib, which takes longer than these runs."""
CONFIGS = {
    "PPO": PPO,
    "APPO": {"train_batch_size_per_learner": 200},
    "IMPALA": {"train_batch_size_per_learner": 200},
    "DQN": OFF_POLICY,
    "SAC": OFF_POLICY,
}


class Watch(Callback):
    def __init__(self):
        self.iterations, self.evaluations, self.checkpoints, self.outcome = [], [], [], None
        self.started = math.inf

    def on_run_start(self, run):
        self.started = time.monotonic()

    def on_iteration(self, run, iteration):
        self.iterations.append(iteration)

    def on_evaluation(self, run, evaluation):
        self.evaluations.append(evaluation)

    def on_checkpoint(self, run, checkpoint):
        self.checkpoints.append(checkpoint)

    def on_run_end(self, run, outcome):
        self.outcome = outcome


def make_run(folder, algorithm="PPO", environment="CartPole-v1", config=None, **sections):
    spec = {
        "seed": 7,
        "algorithm": {"name": algorithm, "config": CONFIGS[algorithm] | (config or {}), "model": SMALL},
        "environment": {"name": environment} if isinstance(environment, str) else environment,
        "stop": {"iterations": 2},
    } | sections
    spec["algorithm"] = spec.pop("algorithm_section", spec["algorithm"])
    return Run(Identity("test"), parse(normalise_numbers(spec)), {"spec": spec}, at_directory(folder))


def play(folder, *more, **settings):
    watch = Watch()
    run = make_run(folder, **settings)
    outcome = train(run, [watch, *more])
    return run, watch, outcome


def returns(watch):
    return [iteration.metrics["train/return_mean"] for iteration in watch.iterations]


@pytest.mark.parametrize(("algorithm", "module"), [("PPO", "ActorCritic"), ("DQN", "NormalisedQ")])
def test_a_network_of_the_users_own_trains_and_comes_back(tmp_path, algorithm, module):
    """From a module that only the workers' path has; resumed with its parameters."""
    config = CONFIGS[algorithm] | (FEW_UPDATES if algorithm == "DQN" else {})
    own = {"name": algorithm, "module": f"networks:{module}", "model": {"width": 8}, "config": config}
    # A step of DQN on a remote runner is a call of its process.
    sampling = {"envRunners": 0 if algorithm == "DQN" else 1}
    run, watch, _ = play(tmp_path, algorithm_section=own, sampling=sampling)
    assert run.counters.iteration == 2
    assert math.isfinite(watch.iterations[-1].metrics["train/loss"])
    names = pickle.loads((tmp_path / "checkpoints" / "2" / "algorithm" / NETWORK).read_bytes()).keys()
    assert any(name.startswith(("body.0", "encoder.net")) for name in names)
    again, _, _ = play(tmp_path, algorithm_section=own, sampling=sampling, stop={"iterations": 3})
    assert (again.restored_iteration, again.counters.iteration) == (2, 3)


@pytest.mark.parametrize(
    ("algorithm", "environment", "steps", "runners"),
    [
        ("PPO", "CartPole-v1", 1200, 1),
        ("APPO", "CartPole-v1", 1200, 1),
        ("IMPALA", "CartPole-v1", 1200, 1),
        # One update per step, and with a remote runner one call per step.
        ("DQN", "CartPole-v1", 200, 0),
        ("SAC", {"name": "environments:Continuous"}, 200, 0),
    ],
)
def test_an_algorithm_trains_and_reports_under_the_same_names(tmp_path, algorithm, environment, steps, runners):
    run, watch, outcome = play(
        tmp_path,
        algorithm=algorithm,
        environment=environment,
        sampling={"envRunners": runners},
        stop={"envSteps": steps},
    )
    assert outcome.reason.endswith(f"of {steps} envSteps")
    assert outcome.error is None
    last = watch.iterations[-1].metrics
    assert last["time/env_steps"] == run.counters.env_steps >= steps
    assert last["train/episodes"] == sum(len(iteration.episodes) for iteration in watch.iterations) > 0
    assert last["train/return_min"] <= last["train/return_mean"] <= last["train/return_max"]
    assert last["perf/env_steps_per_s"] > 0
    assert math.isfinite(run.metrics["train/loss"])


@pytest.mark.parametrize(
    ("algorithm", "environment", "runners"),
    [
        ("PPO", "environments:Constant", 2),
        ("APPO", "environments:Constant", 1),
        ("IMPALA", "environments:Constant", 2),
        ("DQN", "environments:Constant", 0),
        ("SAC", "environments:Continuous", 0),
    ],
)
def test_no_step_is_counted_twice_or_lost(tmp_path, algorithm, environment, runners):
    """In episodes of one step each, none of which can be unfinished when an iteration ends."""
    run, watch, _ = play(
        tmp_path,
        algorithm=algorithm,
        environment={"name": environment, "config": {"length": 1}},
        config=FEW_UPDATES if algorithm == "DQN" else None,
        sampling={"envRunners": runners},
        stop={"envSteps": 600},
    )
    steps = 0
    for iteration in watch.iterations:
        steps += len(iteration.episodes)
        assert {episode["length"] for episode in iteration.episodes} <= {1}
        assert iteration.metrics["time/env_steps"] == steps
    assert run.counters.env_steps == run.counters.episodes == steps >= 600


def test_the_same_seed_and_one_runner_give_the_same_curve(tmp_path):
    _, first, _ = play(tmp_path / "a", stop={"iterations": 3})
    _, second, _ = play(tmp_path / "b", stop={"iterations": 3})
    _, other, _ = play(tmp_path / "c", stop={"iterations": 3}, seed=8)
    assert returns(first) == returns(second)
    losses = [[iteration.metrics["train/loss"] for iteration in watch.iterations] for watch in (first, second)]
    assert losses[0] == losses[1]
    assert returns(first) != returns(other)


def test_a_second_attempt_goes_on_from_the_latest_checkpoint(tmp_path):
    early = {"metric": "train/return_mean", "mode": "max", "patience": 100}
    settings = {"checkpoints": {"everyIterations": 2, "keep": 2}, "earlyStopping": early, "sampling": IN_THE_DRIVER}
    run, watch, _ = play(tmp_path, Curves(), stop={"iterations": 3}, **settings)
    assert [(item.iteration, item.best) for item in watch.checkpoints if not item.best] == [(2, False), (3, False)]
    again, resumed, _ = play(tmp_path, Curves(), stop={"iterations": 5}, **settings)
    assert again.restored_iteration == 3
    assert [iteration.number for iteration in resumed.iterations] == [4, 5]
    assert resumed.iterations[0].metrics["time/env_steps"] == pytest.approx(run.counters.env_steps + 200, abs=20)
    assert resumed.iterations[0].metrics["train/episodes"] >= run.counters.episodes
    assert again.best is not None
    rows = list(csv.DictReader(io.StringIO((tmp_path / "progress.csv").read_text())))
    assert [float(row["time/iteration"]) for row in rows] == [1, 2, 3, 4, 5]
    assert sorted(again.storage.list_folders("checkpoints")) == ["4", "5", "best"]


def weights_of(folder, checkpoint):
    """The network of a checkpoint, as arrays by name."""
    file = folder / "checkpoints" / str(checkpoint) / "algorithm" / NETWORK
    return pickle.loads(file.read_bytes())


def early_stopper_of(folder, checkpoint):
    """The state of early stopping in a checkpoint."""
    return json.loads((folder / f"checkpoints/{checkpoint}/trainyard.json").read_text())["callbacks"]["EarlyStopper"]


def test_another_run_goes_on_where_the_first_one_was(tmp_path):
    # A count never falls: the first value stays the best one.
    early = {"metric": "train/episodes", "mode": "min", "patience": 100}
    settings = {"sampling": IN_THE_DRIVER, "earlyStopping": early}
    first, _, _ = play(tmp_path / "a", stop={"iterations": 3}, **settings)
    settings["resumeFrom"] = {"uri": (tmp_path / "a").as_uri()}
    run, resumed, _ = play(tmp_path / "b", stop={"iterations": 5}, **settings)
    assert [iteration.number for iteration in resumed.iterations] == [4, 5]
    assert (run.resumed_from, run.restored_iteration) == ("All of iteration 3", 3)
    assert resumed.iterations[0].metrics["train/episodes"] >= first.counters.episodes > 0
    assert resumed.iterations[0].metrics["time/env_steps"] > first.counters.env_steps
    before, after = early_stopper_of(tmp_path / "a", 3), early_stopper_of(tmp_path / "b", 5)
    assert before["without_improvement"] == 2
    assert after == before | {"without_improvement": 4}
    assert run.best == first.best
    assert run.storage.read_text("checkpoints/best/trainyard.json") is not None, "the other's best, until it is beaten"
    assert sorted(first.storage.list_folders("checkpoints")) == ["3", "best"], "the other run's are only read"
    # A later attempt goes on from its own checkpoints.
    again, third, _ = play(tmp_path / "b", stop={"iterations": 6}, **settings)
    assert (again.restored_iteration, again.resumed_from) == (5, "")
    assert [iteration.number for iteration in third.iterations] == [6]


@pytest.mark.parametrize("mode", ["Synchronous", "Asynchronous"])
def test_another_run_starts_anew_with_the_weights_of_the_first(tmp_path, mode):
    sampling = {"mode": mode, "envRunners": 1}
    play(tmp_path / "a", stop={"iterations": 2}, sampling=IN_THE_DRIVER)
    before = weights_of(tmp_path / "a", 2)
    # With a learning rate of zero the weights at the end are those at the start.
    resume = {"uri": (tmp_path / "a").as_uri(), "restore": "Weights"}
    fixed = {"sampling": sampling, "config": {"lr": 0.0}, "stop": {"iterations": 1}}
    run, watch, _ = play(tmp_path / "b", **fixed, resumeFrom=resume)
    assert (run.restored_iteration, run.resumed_from) == (0, "Weights of iteration 2")
    assert [iteration.number for iteration in watch.iterations] == [1]
    assert run.counters.episodes == len(watch.iterations[0].episodes)
    after = weights_of(tmp_path / "b", 1)
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])
    play(tmp_path / "c", **fixed | {"sampling": IN_THE_DRIVER}, seed=8)
    other = weights_of(tmp_path / "c", 1)
    assert any(not np.array_equal(before[name], other[name]) for name in before)


def test_what_does_not_fit_is_refused_before_training(tmp_path):
    play(tmp_path / "a", stop={"iterations": 1}, sampling=IN_THE_DRIVER)
    resume = {"uri": (tmp_path / "a").as_uri()}
    with pytest.raises(InvalidConfiguration, match="the run would end before its first iteration"):
        play(tmp_path / "b", stop={"iterations": 1}, sampling=IN_THE_DRIVER, resumeFrom=resume)
    larger = {"name": "PPO", "config": PPO, "model": {"fcnet_hiddens": [32]}}
    run = make_run(tmp_path / "c", sampling=IN_THE_DRIVER, resumeFrom={**resume, "restore": "Weights"})
    spec = run.document["spec"] | {"algorithm": larger}
    run = Run(Identity("test"), parse(normalise_numbers(spec)), {"spec": spec}, at_directory(tmp_path / "c"))
    with pytest.raises(InvalidConfiguration, match="the network of the checkpoint is another one"):
        train(run, [])


def test_evaluation_and_test_have_their_own_environments_and_names(tmp_path):
    run, watch, _ = play(
        tmp_path,
        environment={"name": "environments:Constant", "config": {"length": 10}},
        evaluation={"everyIterations": 2, "episodes": 3, "environmentConfig": {"length": 4}},
        test={"episodes": 2, "environmentConfig": {"length": 7, "reward": 2}},
        sampling=IN_THE_DRIVER,
        stop={"iterations": 3},
    )
    assert [(item.kind, item.iteration) for item in watch.evaluations] == [("validation", 2), ("test", 2)]
    validation, test = watch.evaluations
    assert validation.metrics["validation/return_mean"] == 4
    assert validation.metrics["validation/sharpe"] == 0.5
    assert "validation/not_a_number" not in validation.metrics
    assert (test.metrics["test/return_mean"], test.metrics["test/episode_length_mean"]) == (14, 7)
    assert run.metrics["train/return_mean"] == 10
    assert (run.best.value, run.best.iteration) == (4, 2)
    assert run.storage.read_text("checkpoints/best/trainyard.json") is not None


def test_a_policy_is_evaluated_to_the_same_value_twice(tmp_path, recwarn):
    settings = {"evaluation": {"episodes": 3}, "sampling": IN_THE_DRIVER}
    _, first, _ = play(tmp_path / "a", **settings)
    _, second, _ = play(tmp_path / "b", **settings)
    assert [item.metrics for item in first.evaluations] == [item.metrics for item in second.evaluations]
    assert [str(item.message) for item in recwarn if "Overriding environment" in str(item.message)] == []


def test_training_ends_early_when_validation_no_longer_improves(tmp_path):
    _, watch, outcome = play(
        tmp_path,
        environment="environments:Constant",
        evaluation={"episodes": 1},
        earlyStopping={"metric": "validation/return_mean", "mode": "max", "patience": 2},
        sampling=IN_THE_DRIVER,
        stop={"iterations": 30},
    )
    assert len(watch.iterations) == 3
    assert outcome.reason.startswith("early stopping: validation/return_mean has not improved in 2 evaluations")


@pytest.mark.parametrize(("algorithm", "runners"), [("PPO", 1), ("PPO", 0), ("APPO", 1), ("IMPALA", 2), ("DQN", 1)])
def test_an_environment_that_raises_fails_the_run_within_seconds(tmp_path, algorithm, runners):
    watch = Watch()
    run = make_run(
        tmp_path, algorithm=algorithm, environment="environments:Broken",
        sampling={"envRunners": runners}, stop={"iterations": 1000},
    )  # fmt: skip
    with pytest.raises(Exception, match="the simulator has no more fuel"):
        train(run, [watch])
    assert watch.outcome.error is not None
    # Measured: 1 s with all of the clean-up. RLlib's own default stalls for a minute after its start, and then again.
    assert time.monotonic() - watch.started < 10


@pytest.mark.parametrize(
    ("algorithm", "environment"), [("DQN", "CartPole-v1"), ("SAC", {"name": "environments:Continuous"})]
)
def test_a_resumed_run_has_its_replay_buffer_back(tmp_path, algorithm, environment):
    # RLlib's own buffer, which is used without that Learner, is not saved.
    lean_learner(training_config.CONFIGS[algorithm]().get_default_learner_class())
    settings = {"algorithm": algorithm, "environment": environment, "sampling": IN_THE_DRIVER}
    buffer = {"type": "PrioritizedEpisodeReplayBuffer", "capacity": 500, "alpha": 0.6, "beta": 0.4}
    config = FEW_UPDATES | {"replay_buffer_config": buffer}
    first, _, _ = play(tmp_path, config=config, stop={"iterations": 1}, **settings)
    assert first.restored_replay is None
    stored = steps_in_the_buffer(tmp_path)
    assert 100 < stored <= 500 if algorithm == "DQN" else stored > 0
    second, _, _ = play(tmp_path, config=config, stop={"iterations": 2}, **settings)
    assert second.restored_replay == RestoredReplay(stored)
    # Only the latest checkpoint keeps the buffer.
    assert [path.parts[-3] for path in tmp_path.glob("checkpoints/*/algorithm/replay_buffer.npz")] == ["2"]


def test_a_resumed_run_says_when_its_replay_buffer_was_too_large_to_be_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "LIMIT_BYTES", 1000)
    settings = {"algorithm": "DQN", "sampling": IN_THE_DRIVER, "config": FEW_UPDATES}
    play(tmp_path, stop={"iterations": 1}, **settings)
    assert list(tmp_path.glob("checkpoints/*/algorithm/replay_buffer.npz")) == []
    second, _, _ = play(tmp_path, stop={"iterations": 2}, **settings)
    assert second.restored_replay.steps == 0
    assert "MiB that are saved" in second.restored_replay.missing


def test_rllibs_own_replay_buffer_refills(tmp_path):
    settings = {"algorithm": "DQN", "sampling": IN_THE_DRIVER, "config": FEW_UPDATES}
    settings["learner"] = {"implementation": "RLlib"}
    play(tmp_path, stop={"iterations": 1}, **settings)
    second, _, _ = play(tmp_path, stop={"iterations": 2}, **settings)
    assert second.restored_replay == RestoredReplay(0, "RLlib's checkpoints do not hold it")


@pytest.mark.parametrize("implementation", ["Auto", "RLlib"])
def test_after_a_lost_replay_buffer_learning_starts_after_the_usual_warm_up(tmp_path, monkeypatch, implementation):
    """An iteration has 1,000 steps, so that the one after the restart fills a buffer for a warm-up of 1,500 in part."""
    monkeypatch.setattr(saving, "LIMIT_BYTES", 1000)
    settings = {"algorithm": "DQN", "sampling": IN_THE_DRIVER, "learner": {"implementation": implementation}}
    settings["config"] = FEW_UPDATES | {"num_steps_sampled_before_learning_starts": 1500}
    settings["checkpoints"] = {"everyIterations": 1, "keep": 4}
    play(tmp_path, stop={"iterations": 2}, **settings)
    play(tmp_path, stop={"iterations": 4}, **settings)
    networks = [weights_of(tmp_path, number) for number in (1, 2, 3, 4)]
    # The loss says nothing: RLlib's checkpoints bring the last one back.
    learnt = [any(not np.array_equal(one[name], other[name]) for name in one) for one, other in pairwise(networks)]
    assert learnt == [True, False, True]


def steps_in_the_buffer(folder):
    with np.load(next(folder.glob("checkpoints/1/algorithm/replay_buffer.npz"))) as state:
        return int(state["lengths"].sum())


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"replay_buffer_config": {"capacity": 2000}}, id="prioritised"),
        pytest.param(
            {"replay_buffer_config": {"type": "EpisodeReplayBuffer", "capacity": 2000}, "n_step": 3}, id="uniform"
        ),
    ],
)
def test_dqn_learns_from_flat_replay_what_pays_later(tmp_path, config):
    """The optimum, 1, is known; who takes what pays at once gets 0.2."""
    config = {"lr": 0.003, "gamma": 0.9, "epsilon": [[0, 1.0], [600, 0.05]], "target_network_update_freq": 50} | config
    run, _, _ = play(
        tmp_path,
        algorithm="DQN",
        environment={"name": "environments:Corridor"},
        config=config,
        sampling=IN_THE_DRIVER,
        evaluation={"episodes": 2, "everyIterations": 1},
        stop={"iterations": 3},
    )
    assert run.metrics["validation/return_mean"] == pytest.approx(1.0)
