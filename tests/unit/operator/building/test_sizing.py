import json
from pathlib import Path

import pytest
import yaml

from trainyard_operator import quantity
from trainyard_operator.building.sizing import GIB, SizingRules, SpecRefusedError, gpus, logical_cpus, size

ROOT = Path(__file__).parents[4]
CASES = json.loads((ROOT / "manifests" / "contract" / "sizing.json").read_text())["cases"]
SAMPLES = sorted((ROOT / "manifests" / "samples").glob("*.yaml"))
RULES = SizingRules()
PPO = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}}


def program(cpus: float, **more) -> dict:
    return {"entrypoint": "python x.py", "resources": {"cpus": cpus}, **more}


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_logical_cpus_and_gpus_are_those_of_the_contract(case) -> None:
    assert (logical_cpus(case["spec"]), gpus(case["spec"])) == (case["logicalCpus"], case.get("gpus", 0))


def test_one_pod_holds_what_fits_into_it() -> None:
    made = size(PPO, RULES)
    assert (made.workers, made.worker) == (0, None)
    assert made.head.logical_cpus == 1
    assert made.head.cpu == 0.5, "a quarter for the runner, a quarter for Ray's services"
    assert made.head.memory >= (1.5 + 1 + 0.4) * 1.25 * GIB
    assert made.head.memory < (1.5 + 1 + 0.4) * 1.25 * GIB + 64 * 2**20


def test_fractions_are_rounded_up_for_ray_and_kept_in_the_status() -> None:
    made = size(program(1.5), RULES)
    assert (made.logical_cpus, made.head.logical_cpus) == (1.5, 2)


def test_128_runners_on_one_pod_are_admitted() -> None:
    made = size({**PPO, "sampling": {"envRunners": 128}}, RULES)
    assert (made.workers, made.head.logical_cpus) == (0, 128)


@pytest.mark.parametrize("sample", SAMPLES, ids=[s.name for s in SAMPLES])
def test_every_sample_is_admitted(sample) -> None:
    for document in yaml.safe_load_all(sample.read_text()):
        if document["kind"] == "TrainingRun":
            assert size(document["spec"], RULES).head.cpu < 2, "and its head fits on a small machine"


class TestWorkers:
    def test_asked_for_share_the_request_and_the_head_keeps_out_of_it(self) -> None:
        made = size(program(3, cluster={"worker": {"replicas": 2}}), RULES)
        assert (made.workers, made.worker.logical_cpus, made.head.logical_cpus) == (2, 2, 0)

    def test_spread_means_at_least_two(self) -> None:
        assert size(program(1, cluster={"spread": "Preferred"}), RULES).workers == 2

    def test_come_by_themselves_when_one_pod_cannot_hold_the_request(self) -> None:
        made = size({**PPO, "sampling": {"envRunners": 300}}, RULES)
        assert (made.workers, made.worker.logical_cpus) == (3, 100)

    def test_come_when_memory_is_what_does_not_fit(self) -> None:
        spec = {**PPO, "sampling": {"envRunners": 10, "memoryPerEnvRunner": "100Gi"}}
        made = size(spec, RULES)
        assert made.workers == 2
        assert made.worker.memory < RULES.pod_max_memory

    def test_take_whole_processes(self) -> None:
        """Three learners of two CPUs over two pods: 3 CPUs each would hold only one each."""
        spec = {
            **PPO,
            "sampling": {"envRunners": 0},
            "learner": {"count": 3, "cpus": 2},
            "cluster": {"worker": {"replicas": 2}},
        }
        assert size(spec, RULES).worker.logical_cpus == 4

    def test_share_gpus(self) -> None:
        spec = {**PPO, "learner": {"count": 4, "gpus": 1}, "cluster": {"worker": {"replicas": 2}}}
        made = size(spec, RULES)
        assert (made.worker.gpus, made.head.gpus, made.gpus) == (2, 0, 4)

    def test_a_learning_drivers_gpu_is_the_heads(self) -> None:
        spec = {**PPO, "learner": {"gpus": 1}, "cluster": {"worker": {"replicas": 2}}}
        made = size(spec, RULES)
        assert (made.worker.gpus, made.head.gpus) == (0, 1)


def all_gpus(made) -> int:
    return made.head.gpus + made.workers * (made.worker.gpus if made.worker else 0)


def ppo(learners: int, gpus: float, workers: int, **more) -> dict:
    learner = {"count": learners, "gpus": gpus}
    return {**PPO, "learner": learner, "cluster": {"worker": {"replicas": workers}}, **more}


class TestGpus:
    """A GPU is asked for where its process runs, and for no other process."""

    @pytest.mark.parametrize(
        ("spec", "head", "worker", "asked"),
        [
            (ppo(1, 1, 4), 1, 0, 1),
            (ppo(4, 1, 4), 0, 1, 4),
            (ppo(6, 1, 4), 2, 1, 6),
            (ppo(2, 0.5, 2), 1, 0, 1),
            (ppo(3, 0.6, 3), 0, 1, 3),
            (ppo(4, 0.5, 2), 0, 1, 2),
            (ppo(0, 1, 4), 1, 0, 1),
            (ppo(1, 1, 4, sampling={"envRunners": 16}), 1, 0, 1),
            (program(8, resources={"cpus": 8, "gpus": 1}, cluster={"worker": {"replicas": 2}}), 1, 0, 1),
            (program(8, resources={"cpus": 8, "gpus": 2}, cluster={"worker": {"replicas": 2}}), 0, 1, 2),
            (program(1, resources={"cpus": 1, "gpus": 2}, cluster={"worker": {"replicas": 2}}), 2, 0, 2),
        ],
        ids=[
            "one learner",
            "one each",
            "some left over",
            "two share one",
            "that cannot share",
            "two share one in each worker",
            "the driver's",
            "many runners",
            "a program",
            "a program, divided",
            "a program of one process",
        ],
    )
    def test_are_as_many_as_the_processes_take(self, spec, head, worker, asked) -> None:
        made = size(spec, RULES)
        assert (made.head.gpus, made.worker.gpus, all_gpus(made)) == (head, worker, asked)

    def test_of_a_learner_on_the_head_come_with_its_cpu_and_memory_and_leave_the_runners_where_they_are(self) -> None:
        plain = size(ppo(1, 0, 4, sampling={"envRunners": 8}), RULES)
        made = size(ppo(1, 1, 4, sampling={"envRunners": 8}), RULES)
        assert (made.head.logical_cpus, made.worker.logical_cpus) == (1, 2)
        assert made.head.memory - plain.head.memory == pytest.approx(1.25 * GIB, abs=64 * 2**20)

    def test_of_trials_come_with_the_whole_trial(self) -> None:
        """Ray packs the processes of a trial: their CPUs must be where their GPU is."""
        search = {
            "parameters": [{"path": "algorithm.config.lr", "grid": [1, 2, 3]}],
            "maxConcurrentTrials": 3,
            "resourcesPerTrial": {"gpu": 1},
        }
        made = size(ppo(0, 0, 2, sampling={"envRunners": 4}, search=search), RULES)
        assert (made.worker.gpus, made.worker.logical_cpus) == (1, 5)
        assert (made.head.gpus, made.head.logical_cpus) == (1, 5)

    def test_that_the_user_gives_the_workers_stay_there(self) -> None:
        spec = ppo(1, 1, 4)
        spec["cluster"]["worker"]["gpu"] = 2
        made = size(spec, RULES)
        assert (made.head.gpus, made.worker.gpus, made.head.logical_cpus) == (0, 2, 0)

    @pytest.mark.parametrize("learners", range(5))
    @pytest.mark.parametrize("workers", range(1, 6))
    @pytest.mark.parametrize("gpus", [0, 1, 2])
    def test_are_never_more_than_the_contract_says(self, learners, workers, gpus) -> None:
        spec = ppo(learners, gpus, workers)
        made = size(spec, RULES)
        assert all_gpus(made) == made.gpus
        assert made.head.logical_cpus + workers * made.worker.logical_cpus >= made.logical_cpus


class TestWhatTheUserSays:
    def test_is_taken_as_it_is(self) -> None:
        spec = program(
            2,
            cluster={"head": {"cpu": "500m", "memory": "4Gi"}, "worker": {"replicas": 1, "cpu": 2, "memory": "1.5Gi"}},
        )
        made = size(spec, RULES)
        assert (made.head.cpu, made.head.memory) == (0.5, 4 * GIB)
        assert (made.worker.cpu, made.worker.memory) == (2, 1.5 * GIB)

    def test_gets_no_headroom(self) -> None:
        small, large = size(program(1), RULES), size({**program(1), "resources": {"cpus": 1, "memory": "100Gi"}}, RULES)
        assert large.head.memory - small.head.memory == pytest.approx(100 * GIB - 0.33 * 1.25 * GIB, abs=64 * 2**20)

    def test_can_be_no_quantity(self) -> None:
        with pytest.raises(SpecRefusedError, match="4 Gigs") as caught:
            size(program(1, cluster={"head": {"memory": "4 Gigs"}}), RULES)
        assert caught.value.field == "spec.cluster.head.memory"


class TestRefusal:
    @pytest.mark.parametrize(
        ("spec", "field", "numbers"),
        [
            (program(300, cluster={"worker": {"replicas": 2}}), "spec.cluster.worker.replicas", ["300", "150", "128"]),
            (program(1, cluster={"head": {"memory": "600Gi"}}), "spec.cluster.head.memory", ["600Gi", "512Gi"]),
            (program(1, cluster={"head": {"cpu": 200}}), "spec.cluster.head.cpu", ["200", "128"]),
            (
                program(1, cluster={"worker": {"replicas": 1, "memory": "600Gi"}}),
                "spec.cluster.worker.memory",
                ["600Gi", "512Gi"],
            ),
            ({**PPO, "learner": {"count": 1, "cpus": 500}}, "spec.learner.cpus", ["500", "128"]),
        ],
    )
    def test_is_for_what_would_wait_for_ever_and_shows_the_arithmetic(self, spec, field, numbers) -> None:
        with pytest.raises(SpecRefusedError) as caught:
            size(spec, RULES)
        assert (caught.value.reason, caught.value.field) == ("InsufficientResources", field)
        assert all(number in str(caught.value) for number in numbers)

    def test_is_not_for_what_no_node_holds_now(self) -> None:
        assert size({**program(1), "resources": {"cpus": 1, "memory": "500Gi"}}, RULES).head.memory > 500 * GIB


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("2", 2), (3, 3), ("1.5Gi", 1.5 * GIB), ("100M", 1e8), ("0", 0), ("1k", 1000)],
)
def test_quantities_are_read_as_kubernetes_does(text, number) -> None:
    assert quantity.parse(text) == number


@pytest.mark.parametrize("text", ["", "abc", "1 Gi", "-1", "1Gb", "NaN", "Infinity"])
def test_what_is_no_quantity_is_refused(text) -> None:
    with pytest.raises(ValueError, match="quantity"):
        quantity.parse(text)


@pytest.mark.parametrize(("cores", "text"), [(0.25, "250m"), (1, "1"), (0.0001, "1m"), (1.5, "1500m")])
def test_cores_are_written_in_millicores(cores, text) -> None:
    assert quantity.cpu(cores) == text


@pytest.mark.parametrize(("size_", "text"), [(GIB, "1Gi"), (1.5 * GIB, "1536Mi"), (1, "1Mi")])
def test_memory_is_written_in_mebibytes(size_, text) -> None:
    assert quantity.memory(size_) == text
