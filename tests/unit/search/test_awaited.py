"""A search whose metric nobody reports says so after the first results, and fails as the user's error."""

import json

import pytest
from rich.console import Console

from trainyard.errors import EXIT_USER_ERROR
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs import storage
from trainyard.runs.job import Job
from trainyard.runs.run import Identity
from trainyard.search.awaited import AwaitedMetrics, MetricNotReported
from trainyard.search.trials import TrialTable
from trainyard.spec.parsing import parse

POINTS = [{"trainable.config.lr": rate} for rate in (0.1, 0.2)]
SEARCH = {"parameters": [{"path": "trainable.config.lr", "grid": [0.1, 0.2]}], "mode": "max"}
FUNCTION = {"trainable": {"function": "module:name"}}
PPO = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 9}}


class Search:
    """A search without Ray: its table, what watches it, and the conditions that it has written."""

    def __init__(self, folder, spec, metric):
        self.file = folder / "progress.jsonl"
        progress = Progress(ProgressFile(self.file, "test"), interval=0.0)
        place = storage.at_directory(folder / "run")
        job = Job(Identity("grid"), parse(spec), {"spec": spec}, place, progress, Console(quiet=True))
        self.table = TrialTable(POINTS, metric, "max", "BestEver")
        self.awaited = AwaitedMetrics(job, self.table)

    def report(self, *results, trial=0, finish=False):
        for result in results:
            self.table.report(trial, result)
            self.awaited.look()
        if finish:
            self.table.finish(trial)
            self.awaited.look()
        return self.conditions()

    def conditions(self):
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        found = json.loads(lines[-1]).get("conditions", []) if lines else []
        return {item["type"]: (item["status"], item["message"]) for item in found}


@pytest.fixture
def search(tmp_path):
    def of(metric="acuracy", base=FUNCTION, parameters=SEARCH["parameters"], **sections):
        spec = base | {"search": SEARCH | {"metric": metric, "parameters": parameters}} | sections
        return Search(tmp_path, spec, metric)

    return of


def algorithm(search, metric, **sections):
    return search(metric, PPO, [{"path": "algorithm.config.lr", "grid": [0.1, 0.2]}], **sections)


def test_it_is_told_after_three_results_with_the_nearest_name_and_those_that_there_are(search):
    searched = search()
    assert searched.report({"accuracy": 0.5, "loss": 1.0}, {"accuracy": 0.6, "loss": 0.9}) == {}
    status, message = searched.report({"accuracy": 0.7, "loss": 0.8})["SelectionMetricMissing"]
    assert status == "True"
    assert message.startswith("acuracy has had no value in 3 results; did you mean accuracy?; there are accuracy, loss")


def test_it_is_told_when_a_trial_has_ended_after_fewer_results(search):
    assert "SelectionMetricMissing" in search().report({"accuracy": 0.5}, finish=True)


def test_a_metric_that_comes_late_is_no_longer_missing_and_the_search_ends_well(search):
    searched = search()
    searched.report(*[{"loss": 1.0}] * 3)
    assert searched.report({"acuracy": 0.5})["SelectionMetricMissing"][0] == "False"
    searched.awaited.require()


def test_a_search_whose_metric_no_trial_ever_had_is_the_users_error_and_names_the_field(search):
    searched = search()
    searched.report({"accuracy": 0.5}, finish=True)
    searched.report({"accuracy": 0.5}, trial=1, finish=True)
    with pytest.raises(MetricNotReported, match=r"did you mean accuracy\?") as error:
        searched.awaited.require()
    assert (error.value.exit_code, error.value.field) == (EXIT_USER_ERROR, "spec.search.metric")


def test_a_metric_that_is_nan_throughout_is_called_so(search):
    searched = search("loss")
    searched.report(*[{"loss": float("nan"), "x": 1}] * 3)
    with pytest.raises(MetricNotReported, match="loss was never a finite number"):
        searched.awaited.require()


@pytest.mark.parametrize(("value", "kind"), [([4.0], "list"), ("4.0", "str"), ({"a": 1}, "dict")])
def test_a_metric_that_is_no_number_is_told_by_its_type(search, value, kind):
    searched = search("score")
    assert f"score ({kind})" in searched.report({"score": value})["MetricsDropped"][1]
    with pytest.raises(MetricNotReported, match=f"score was {kind}, not a number"):
        searched.awaited.require()


def test_what_is_dropped_is_told_once_for_each_name(search):
    searched = search("score")
    searched.report({"score": 1.0, "all": [1, 2]}, {"score": 1.0, "all": [1, 2]})
    lines = searched.file.read_text().count("\n")
    searched.report({"score": 1.0, "all": [1, 2], "note": "a text", "done": True})
    assert searched.file.read_text().count("\n") == lines
    assert "all (list), more (tuple)" in searched.report({"more": (1, 2)})["MetricsDropped"][1]


def test_a_stop_of_a_trainable_whose_metric_is_never_reported_is_told(tmp_path):
    spec = FUNCTION | {"stop": {"metrics": [{"metric": "acuracy", "atLeast": 0.9}]}}
    searched = Search(tmp_path, spec, None)
    status, message = searched.report(*[{"accuracy": 0.5}] * 3)["StopMetricMissing"]
    assert (status, "it cannot end a trial" in message) == ("True", True)
    searched.awaited.require()


def test_a_metric_of_the_test_is_not_missing_before_a_trial_has_ended(search):
    searched = algorithm(search, "test/return_mean", test={})
    assert searched.report(*[{"train/return_mean": 1.0}] * 9) == {}
    assert "SelectionMetricMissing" in searched.report(finish=True)


def test_a_metric_of_validation_has_three_evaluations(search):
    searched = algorithm(search, "validation/retrun_mean", evaluation={"everyIterations": 2})
    assert searched.report(*[{"validation/return_mean": 1.0}] * 5) == {}
    assert "did you mean validation/return_mean?" in searched.report({})["SelectionMetricMissing"][1]


def test_a_stop_by_one_of_rllibs_own_metrics_is_not_awaited_of_trials(search):
    stop = {"metrics": [{"metric": "rllib/env_runners/num_episodes", "atLeast": 3}]}
    searched = algorithm(search, "train/return_mean", stop=stop)
    assert searched.report(*[{"train/return_mean": 1.0}] * 3) == {}
