"""The spec may change until the run has started; afterwards only suspend and the two ttls may."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from tests.apiserver.conftest import ROOT
from tests.apiserver.runs import Runs

STARTED = {"observedGeneration": 1, "startTime": "2026-01-01T00:00:00Z", "phase": "Provisioning"}
ALGORITHM: dict[str, Any] = {
    "image": "registry.example/train:1",
    "imagePullPolicy": "Always",
    "rayVersion": "2.60.0",
    "seed": 1,
    "algorithm": {
        "name": "PPO",
        "config": {"lr": 0.1, "nested": {"alpha": 0.6}, "nothing": None},
        "model": {"fcnet_hiddens": [64]},
    },
    "environment": {"name": "CartPole-v1", "config": {"length": 5}},
    "sampling": {"envRunners": 2},
    "learner": {"count": 1},
    "stop": {"iterations": 10, "metrics": [{"metric": "train/return_mean", "atLeast": 450}]},
    "evaluation": {"episodes": 5, "environmentConfig": {"split": "a"}},
    "test": {"episodes": 5},
    "checkpoints": {"keep": 2},
    "resumeFrom": {"run": "first"},
    "storage": {"persistentVolumeClaim": {"claimName": "a"}},
    "runtimeEnv": {"pip": ["team-envs==1.2"], "pipInstallOptions": ["--no-index"]},
    "cluster": {
        "labels": {"team": "a"},
        "worker": {"replicas": 1, "template": {"spec": {"nodeSelector": {"disk": "ssd"}}}},
    },
    "activeDeadlineSeconds": 100,
}
AFRESH = {field: value for field, value in ALGORITHM.items() if field != "resumeFrom"}
EARLY = {"earlyStopping": {"metric": "m", "mode": "max", "patience": 1}}
SEARCH = {"search": {"parameters": [{"path": "algorithm.config.lr", "grid": [1, "a"]}], "metric": "m", "mode": "max"}}


def with_value(spec: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the value at the path; `None` removes what is there."""
    copied = copy.deepcopy(spec)
    *parents, last = path.split("/")
    target: Any = copied
    for part in parents:
        target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
    key: Any = int(last) if isinstance(target, list) else last
    if value is None:
        del target[key]
    else:
        target[key] = value
    return copied


def renamed(spec: dict[str, Any], path: str, new: str) -> dict[str, Any]:
    """A copy with the last key of the path renamed, its value kept."""
    copied = copy.deepcopy(spec)
    *parents, last = path.split("/")
    target: Any = copied
    for part in parents:
        target = target[part]
    target[new] = target.pop(last)
    return copied


CHANGES = [
    pytest.param(ALGORITHM, with_value(ALGORITHM, path, value), path.split("/")[0], id=path.replace("/", "."))
    for path, value in [
        ("image", "registry.example/train:2"),
        ("imagePullPolicy", "Never"),
        ("rayVersion", "2.55.1"),
        ("seed", 2),
        ("algorithm/name", "DQN"),
        ("algorithm/config/lr", 0.2),
        ("algorithm/config/nested/alpha", 0.7),
        ("algorithm/config/added", 1),
        ("algorithm/model/fcnet_hiddens", [32]),
        ("environment/name", "Acrobot-v1"),
        ("environment/config/length", 6),
        ("sampling/envRunners", 3),
        ("learner/count", 2),
        ("stop/iterations", 20),
        ("stop/metrics/0/atLeast", 500),
        ("evaluation/episodes", 6),
        ("evaluation/environmentConfig/split", "b"),
        ("test/episodes", 6),
        ("checkpoints/keep", 3),
        ("resumeFrom/restore", "Weights"),
        ("storage/persistentVolumeClaim/claimName", "b"),
        ("runtimeEnv/pip/0", "team-envs==1.3"),
        ("runtimeEnv/pipInstallOptions/0", "--pre"),
        ("cluster/labels/team", "b"),
        ("cluster/worker/replicas", 2),
        ("cluster/worker/template/spec/nodeSelector/disk", "hdd"),
        ("backoffLimit", 5),
        ("activeDeadlineSeconds", 200),
        ("provisioningDeadlineSeconds", 60),
    ]
]
REMOVALS = [
    pytest.param(
        ALGORITHM, with_value(ALGORITHM, path, None), path.split("/")[0], id=f"{path.replace('/', '.')} removed"
    )
    for path in (
        "seed",
        "algorithm/model",
        "algorithm/config/lr",
        "environment/config",
        "evaluation",
        "resumeFrom",
        "runtimeEnv",
        "cluster",
        "image",
    )
]
RENAMES = [
    pytest.param(
        ALGORITHM, renamed(ALGORITHM, path, "other"), path.split("/")[0], id=f"{path.replace('/', '.')} renamed"
    )
    for path in (
        "algorithm/config/lr",
        "algorithm/config/nothing",
        "algorithm/config/nested/alpha",
        "algorithm/model/fcnet_hiddens",
        "environment/config/length",
        "evaluation/environmentConfig/split",
        "cluster/labels/team",
        "cluster/worker/template/spec",
        "cluster/worker/template/spec/nodeSelector/disk",
    )
]
ADDITIONS = [
    pytest.param(ALGORITHM, {**ALGORITHM, **EARLY}, "earlyStopping", id="earlyStopping added"),
    pytest.param(AFRESH, {**AFRESH, **SEARCH}, "search", id="search added"),
    pytest.param(
        {**AFRESH, **SEARCH},
        with_value({**AFRESH, **SEARCH}, "search/parameters/0/grid", [1, "b"]),
        "search",
        id="a value of a grid",
    ),
    pytest.param(
        {"trainable": {"function": "a:b", "config": {"x": 1}}},
        {"trainable": {"function": "a:b", "config": {"y": 1}}},
        "trainable",
        id="trainable.config.x renamed",
    ),
    pytest.param(
        {"entrypoint": "python x.py", "resources": {"cpus": 1}},
        {"entrypoint": "python y.py", "resources": {"cpus": 1}},
        "entrypoint",
        id="entrypoint",
    ),
    pytest.param(
        {"entrypoint": "python x.py", "resources": {"cpus": 1}},
        {"entrypoint": "python x.py", "resources": {"cpus": 2}},
        "resources",
        id="resources",
    ),
]


@pytest.fixture
def runs(api: client.ApiClient, shared: str) -> Iterator[Runs]:
    runs = Runs(api, shared)
    yield runs
    runs.delete()


@pytest.mark.parametrize(("before", "after", "field"), [*CHANGES, *REMOVALS, *RENAMES, *ADDITIONS])
def test_a_started_run_keeps_its_spec(before: dict, after: dict, field: str, runs: Runs) -> None:
    runs.create(before)
    run = runs.patch_status(STARTED)
    with pytest.raises(ApiException) as refusal:
        runs.replace({**run, "spec": after})
    message = json.loads(refusal.value.body)["message"]
    assert f"spec.{field}: Invalid value" in message
    assert f"the run has started, so spec.{field} can no longer change" in message
    assert "create a TrainingRun with another name instead" in message


@pytest.mark.parametrize(("before", "after", "field"), [*CHANGES, *REMOVALS, *RENAMES, *ADDITIONS])
def test_a_run_that_has_not_started_can_be_corrected(before: dict, after: dict, field: str, runs: Runs) -> None:
    runs.create(before)
    run = runs.patch_status({"observedGeneration": 1, "phase": "Failed"})
    assert runs.replace({**run, "spec": after})["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"clusterTTLSecondsAfterFinished": 60},
        {"ttlSecondsAfterFinished": 3600},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_started_run_can_be_suspended_and_given_other_ttls(change: dict, runs: Runs) -> None:
    runs.create(ALGORITHM)
    runs.patch_status(STARTED)
    (key, value), *_ = change.items()
    assert runs.patch({"spec": change})["spec"][key] == value


def test_the_same_spec_can_be_applied_again_to_a_started_run(runs: Runs) -> None:
    runs.create(ALGORITHM)
    run = runs.patch_status(STARTED)
    assert runs.replace({**run, "spec": ALGORITHM})["metadata"]["generation"] == 1


def test_labels_of_a_started_run_can_change(runs: Runs) -> None:
    runs.create(ALGORITHM)
    runs.patch_status(STARTED)
    assert runs.patch({"metadata": {"labels": {"a": "b"}}})["metadata"]["labels"] == {"a": "b"}


def test_every_field_of_the_spec_is_frozen_or_meant_to_change() -> None:
    (file,) = (ROOT / "manifests" / "crd").glob("*trainingruns.yaml")
    schema = yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    frozen = {
        rule["fieldPath"].removeprefix(".spec.") for rule in schema["x-kubernetes-validations"] if "fieldPath" in rule
    }
    mutable = {"suspend", "clusterTTLSecondsAfterFinished", "ttlSecondsAfterFinished"}
    assert frozen | mutable == set(schema["properties"]["spec"]["properties"])
    assert not frozen & mutable
