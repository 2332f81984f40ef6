"""Validation of the spec: every fault at once, each with its field, what is wrong and what to do."""

import pytest

from trainyard.errors import InvalidConfiguration
from trainyard.spec import relations
from trainyard.spec.parsing import parse


def ppo(**sections):
    return {
        "algorithm": {"name": "PPO"},
        "environment": {"name": "CartPole-v1"},
        "stop": {"iterations": 1},
    } | sections


def function(**sections):
    return {"trainable": {"function": "module:name"}} | sections


def grid(**search):
    parameters = [{"path": "trainable.config.lr", "grid": [1, 2]}]
    return function(search={"parameters": parameters, "metric": "reward", "mode": "max"} | search)


def faults(spec):
    with pytest.raises(InvalidConfiguration) as error:
        parse(spec)
    return {fault.field: f"{fault.problem}; {fault.remedy}" for fault in error.value.faults}


def test_defaults_are_those_of_the_api():
    specification = parse(ppo(evaluation={}, checkpoints={}))
    assert specification.sampling.env_runners == 1
    assert specification.sampling.envs_per_runner is None
    assert specification.learner.count == 0
    assert specification.evaluation.every_iterations == 1
    assert specification.evaluation.episodes == 10
    assert specification.evaluation.explore is False
    assert (specification.checkpoints.every_iterations, specification.checkpoints.keep) == (10, 3)
    search = parse(grid()).search
    assert (search.samples, search.max_concurrent_trials, search.best) == (1, 1, "BestEver")


def test_fields_of_the_operator_are_accepted():
    specification = parse(
        ppo(
            image="x", cluster={"worker": {"replicas": 2}}, suspend=False, backoffLimit=1, activeDeadlineSeconds=60,
            provisioningDeadlineSeconds=60, clusterTTLSecondsAfterFinished=0, ttlSecondsAfterFinished=1,
        )
    )  # fmt: skip
    assert specification.algorithm.name == "PPO"


def test_quantities_and_durations_are_those_of_kubernetes():
    specification = parse(ppo(sampling={"memoryPerEnvRunner": "512Mi"}, stop={"duration": "1h30m"}))
    assert specification.sampling.memory_per_env_runner == 512 * 1024**2
    assert specification.stop.duration == 5400


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        pytest.param(
            ppo(sampling={"envRunnersx": 2}),
            "spec.sampling.envRunnersx",
            "did you mean envRunners?",
            id="misspelt field",
        ),
        pytest.param(
            ppo(algorithm={"name": "PPO", "config": {"train_batch_size_per_learner": 64}}),
            "spec.algorithm.config.minibatch_size",
            "is 128, more than the 64 steps of a batch (train_batch_size_per_learner); write 64 or less",
            id="a default minibatch larger than the batch",
        ),
        pytest.param(
            ppo(algorithm={"name": "PPO", "config": {"minibatch_size": 5000}}),
            "spec.algorithm.config.minibatch_size",
            "is 5000, more than the 4000 steps",
            id="a minibatch larger than the default batch",
        ),
        pytest.param(ppo(algoritm={}), "spec.algoritm", "did you mean algorithm?", id="misspelt section"),
        pytest.param(ppo(sampling={"envRunners": 1.5}), "spec.sampling.envRunners", "whole number", id="fraction"),
        pytest.param(
            ppo(sampling={"envRunners": "2"}), "spec.sampling.envRunners", "without quotes", id="quoted number"
        ),
        pytest.param(ppo(sampling={"envRunners": True}), "spec.sampling.envRunners", "whole number", id="boolean"),
        pytest.param(ppo(sampling={"envRunners": -1}), "spec.sampling.envRunners", "at least 0", id="negative"),
        pytest.param(
            ppo(sampling={"memoryPerEnvRunner": "lots"}), "spec.sampling.memoryPerEnvRunner", "500m or 4Gi", id="memory"
        ),
        pytest.param(ppo(stop={"duration": "5"}), "spec.stop.duration", "with its units", id="duration without unit"),
        pytest.param(ppo(stop={"duration": "0s"}), "spec.stop.duration", "greater than 0", id="no duration"),
        pytest.param(
            ppo(algorithm={"name": "PPOO"}), "spec.algorithm.name", "did you mean PPO?", id="misspelt algorithm"
        ),
        pytest.param(
            ppo(algorithm={"name": "APEX"}), "spec.algorithm.name", "use DQN with several env runners", id="Ape-X"
        ),
        pytest.param(
            ppo(algorithm={"name": "ApeX-DQN"}), "spec.algorithm.name", "PrioritizedEpisodeReplayBuffer", id="Ape-X DQN"
        ),
        pytest.param(ppo(algorithm={}), "spec.algorithm.name", "is required", id="no name"),
        pytest.param(
            {"algorithm": {"name": "PPO"}, "stop": {"iterations": 1}},
            "spec.environment",
            "CartPole-v1",
            id="no environment",
        ),
        pytest.param(
            {"algorithm": {"name": "PPO"}, "environment": {"name": "x"}}, "spec.stop", "iterations", id="no stop"
        ),
        pytest.param(
            ppo(algorithm={"name": "IMPALA"}, sampling={"envRunners": 0}),
            "spec.sampling.envRunners",
            "1 or more",
            id="no runners",
        ),
        pytest.param({}, "spec", "set exactly one of algorithm, trainable, entrypoint", id="nothing to run"),
        pytest.param(
            ppo(entrypoint="x", resources={"cpus": 1}), "spec", "has algorithm and entrypoint", id="two workloads"
        ),
        pytest.param({"entrypoint": "x"}, "spec.resources", "{cpus: 2}", id="entrypoint without resources"),
        pytest.param(ppo(resources={"cpus": 1}), "spec.resources", "sampling", id="resources of an algorithm"),
        pytest.param(
            function(environment={"name": "x"}), "spec.environment", "trainable.config", id="environment of a function"
        ),
        pytest.param(
            function(trainable={"function": "nocolon"}),
            "spec.trainable.function",
            "write the function as module:name",
            id="no function",
        ),
        pytest.param(
            ppo(algorithm={"name": "PPO", "module": "Wide"}),
            "spec.algorithm.module",
            "write the class as module:Class",
            id="no class",
        ),
        pytest.param(
            ppo(environment={"name": "my env"}),
            "spec.environment.name",
            "a class as package.module:Class",
            id="no name of an environment",
        ),
        pytest.param(
            grid(parameters=[{"path": "trainable.config.l r", "grid": [1]}]),
            "spec.search.parameters[0].path",
            "for instance algorithm.config.lr",
            id="no path",
        ),
        pytest.param(
            ppo(cluster={"selektor": {}}), "spec.cluster.selektor", "did you mean selector?", id="misspelt in cluster"
        ),
        pytest.param(
            ppo(cluster={"worker": {"replica": 2}}),
            "spec.cluster.worker.replica",
            "did you mean replicas?",
            id="misspelt in a pod of the cluster",
        ),
        pytest.param(
            ppo(stop={"metrics": [{"metric": "a"}]}),
            "spec.stop.metrics[0]",
            "exactly one of atLeast and atMost",
            id="no bound",
        ),
        pytest.param(grid(mode="best"), "spec.search.mode", "'max' or 'min'", id="mode"),
        pytest.param(
            grid(parameters=[{"path": "trainable.config.a"}]),
            "spec.search.parameters[0]",
            "exactly one of grid",
            id="no values",
        ),
        pytest.param(
            grid(parameters=[{"path": "algorithm.config.lr", "grid": [1]}]),
            "spec.search.parameters[0].path",
            "begin it with trainable.config.",
            id="path of another workload",
        ),
        pytest.param(
            grid(parameters=[{"path": "trainable.config.a", "grid": [1]}] * 2),
            "spec.search.parameters[1].path",
            "given twice",
            id="path twice",
        ),
        pytest.param(
            grid(parameters=[{"path": "trainable.config.a", "uniform": {"min": 2, "max": 1}}]),
            "spec.search.parameters[0].uniform",
            "min must be less than max",
            id="empty range",
        ),
        pytest.param(
            grid(parameters=[{"path": "trainable.config.a", "logUniform": {"min": 0, "max": 1}}]),
            "spec.search.parameters[0].logUniform",
            "min must be greater than 0",
            id="logarithm of 0",
        ),
        pytest.param(
            ppo(storage={}),
            "spec.storage",
            "exactly one of spec.storage.persistentVolumeClaim and spec.storage.uri",
            id="no place",
        ),
        pytest.param(
            ppo(
                search={"parameters": [{"path": "algorithm.config.lr", "grid": [1]}], "metric": "m", "mode": "max"},
                earlyStopping={"metric": "m", "mode": "max", "patience": 1},
            ),
            "spec.earlyStopping",
            "end the trials with stop",
            id="early stopping under a search",
        ),
        pytest.param(
            ppo(earlyStopping={"metric": "validation/sharpe", "mode": "max", "patience": 1}),
            "spec.earlyStopping.metric",
            "add it, for instance evaluation: {episodes: 10}",
            id="a metric of no evaluation",
        ),
        pytest.param(
            ppo(test={}, stop={"metrics": [{"metric": "test/sharpe", "atLeast": 1}]}),
            "spec.stop.metrics[0].metric",
            "use a metric of training or validation",
            id="a metric of the end",
        ),
        pytest.param(
            ppo(
                search={"parameters": [{"path": "algorithm.config.lr", "grid": [1]}], "metric": "test/x", "mode": "max"}
            ),
            "spec.search.metric",
            "add it, for instance test: {episodes: 10}",
            id="a metric of no test",
        ),
    ],
)
def test_a_fault_names_its_field_and_what_to_do(spec, field, words):
    found = faults(spec)
    assert field in found, found
    assert words in found[field]


def test_all_faults_are_reported_at_once():
    spec = ppo(sampling={"envRunners": -1, "extra": 1}, seed="x", storage={})
    assert set(faults(spec)) == {"spec.sampling.envRunners", "spec.sampling.extra", "spec.seed", "spec.storage"}


def test_the_defaults_of_ppo_are_rllibs():
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig()
    assert (config.train_batch_size, config.minibatch_size) == (relations.PPO_BATCH, relations.PPO_MINIBATCH)
    assert config.train_batch_size_per_learner == config.train_batch_size


def test_a_minibatch_as_large_as_the_batch_is_well():
    config = {"train_batch_size_per_learner": 64, "minibatch_size": 64}
    assert parse(ppo(algorithm={"name": "PPO", "config": config})).algorithm.config == config
