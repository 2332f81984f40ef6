"""What the API server accepts and refuses, with which words, and what it fills in: the corpus on the real one."""

import json

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.apiserver.corpus import ACCEPTED, REFUSED, Case
from tests.apiserver.runs import Runs


def answer(error: ApiException) -> str:
    return json.loads(error.body)["message"]


@pytest.fixture
def dry_runs(api: client.ApiClient, shared: str) -> Runs:
    return Runs(api, shared)


@pytest.mark.parametrize("case", ACCEPTED, ids=str)
def test_an_accepted_spec_is_stored_as_it_was_written(case: Case, dry_runs: Runs) -> None:
    created = dry_runs.create_object(case.object, dry_run=True)
    assert contains(created["spec"], case.spec)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_a_refused_spec_names_its_field_and_what_to_do(case: Case, dry_runs: Runs) -> None:
    with pytest.raises(ApiException) as refusal:
        dry_runs.create_object(case.object, dry_run=True)
    assert refusal.value.status in (400, 422)
    for fragment in case.message:
        assert fragment in answer(refusal.value)


def test_the_corpus_is_large_enough() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 60


def contains(whole: object, part: object) -> bool:
    """Whether everything in `part` is in `whole`, which may have more keys (defaults)."""
    if isinstance(whole, dict) and isinstance(part, dict):
        return all(key in whole and contains(whole[key], value) for key, value in part.items())
    if isinstance(whole, list) and isinstance(part, list):
        return len(whole) == len(part) and all(map(contains, whole, part))
    return whole == part


def test_defaults_are_filled_in_at_the_top(runs: Runs) -> None:
    spec = runs.create({"trainable": {"function": "a:b"}})["spec"]
    assert spec == {
        "trainable": {"function": "a:b"},
        "suspend": False,
        "backoffLimit": 3,
        "provisioningDeadlineSeconds": 600,
        "clusterTTLSecondsAfterFinished": 0,
    }


@pytest.mark.parametrize(
    ("section", "given", "filled"),
    [
        ("sampling", {}, {"envRunners": 1, "cpusPerEnvRunner": 1}),
        ("learner", {"gpus": 1}, {"implementation": "Auto", "count": 0, "cpus": 1, "gpus": 1}),
        (
            "evaluation",
            {},
            {"everyIterations": 1, "episodes": 10, "explore": False, "maxStepsPerEpisode": 100_000},
        ),
        ("test", {}, {"episodes": 10, "maxStepsPerEpisode": 100_000}),
        ("checkpoints", {}, {"everyIterations": 10, "keep": 3}),
        ("cluster", {}, {"auth": "Token"}),
        (
            "earlyStopping",
            {"metric": "m", "mode": "max", "patience": 2},
            {"metric": "m", "mode": "max", "patience": 2, "minIterations": 0, "minDelta": 0},
        ),
    ],
)
def test_defaults_are_filled_in_where_a_section_is_given(section: str, given: dict, filled: dict, runs: Runs) -> None:
    spec = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 1}}
    assert runs.create({**spec, section: given})["spec"][section] == filled


def test_defaults_are_filled_in_for_a_search(runs: Runs) -> None:
    search = {"parameters": [{"path": "trainable.config.lr", "grid": [1]}], "metric": "m", "mode": "max"}
    spec = {"trainable": {"function": "a:b"}, "search": {**search, "resourcesPerTrial": {}}}
    assert runs.create(spec)["spec"]["search"] == {
        **search,
        "samples": 1,
        "maxConcurrentTrials": 1,
        "resourcesPerTrial": {"cpu": 1, "gpu": 0},
        "best": "BestEver",
    }


def test_a_new_run_has_a_status_that_kstatus_reads_as_in_progress(runs: Runs) -> None:
    run = runs.create({"trainable": {"function": "a:b"}})
    assert run["status"] == {"observedGeneration": -1}


def test_a_status_cannot_be_given_at_creation(runs: Runs) -> None:
    body = {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "run"},
        "spec": {"trainable": {"function": "a:b"}},
        "status": {"phase": "Succeeded"},
    }
    assert runs.create_object(body)["status"] == {"observedGeneration": -1}
