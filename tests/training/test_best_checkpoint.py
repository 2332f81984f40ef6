"""The best policy of an interrupted run: never lost to a worse one; it is what is named, tested and exported."""

import json
import pickle

import numpy as np
import pytest

from trainyard.callbacks import Callback
from trainyard.reports import summary
from trainyard.runs.run import Best, Identity, Run
from trainyard.runs.storage import at_directory
from trainyard.spec.document import normalise_numbers
from trainyard.spec.parsing import parse
from trainyard.training.exporting import export_best
from trainyard.training.loop import train

pytestmark = pytest.mark.usefixtures("ray_session")

NETWORK = "algorithm/learner_group/learner/rl_module/default_policy/module_state.pkl"


class Script(Callback):
    """Makes the policy of iteration n as good as `values[n]`, before it is evaluated, and ends the attempt after."""

    def __init__(self, file, values, dies_after=None):
        self.file, self.values, self.dies_after = file, values, dies_after
        self.saved, self.evaluated = [], []
        self.file.write_text("0")

    def on_iteration(self, run, iteration):
        if self.dies_after is not None and iteration.number > self.dies_after:
            raise ConnectionError("the machine is gone")
        self.file.write_text(str(self.values[iteration.number] / 2))

    def on_evaluation(self, run, evaluation):
        self.evaluated.append((evaluation.kind, evaluation.iteration))

    def on_checkpoint(self, run, checkpoint):
        self.saved.append(checkpoint)


def attempt(folder, values, *, iterations, dies_after=None, every=2, **sections):
    """One attempt; validation says `values[n]` of iteration n."""
    script = Script(folder.parent / "reward", values, dies_after)
    spec = {
        "seed": 7,
        "algorithm": {"name": "PPO", "config": {"train_batch_size_per_learner": 40, "minibatch_size": 20,
                                                "num_epochs": 1}, "model": {"fcnet_hiddens": [8]}},
        "environment": {"name": "environments:Scripted", "config": {"file": str(script.file)}},
        "sampling": {"envRunners": 0},
        "evaluation": {"episodes": 1, "everyIterations": 1},
        "checkpoints": {"everyIterations": every, "keep": 2},
        "test": {"episodes": 1},
        "stop": {"iterations": iterations},
    } | sections  # fmt: skip
    run = Run(Identity("test"), parse(normalise_numbers(spec)), {"spec": spec}, at_directory(folder))
    if dies_after is None:
        outcome = train(run, [script])
        return run, script, summary.of_training(run, outcome) | export_best(run)
    with pytest.raises(ConnectionError):
        train(run, [script])
    return run, script, {}


def best_state(folder):
    return json.loads((folder / "checkpoints/best/trainyard.json").read_text())


def weights(folder, checkpoint):
    return pickle.loads((folder / f"checkpoints/{checkpoint}" / NETWORK).read_bytes())


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


def test_a_resumed_run_keeps_the_better_policy_that_was_found_after_the_checkpoint(tmp_path):
    folder = tmp_path / "run"
    attempt(folder, {1: 10, 2: 20, 3: 100}, iterations=9, dies_after=3)
    kept = weights(folder, "best")
    run, script, result = attempt(folder, dict.fromkeys(range(9), 60), iterations=4)
    assert run.restored_iteration == 2
    assert run.best == Best(100, 3)
    assert [item.best for item in script.saved] == [False]
    assert same(weights(folder, "best"), kept)
    assert script.evaluated[-1] == ("test", 3)
    assert (result["bestValue"], result["bestIteration"], result["policy"]) == (100, 3, "checkpoints/best/policy.pt2")
    # What the attempt after the next goes on with says so, too.
    assert json.loads((folder / "checkpoints/4/trainyard.json").read_text())["best"] == {"value": 100, "iteration": 3}


def test_a_better_policy_still_takes_its_place_after_a_resume(tmp_path):
    folder = tmp_path / "run"
    attempt(folder, {1: 10, 2: 20, 3: 100}, iterations=9, dies_after=3)
    run, _, _ = attempt(folder, {3: 60, 4: 101}, iterations=4)
    assert run.best == Best(101, 4)
    assert best_state(folder)["best"] == {"value": 101, "iteration": 4}


def test_an_attempt_that_ended_before_its_first_checkpoint_leaves_its_best_policy(tmp_path):
    folder = tmp_path / "run"
    attempt(folder, {1: 10, 2: 100}, iterations=9, dies_after=2, every=5)
    kept = weights(folder, "best")
    run, script, _ = attempt(folder, dict.fromkeys(range(9), 60), iterations=3, every=5)
    assert (run.restored_iteration, run.best) == (0, Best(100, 2))
    assert same(weights(folder, "best"), kept)
    assert script.evaluated[-1] == ("test", 2)


def test_the_best_of_another_run_replaces_no_better_one_of_an_earlier_attempt(tmp_path):
    attempt(tmp_path / "first", {1: 10, 2: 20}, iterations=2)
    resume = {"resumeFrom": {"uri": (tmp_path / "first").as_uri()}, "checkpoints": {"everyIterations": 9, "keep": 2}}
    folder = tmp_path / "second"
    attempt(folder, {3: 100}, iterations=9, dies_after=3, **resume)
    run, _, _ = attempt(folder, dict.fromkeys(range(9), 60), iterations=4, **resume)
    assert (run.restored_iteration, run.best) == (2, Best(100, 3))


def test_a_run_that_starts_from_one_checkpoint_of_another_names_no_policy_that_it_does_not_have(tmp_path):
    attempt(tmp_path / "first", {1: 100, 2: 20}, iterations=2)
    resume = {"resumeFrom": {"uri": (tmp_path / "first/checkpoints/2").as_uri()}}
    run, script, result = attempt(tmp_path / "second", {3: 60}, iterations=3, **resume)
    assert run.best == Best(60, 3)
    assert script.evaluated[-1] == ("test", 3)
    resume = {"resumeFrom": {"uri": (tmp_path / "first/checkpoints/best").as_uri()}}
    run, script, result = attempt(tmp_path / "third", {2: 60, 3: 60}, iterations=3, **resume)
    assert (run.best, result["bestIteration"], script.evaluated[-1]) == (Best(100, 1), 1, ("test", 1))
    assert same(weights(tmp_path / "third", "best"), weights(tmp_path / "first", "best"))


def test_an_attempt_without_a_new_best_still_says_where_the_best_checkpoint_is(tmp_path):
    folder = tmp_path / "run"
    attempt(folder, {1: 10, 2: 20, 3: 100}, iterations=9, dies_after=3)
    run, _, _ = attempt(folder, dict.fromkeys(range(9), 60), iterations=3)
    assert [(item.iteration, item.best) for item in run.restored_checkpoints] == [(2, False), (3, True)]
    assert run.restored_best["validation/return_mean"] == 100
