import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.operator.builders import KEY, PPO, UID, line, running
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.metrics import MAX_TRIALS, Instruments, RunCollector
from trainyard_operator.model import Key
from trainyard_operator.observe import Memory
from trainyard_operator.status_form import write_status
from trainyard_operator.vocabulary import Phase


class World:
    def __init__(self) -> None:
        self.cache = Cache()
        self.memory: dict[Key, Memory] = {}
        self.leader = True
        self.registry = CollectorRegistry()
        self.registry.register(
            RunCollector(self.cache, self.memory.get, lambda: self.leader, lambda: 3, lambda: {"Pod": 1.5})
        )
        self.version = 0

    def put(self, status: Any = None, key: Key = KEY) -> None:
        self.version += 1
        metadata = {"namespace": key.namespace, "name": key.name, "uid": UID, "resourceVersion": str(self.version)}
        form = write_status(status) if status else {}
        self.cache.apply(Kind.RUN, {"metadata": metadata, "spec": PPO, "status": form})

    def remember(self, **changes: Any) -> None:
        self.memory[KEY] = Memory(UID, progress=line(**changes))

    def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        text = generate_latest(self.registry).decode()
        return {
            tuple(sorted(self.own(sample.labels).items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        }

    @staticmethod
    def own(labels: Mapping[str, str]) -> dict[str, str]:
        return {k: v for k, v in labels.items() if k not in ("namespace", "name")}

    def value(self, name: str, **labels: str) -> float:
        return self.samples(name)[tuple(sorted(labels.items()))]


@pytest.fixture
def world() -> World:
    return World()


def test_a_runs_phase_is_one_series_of_all(world) -> None:
    world.put(running())
    assert world.value("trainyard_run_phase", phase="Running") == 1
    assert world.value("trainyard_run_phase", phase="Failed") == 0
    assert len(world.samples("trainyard_run_phase")) == len(Phase)


def test_the_freshest_reading_goes_before_the_status(world) -> None:
    world.put(running(progress={"iteration": 1, "percent": 10}))
    assert world.value("trainyard_run_iterations") == 1
    world.remember(progress={"iteration": 7, "percent": 70.0, "envStepsPerSecond": 512.7})
    assert world.value("trainyard_run_iterations") == 7
    assert world.value("trainyard_run_progress_ratio") == pytest.approx(0.7)
    assert world.value("trainyard_run_env_steps_per_second") == 512.7


def test_a_rate_ends_with_the_run(world) -> None:
    world.put(running(phase=Phase.SUCCEEDED, progress={"iteration": 10, "envStepsPerSecond": 512.7}))
    world.remember(progress={"iteration": 10, "envStepsPerSecond": 512.7, "estimatedSecondsLeft": 0.0})
    assert world.samples("trainyard_run_env_steps_per_second") == {}
    assert world.samples("trainyard_run_estimated_remaining_seconds") == {}
    assert world.value("trainyard_run_iterations") == 10


def test_loss_best_and_trials(world) -> None:
    world.put(running())
    item = {"id": "t1", "state": "Running", "parameters": {}, "iteration": 4, "metrics": {"reward": 2.5}}
    waiting = {"id": "t2", "state": "Pending", "parameters": {}}
    trials = {"total": 2, "pending": 1, "running": 1, "succeeded": 0, "failed": 0, "items": [item, waiting]}
    world.remember(metrics={"train/loss": 0.5}, trials={**trials, "best": {"metric": "reward", "value": 2.5}})
    assert world.value("trainyard_run_loss") == 0.5
    assert world.value("trainyard_run_best_metric", metric="reward") == 2.5
    assert world.value("trainyard_run_trials", state="pending") == 1
    assert world.value("trainyard_trial_state", trial="t1", state="Running") == 1
    assert world.value("trainyard_trial_iterations", trial="t1") == 4
    assert world.value("trainyard_trial_metric", trial="t1", metric="reward") == 2.5
    assert all(("trial", "t2") not in labels for labels in world.samples("trainyard_trial_state"))


def test_series_of_trials_are_bounded_and_running_ones_go_first(world) -> None:
    world.put(running())
    items = [{"id": f"t{n}", "state": "Running" if n >= 95 else "Succeeded", "parameters": {}} for n in range(100)]
    counts = {"total": 100, "pending": 0, "running": 5, "succeeded": 95, "failed": 0}
    world.remember(trials={**counts, "items": items})
    shown = world.samples("trainyard_trial_state")
    assert len(shown) == MAX_TRIALS
    assert {f"t{n}" for n in range(95, 100)} <= {dict(labels)["trial"] for labels in shown}


def test_a_run_that_is_over_exports_what_its_status_says_and_no_trials(world) -> None:
    counts = {"total": 1, "pending": 0, "running": 0, "succeeded": 1, "failed": 0}
    best = {"metric": "reward", "value": 2.5}
    item = {"id": "t1", "state": "Succeeded", "parameters": {}, "iteration": 4, "metrics": {"reward": 2.5}}
    world.put(
        running(phase=Phase.SUCCEEDED, progress={"iteration": 4}, trials={**counts, "items": [item], "best": best})
    )
    world.remember(metrics={"train/loss": 0.5}, trials={**counts, "items": [item], "best": best})
    assert world.value("trainyard_run_trials", state="succeeded") == 1
    assert world.value("trainyard_run_best_metric", metric="reward") == 2.5
    assert world.value("trainyard_run_iterations") == 4
    for name in ("trainyard_trial_state", "trainyard_trial_iterations", "trainyard_trial_metric", "trainyard_run_loss"):
        assert world.samples(name) == {}


def test_a_series_vanishes_with_its_object(world) -> None:
    world.put(running())
    world.remember()
    assert world.samples("trainyard_run_phase")
    world.cache.forget(Kind.RUN, KEY, UID)
    text = generate_latest(world.registry).decode()
    assert KEY.name not in text


def test_only_the_holder_of_the_lease_exports_runs(world) -> None:
    world.put(running())
    world.leader = False
    assert world.samples("trainyard_run_phase") == {}
    assert world.value("trainyard_operator_queue_depth") == 3
    assert world.value("trainyard_operator_watch_age_seconds", kind="Pod") == 1.5


def test_names_and_units_follow_the_conventions(world) -> None:
    instruments = Instruments(world.registry)
    instruments.observe_request("PATCH", "trainingruns", 200, 0.01)
    world.put(running())
    world.remember(progress={"percent": 1.0, "estimatedSecondsLeft": 2.0})
    for family in text_string_to_metric_families(generate_latest(world.registry).decode()):
        assert family.name.startswith("trainyard_")
        assert not any(unit in family.name for unit in ("percent", "milli", "minutes"))
        assert family.documentation.endswith(".")
        if family.type == "counter":
            assert all(s.name.endswith(("_total", "_created")) for s in family.samples)


def test_every_metric_is_in_the_reference(world) -> None:
    Instruments(world.registry)
    world.put(running())
    text = (Path(__file__).parents[3] / "docs" / "reference" / "prometheus.md").read_text()
    described = set(re.findall(r"`(trainyard_[a-z_]+)`", text))
    exported = set()
    for family in world.registry.collect():
        exported.add(f"{family.name}_total" if family.type == "counter" else family.name)
    assert exported == described
