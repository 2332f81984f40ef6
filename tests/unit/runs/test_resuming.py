"""Where a run starts from: which checkpoint is found, and what does not fit is refused."""

import json

import numpy as np
import pytest

from trainyard.errors import InvalidConfiguration
from trainyard.runs import resuming
from trainyard.runs.checkpoints import CheckpointStore
from trainyard.runs.storage import at_directory
from trainyard.spec.parsing import parse
from trainyard.spec.sections import ResumeFrom


def saved(folder, *iterations, best=None):
    """A run's folder with checkpoints, each with a file that says which it is."""
    store = CheckpointStore(at_directory(folder), keep=5)
    for iteration in iterations:
        store.save(iteration, writes(f"iteration {iteration}"), {"note": iteration})
    if best is not None:
        store.save(best, writes("best"), {"note": "best"}, best=True)
    return store


def writes(text):
    def save(folder):
        folder.mkdir()
        (folder / "what").write_text(text)

    return save


def wanted(folder, **more):
    return ResumeFrom(uri=folder.as_uri(), **more)


def content(origin):
    return (origin.store.algorithm_folder(origin.checkpoint) / "what").read_text()


class TestTheCheckpoint:
    def test_is_the_latest_of_the_runs_folder(self, tmp_path):
        saved(tmp_path, 3, 10, best=3)
        with resuming.opened(wanted(tmp_path)) as origin:
            assert (origin.checkpoint.iteration, content(origin)) == (10, "iteration 10")

    def test_is_the_best_when_asked_for(self, tmp_path):
        saved(tmp_path, 3, 10, best=3)
        with resuming.opened(wanted(tmp_path, checkpoint="Best")) as origin:
            assert (origin.checkpoint.iteration, content(origin)) == (3, "best")

    def test_can_be_named_itself(self, tmp_path):
        saved(tmp_path, 3, 10)
        with resuming.opened(wanted(tmp_path / "checkpoints" / "3", checkpoint="Best")) as origin:
            assert (origin.checkpoint.iteration, content(origin)) == (3, "iteration 3")
            assert origin.store.state_of(origin.checkpoint)["note"] == 3

    def test_is_only_read(self, tmp_path):
        saved(tmp_path, 3)
        before = sorted(tmp_path.rglob("*"))
        with resuming.opened(wanted(tmp_path)):
            pass
        assert sorted(tmp_path.rglob("*")) == before

    @pytest.mark.parametrize(
        ("make", "more", "words"),
        [
            (lambda folder: folder / "none", {}, "is no folder that can be seen from here; write the results folder"),
            (lambda folder: folder, {}, "has no latest checkpoint; give the results folder of a run that has written"),
            (lambda folder: saved(folder, 3) and folder, {"checkpoint": "Best"}, "use checkpoint: Latest, which is"),
            (lambda folder: saved(folder, best=3) and folder, {}, "use checkpoint: Best, which is there"),
        ],
        ids=["no folder", "an empty one", "no best", "only a best"],
    )
    def test_that_is_not_there_is_the_users_to_correct(self, tmp_path, make, more, words):
        with pytest.raises(InvalidConfiguration) as refusal, resuming.opened(wanted(make(tmp_path), **more)):
            pass
        assert words in str(refusal.value)
        assert refusal.value.field == "spec.resumeFrom.uri"

    def test_behind_a_scheme_that_nobody_knows_is_refused(self):
        with pytest.raises(InvalidConfiguration, match="is not a usable filesystem URI"):
            resuming.check(parse({**SPEC, "resumeFrom": {"uri": "ftp://host/folder"}}))

    def test_of_a_named_run_is_known_to_the_operator_alone(self):
        with pytest.raises(InvalidConfiguration, match="names the TrainingRun 'first', which only the operator"):
            resuming.check(parse({**SPEC, "resumeFrom": {"run": "first"}}))


SPEC = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 1}}


class TestWhatDoesNotFit:
    def test_another_algorithm_under_all(self):
        with pytest.raises(InvalidConfiguration, match="is one of DQN, and this run is PPO; use DQN, or restore: Wei"):
            resuming.check_algorithm({"specification": {"algorithm": {"name": "DQN"}}}, parse(SPEC))

    def test_the_same_algorithm_fits(self):
        resuming.check_algorithm({"specification": SPEC}, parse(SPEC))

    def test_a_network_with_other_names_or_shapes(self):
        own = {"a": np.zeros((2, 3)), "b": np.zeros(3)}
        resuming.check_network({"a": np.ones((2, 3)), "b": np.ones(3)}, own)
        with pytest.raises(InvalidConfiguration) as refusal:
            resuming.check_network({"a": np.ones((4, 3)), "c": np.ones(3)}, own)
        text = str(refusal.value)
        assert "b is missing, c is not in this run's network, a is (4, 3) and not (2, 3)" in text
        assert "use the same spec.environment and spec.algorithm.model" in text


def test_the_best_of_another_run_is_taken_over_whole(tmp_path):
    other = saved(tmp_path / "other", 10, best=3)
    store = CheckpointStore(at_directory(tmp_path / "own"), keep=1)
    store.take_over_best(other, other.best())
    best = store.best()
    assert (best.iteration, best.uri) == (3, (tmp_path / "own").as_uri() + "/checkpoints/best")
    assert (store.algorithm_folder(best) / "what").read_text() == "best"
    assert json.loads((tmp_path / "other/checkpoints/best/trainyard.json").read_text())["note"] == "best"
    assert [path.name for path in (tmp_path / "own/checkpoints").iterdir()] == ["best"]
