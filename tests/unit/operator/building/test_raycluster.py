import hashlib

import pytest

from tests.unit.operator.builders import NAME, PPO, UID, run
from trainyard_operator import names
from trainyard_operator.building.raycluster import merge_template, ray_cluster
from trainyard_operator.building.sizing import SizingRules, size
from trainyard_operator.model import Manifest
from trainyard_operator.settings import TrainingDefaults

DEFAULTS = TrainingDefaults("example/training:1")
WORKERS = {"worker": {"replicas": 2}}


def made(defaults: TrainingDefaults = DEFAULTS, **spec) -> Manifest:
    return ray_cluster(run(**spec), size({**PPO, **spec}, SizingRules()), defaults)


def head_pod(cluster: Manifest) -> Manifest:
    return cluster["spec"]["headGroupSpec"]["template"]


def container(pod: Manifest) -> Manifest:
    return pod["spec"]["containers"][0]


def pods(cluster: Manifest) -> list[Manifest]:
    return [head_pod(cluster), *(g["template"] for g in cluster["spec"]["workerGroupSpecs"])]


class TestWhatKubeRayNeeds:
    def test_the_run_owns_the_cluster_without_blocking_its_deletion(self) -> None:
        (owner,) = made()["metadata"]["ownerReferences"]
        assert owner == {
            "apiVersion": "trainyard.dev/v1alpha1",
            "kind": "TrainingRun",
            "name": "cartpole",
            "uid": UID,
            "controller": True,
            "blockOwnerDeletion": False,
        }

    def test_the_version_of_ray_is_always_said(self) -> None:
        assert made()["spec"]["rayVersion"] == "2.60.0"
        assert made(rayVersion="2.61.0")["spec"]["rayVersion"] == "2.61.0"

    def test_a_lost_head_is_not_made_again(self) -> None:
        assert made()["metadata"]["annotations"]["ray.io/disable-provisioned-head-restart"] == "true"
        assert head_pod(made())["spec"]["restartPolicy"] == "Never"

    def test_there_is_at_most_one_worker_group_of_fixed_size_and_none_named_head(self) -> None:
        assert made()["spec"]["workerGroupSpecs"] == []
        (group,) = made(cluster=WORKERS)["spec"]["workerGroupSpecs"]
        assert (group["replicas"], group["minReplicas"], group["maxReplicas"]) == (2, 2, 2)
        assert group["groupName"] != "head"

    def test_the_token_is_on_unless_the_run_says_no(self) -> None:
        assert made()["spec"]["authOptions"] == {"mode": "token"}
        without = made(cluster={"auth": "None"})
        assert "authOptions" not in without["spec"]
        assert {"name": "RAY_AUTH_MODE", "value": "disabled"} in container(head_pod(without))["env"]

    def test_the_generation_it_was_made_from_is_on_it(self) -> None:
        assert made()["metadata"]["annotations"][names.ANNOTATION_GENERATION] == "1"


class TestStartUp:
    def test_no_cpu_limit_but_explicit_cpus_for_ray(self) -> None:
        cluster = made(cluster=WORKERS, sampling={"envRunners": 6})
        assert [list(container(pod)["resources"]["limits"]) for pod in pods(cluster)] == [["memory"], ["memory"]]
        assert cluster["spec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        assert cluster["spec"]["workerGroupSpecs"][0]["rayStartParams"]["num-cpus"] == "3"

    def test_the_memory_limit_equals_the_request(self) -> None:
        resources = container(head_pod(made()))["resources"]
        assert resources["limits"]["memory"] == resources["requests"]["memory"]

    def test_no_monitor_and_no_usage_statistics(self) -> None:
        params = made()["spec"]["headGroupSpec"]["rayStartParams"]
        assert params["no-monitor"] == "true"
        assert params["disable-usage-stats"] == "true"
        assert all(isinstance(value, str) and value != "false" for value in params.values())

    def test_readiness_is_asked_every_second(self) -> None:
        probe = container(head_pod(made()))["readinessProbe"]
        assert probe["httpGet"] == {"path": "/api/healthz", "port": 52365}
        assert probe["periodSeconds"] == 1
        assert probe.get("initialDelaySeconds", 0) == 0

    def test_pods_end_soon(self) -> None:
        assert all(pod["spec"]["terminationGracePeriodSeconds"] <= 5 for pod in pods(made(cluster=WORKERS)))


def test_pods_keep_to_the_restricted_profile() -> None:
    for pod in pods(made(cluster=WORKERS)):
        context = pod["spec"]["securityContext"]
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["spec"]["automountServiceAccountToken"] is False


class TestStorage:
    def test_a_claim_is_mounted_in_every_pod(self) -> None:
        claim = {"claimName": "results", "subPath": "a/b"}
        cluster = made(storage={"persistentVolumeClaim": claim}, cluster=WORKERS)
        for pod in pods(cluster):
            assert pod["spec"]["volumes"] == [{"name": "storage", "persistentVolumeClaim": {"claimName": "results"}}]
            assert container(pod)["volumeMounts"] == [
                {"name": "storage", "mountPath": "/trainyard/storage", "subPath": "a/b"}
            ]

    def test_the_operators_default_is_used_when_the_run_names_none(self) -> None:
        defaults = TrainingDefaults("x", storage={"persistentVolumeClaim": {"claimName": "shared"}})
        assert head_pod(made(defaults))["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "shared"}
        own = made(defaults, storage={"uri": "s3://bucket/x"})
        assert "volumes" not in head_pod(own)["spec"]

    def test_credentials_go_through_the_pod_only(self) -> None:
        cluster = made(storage={"uri": "s3://bucket", "secretRef": {"name": "s3"}})
        assert container(head_pod(cluster))["envFrom"] == [{"secretRef": {"name": "s3"}}]

    def test_the_database_url_reaches_the_head_only(self) -> None:
        cluster = made(recording={"database": {"secretRef": {"name": "records"}}}, cluster=WORKERS)
        head, worker = pods(cluster)
        wanted = {
            "name": "TRAINYARD_DATABASE_URL",
            "valueFrom": {"secretKeyRef": {"name": "records", "key": "url"}},
        }
        assert wanted in container(head)["env"]
        assert wanted not in container(worker).get("env", [])


class TestLabels:
    def test_pods_can_be_found_by_run(self) -> None:
        labels = head_pod(made())["metadata"]["labels"]
        assert labels[names.LABEL_RUN] == "cartpole"
        assert labels[names.LABEL_RUN_UID] == UID

    def test_the_queue_is_a_label_of_the_cluster_alone(self) -> None:
        cluster = made(cluster={"queueName": "team-queue"})
        assert cluster["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-queue"
        assert "kueue.x-k8s.io/queue-name" not in head_pod(cluster)["metadata"]["labels"]

    def test_users_labels_come_along_and_cannot_replace_ours(self) -> None:
        cluster = made(cluster={"labels": {"team": "a", names.LABEL_RUN: "other"}, "annotations": {"note": "x"}})
        assert cluster["metadata"]["labels"]["team"] == "a"
        assert cluster["metadata"]["labels"][names.LABEL_RUN] == "cartpole"
        assert cluster["metadata"]["annotations"]["note"] == "x"
        assert head_pod(cluster)["metadata"]["labels"]["team"] == "a"


@pytest.mark.parametrize(
    ("spread", "word"), [("Preferred", "preferredDuring"), ("Required", "requiredDuring")], ids=["prefer", "require"]
)
def test_spread_keeps_pods_apart(spread, word) -> None:
    for pod in pods(made(cluster={"spread": spread})):
        (kind,) = pod["spec"]["affinity"]["podAntiAffinity"]
        assert kind.startswith(word)


class TestTheUsersTemplate:
    generated = made()["spec"]["headGroupSpec"]["template"]

    def test_is_merged_by_the_containers_name(self) -> None:
        over = {"spec": {"containers": [{"name": "ray", "env": [{"name": "A", "value": "1"}]}]}}
        merged = container(merge_template(self.generated, over))
        assert merged["env"] == [{"name": "A", "value": "1"}]
        assert merged["image"] == "example/training:1"

    def test_can_add_a_sidecar_behind_ray(self) -> None:
        over = {"spec": {"containers": [{"name": "logs", "image": "x"}], "nodeSelector": {"gpu": "a"}}}
        merged = merge_template(self.generated, over)
        assert [c["name"] for c in merged["spec"]["containers"]] == ["ray", "logs"]
        assert merged["spec"]["nodeSelector"] == {"gpu": "a"}

    def test_keeps_what_it_does_not_name(self) -> None:
        merged = merge_template(self.generated, {"metadata": {"labels": {"a": "b"}}})
        assert merged["metadata"]["labels"] == {**self.generated["metadata"]["labels"], "a": "b"}

    def test_of_the_specification_is_used(self) -> None:
        pod = head_pod(made(cluster={"head": {"template": {"spec": {"priorityClassName": "high"}}}}))
        assert pod["spec"]["priorityClassName"] == "high"


class TestNames:
    def test_a_cluster_name_fits_kuberays_children(self) -> None:
        long = names.cluster_name("a" * 45, UID, 100)
        assert len(long) <= 50
        assert long.startswith("a" * 40)

    def test_a_run_applied_again_gets_another_cluster(self) -> None:
        assert names.cluster_name("x", "uid-1", 1) != names.cluster_name("x", "uid-2", 1)
        assert names.cluster_name("x", "uid-1", 1) != names.cluster_name("x", "uid-1", 2)

    def test_names_do_not_change_between_processes(self) -> None:
        assert f"cartpole-{hashlib.sha256(UID.encode()).hexdigest()[:5]}-1" == NAME

    def test_a_token_follows_from_key_uid_and_attempt(self) -> None:
        tokens = {
            names.auth_token(b"k", "u", 1),
            names.auth_token(b"k", "u", 2),
            names.auth_token(b"k", "v", 1),
            names.auth_token(b"l", "u", 1),
        }
        assert len(tokens) == 4
        assert names.auth_token(b"k", "u", 1) in tokens
