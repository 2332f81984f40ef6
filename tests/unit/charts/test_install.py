"""The chart and the kustomize base install the same thing, with no more rights than needed."""

import copy
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.charts.conftest import CHART, KUBERNETES, ROOT, Manifests, Object
from trainyard_operator import settings

Helm = Callable[..., subprocess.CompletedProcess[str]]
Template = Callable[..., Manifests]
BOTH = ["chart", "base"]
READ_SECRET = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}


@pytest.fixture(params=BOTH)
def installed(request: pytest.FixtureRequest) -> Manifests:
    return request.getfixturevalue(request.param)


def operator(manifests: Manifests) -> Object:
    (container,) = manifests.one("Deployment")["spec"]["template"]["spec"]["containers"]
    return container


def variables(manifests: Manifests) -> dict[str, str]:
    """What the operator's environment is made of: the settings and the container's own variables."""
    own = {entry["name"]: entry.get("value", "<from>") for entry in operator(manifests)["env"]}
    return manifests.one("ConfigMap")["data"] | own


class TestSame:
    def test_the_crd(self, chart: Manifests, base: Manifests) -> None:
        a, b = chart.one("CustomResourceDefinition"), base.one("CustomResourceDefinition")
        assert a["spec"] == b["spec"]
        assert (
            a["spec"]
            == yaml.safe_load((CHART / "files" / "crd" / "trainyard.dev_trainingruns.yaml").read_text())["spec"]
        )

    @pytest.mark.parametrize("kind", ["ClusterRole", "Role"])
    def test_the_rules(self, kind: str, chart: Manifests, base: Manifests) -> None:
        a, b = ({o["metadata"]["name"]: o["rules"] for o in side.every(kind)} for side in (chart, base))
        assert a == b

    @pytest.mark.parametrize("kind", ["ClusterRoleBinding", "RoleBinding"])
    def test_who_has_them(self, kind: str, chart: Manifests, base: Manifests) -> None:
        a, b = chart.one(kind), base.one(kind)
        assert (a["roleRef"], a["subjects"]) == (b["roleRef"], b["subjects"])

    def test_the_aggregation_labels(self, chart: Manifests, base: Manifests) -> None:
        for name in ("trainyard-view", "trainyard-edit"):
            a, b = (side.one("ClusterRole", name)["metadata"]["labels"] for side in (chart, base))
            aggregated = "rbac.authorization.k8s.io/aggregate-to-"
            assert {k for k in a if k.startswith(aggregated)} == {k for k in b if k.startswith(aggregated)} != set()

    def test_the_pods(self, chart: Manifests, base: Manifests) -> None:
        a, b = (pod_spec(side) for side in (chart, base))
        assert a == b

    def test_the_service(self, chart: Manifests, base: Manifests) -> None:
        assert chart.one("Service")["spec"] == base.one("Service")["spec"]

    def test_the_settings(self, chart: Manifests, base: Manifests) -> None:
        """Those that the base leaves out are the operator's own defaults."""
        a, b = variables(chart), variables(base)
        assert settings_of(a) == settings_of(b)


def pod_spec(manifests: Manifests) -> Object:
    spec = copy.deepcopy(manifests.one("Deployment")["spec"]["template"]["spec"])
    for container in spec["containers"]:
        container["envFrom"][0]["configMapRef"]["name"] = "trainyard-settings"
    return spec


def settings_of(given: dict[str, str]) -> settings.Settings:
    known = {key: "k" * 32 if key.endswith("_KEY") else value for key, value in given.items()}
    return settings.load([], known)


class TestRights:
    def test_there_are_no_wildcards(self, installed: Manifests) -> None:
        for role in installed.every("ClusterRole") + installed.every("Role"):
            for rule in role["rules"]:
                assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]

    def test_nobody_reads_secrets(self, installed: Manifests) -> None:
        for role in installed.every("ClusterRole") + installed.every("Role"):
            for rule in role["rules"]:
                if "secrets" in rule["resources"]:
                    assert rule["verbs"] == ["create"]

    def test_the_operator_patches_runs_for_its_finalizer_and_makes_or_replaces_none(self, installed: Manifests) -> None:
        rules = installed.one("ClusterRole", "trainyard-operator")["rules"]
        (verbs,) = [rule["verbs"] for rule in rules if rule["resources"] == ["trainingruns"]]
        assert set(verbs) == {"get", "list", "watch", "patch", "delete"}

    def test_a_token_secret_is_readable_where_asked_for_by_its_name_alone(self, template: Template) -> None:
        manifests = template(
            "existingClusters.tokenSecrets[0].namespace=team-a",
            "existingClusters.tokenSecrets[0].secrets={shared,other}",
            "existingClusters.tokenSecrets[1].namespace=team-b",
            "existingClusters.tokenSecrets[1].secrets={shared}",
        )
        name = "trainyard-operator-cluster-tokens"
        roles = [role for role in manifests.every("Role") if role["metadata"]["name"] == name]
        assert [(role["metadata"]["namespace"], role["rules"]) for role in roles] == [
            ("team-a", [{**READ_SECRET, "resourceNames": ["shared", "other"]}]),
            ("team-b", [{**READ_SECRET, "resourceNames": ["shared"]}]),
        ]
        bindings = [one for one in manifests.every("RoleBinding") if one["metadata"]["name"] == name]
        assert [one["metadata"]["namespace"] for one in bindings] == ["team-a", "team-b"]
        assert {one["roleRef"]["name"] for one in bindings} == {name}
        assert bindings[0]["subjects"] == manifests.one("ClusterRoleBinding")["subjects"]

    def test_leases_are_only_those_of_its_own_namespace(self, installed: Manifests) -> None:
        assert not any("leases" in r["resources"] for role in installed.every("ClusterRole") for r in role["rules"])
        assert any("leases" in r["resources"] for r in installed.one("Role")["rules"])

    def test_with_namespaces_given_there_is_no_cluster_wide_right(self, template: Template) -> None:
        manifests = template("watchNamespaces={team-a,team-b}", "rbac.aggregateToUserRoles=false")
        assert manifests.every("ClusterRole") == manifests.every("ClusterRoleBinding") == []
        roles = [o for o in manifests.every("Role") if o["metadata"]["name"] == "trainyard-operator"]
        assert [o["metadata"]["namespace"] for o in roles] == ["team-a", "team-b"]
        assert variables(manifests)["TRAINYARD_OPERATOR_WATCH_NAMESPACES"] == "team-a,team-b"


class TestPods:
    def test_they_satisfy_the_restricted_profile(self, installed: Manifests) -> None:
        pod = installed.one("Deployment")["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"] + pod["initContainers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}

    def test_they_are_probed_where_the_operator_answers(self, installed: Manifests) -> None:
        container = operator(installed)
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
        assert container["ports"] == [{"name": "http", "containerPort": settings.Settings.http_port}]

    def test_the_selector_matches_them_and_only_them(self, installed: Manifests) -> None:
        deployment = installed.one("Deployment")["spec"]
        labels = deployment["template"]["metadata"]["labels"]
        assert deployment["selector"]["matchLabels"].items() <= labels.items()
        assert installed.one("Service")["spec"]["selector"] == deployment["selector"]["matchLabels"]
        assert labels["app.kubernetes.io/name"] == "trainyard"

    def test_every_variable_is_a_setting_of_the_operator(self, installed: Manifests) -> None:
        known = {option.variable for option in settings.OPTIONS}
        assert {name for name in variables(installed) if name.startswith(settings.PREFIX)} <= known

    def test_no_variable_is_both_a_setting_and_the_containers_own(self, installed: Manifests) -> None:
        own = {entry["name"] for entry in operator(installed)["env"]}
        assert not own & set(installed.one("ConfigMap")["data"])


class TestValues:
    def test_replicas(self, template: Template) -> None:
        assert template("replicas=2").one("Deployment")["spec"]["replicas"] == 2

    def test_images(self, template: Template) -> None:
        manifests = template(
            "image.repository=localhost:5000/operator",
            "image.tag=abc",
            "image.pullPolicy=Always",
            "training.image.repository=localhost:5000/training",
            "training.image.tag=def",
            "training.image.pullPolicy=Never",
        )
        pod = manifests.one("Deployment")["spec"]["template"]["spec"]
        for container in pod["containers"] + pod["initContainers"]:
            assert (container["image"], container["imagePullPolicy"]) == ("localhost:5000/operator:abc", "Always")
        assert variables(manifests)["TRAINYARD_OPERATOR_TRAINING_IMAGE"] == "localhost:5000/training:def"
        assert variables(manifests)["TRAINYARD_OPERATOR_IMAGE_PULL_POLICY"] == "Never"

    def test_without_a_tag_the_image_is_that_of_the_charts_version(self, chart: Manifests) -> None:
        version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
        assert operator(chart)["image"] == f"trainyard/operator:{version}"

    def test_default_storage(self, template: Template) -> None:
        manifests = template("training.storage.persistentVolumeClaim.claimName=results")
        storage = settings_of(variables(manifests)).training.storage
        assert storage == {"persistentVolumeClaim": {"claimName": "results"}}

    def test_sizes(self, template: Template) -> None:
        rules = settings_of(
            variables(template("sizing.cpuRequestPerLogicalCpu=0.5", "sizing.podMaxCpu=16", "sizing.podMaxMemory=64Gi"))
        ).sizing
        assert (rules.cpu_request_per_logical_cpu, rules.pod_max_cpu, rules.pod_max_memory) == (0.5, 16, 64 * 2**30)

    def test_the_log_level(self, template: Template) -> None:
        assert settings_of(variables(template("logLevel=debug"))).log_level == "DEBUG"

    def test_an_own_key(self, template: Template) -> None:
        manifests = template("operatorKey.existingSecret=mine")
        assert "initContainers" not in manifests.one("Deployment")["spec"]["template"]["spec"]
        (key,) = [e for e in operator(manifests)["env"] if e["name"] == "TRAINYARD_OPERATOR_KEY"]
        assert key["valueFrom"]["secretKeyRef"] == {"name": "mine", "key": "key"}

    def test_the_crd_can_be_left_out(self, template: Template) -> None:
        assert template("crds.enabled=false").every("CustomResourceDefinition") == []

    def test_the_crd_is_kept_when_the_chart_goes_unless_told_otherwise(
        self, chart: Manifests, template: Template
    ) -> None:
        kept = chart.one("CustomResourceDefinition")["metadata"]["annotations"]
        assert kept == {"helm.sh/resource-policy": "keep"}
        assert "annotations" not in template("crds.keep=false").one("CustomResourceDefinition")["metadata"]

    def test_a_change_of_the_settings_starts_new_pods(self, chart: Manifests, template: Template) -> None:
        def checksum(manifests: Manifests) -> str:
            metadata = manifests.one("Deployment")["spec"]["template"]["metadata"]
            return metadata["annotations"]["checksum/settings"]

        assert checksum(chart) != checksum(template("logLevel=debug"))

    def test_scheduling_and_metadata(self, template: Template) -> None:
        manifests = template(
            "nodeSelector.disk=ssd",
            "tolerations[0].key=a",
            "tolerations[0].operator=Exists",
            "podLabels.team=x",
            "podAnnotations.note=y",
            "imagePullSecrets[0].name=pull",
            "service.port=9000",
            "service.annotations.note=z",
            "serviceAccount.annotations.note=w",
        )
        template_ = manifests.one("Deployment")["spec"]["template"]
        assert template_["spec"]["nodeSelector"] == {"disk": "ssd"}
        assert template_["spec"]["tolerations"] == [{"key": "a", "operator": "Exists"}]
        assert template_["metadata"]["labels"]["team"] == "x"
        assert template_["metadata"]["annotations"]["note"] == "y"
        account = manifests.one("ServiceAccount")
        assert account["imagePullSecrets"] == [{"name": "pull"}]
        assert account["metadata"]["annotations"] == {"note": "w"}
        service = manifests.one("Service")
        assert (service["spec"]["ports"][0]["port"], service["metadata"]["annotations"]) == (9000, {"note": "z"})

    @pytest.mark.parametrize(
        ("value", "fragment"),
        [
            ("replica=2", "'replica' not allowed"),
            ("image.name=x", "'name' not allowed"),
            ("replicas=-1", "/replicas"),
            ("logLevel=loud", "/logLevel"),
            ("training.rayVersion=2.60", "/training/rayVersion"),
            ("training.storage.secretRef.name=x", "/training/storage"),
            ("sizing.podMaxMemory=lots", "/sizing/podMaxMemory"),
            ("sizing.cpuRequestPerLogicalCpu=1.5", "/sizing/cpuRequestPerLogicalCpu"),
            ("watchNamespaces={UPPER}", "/watchNamespaces/0"),
            ("existingClusters.tokenSecrets[0].namespace=team", "/existingClusters/tokenSecrets/0"),
            ("existingClusters.tokenSecrets={shared}", "/existingClusters/tokenSecrets/0"),
        ],
    )
    def test_a_wrong_value_is_refused_with_its_path(self, value: str, fragment: str, helm: Helm) -> None:
        result = helm("template", "trainyard", CHART, f"--kube-version={KUBERNETES}", "--set", value)
        assert result.returncode != 0
        assert fragment in result.stderr


SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def paths(values: dict[str, Any], schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Every value with the schema that it is held against."""
    found = []
    for key, value in values.items():
        here = schema["properties"][key]
        found.append((f"{path}{key}", here))
        if isinstance(value, dict) and "properties" in here:
            found += paths(value, here, f"{path}{key}.")
    return found


def test_the_default_values_are_those_of_the_schema() -> None:
    jsonschema.validate(VALUES, SCHEMA)


def test_every_value_is_in_the_schema_and_back() -> None:
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)


def test_no_object_of_the_schema_takes_what_it_does_not_know() -> None:
    for path, schema in paths(VALUES, SCHEMA):
        if "properties" in schema:
            assert schema["additionalProperties"] is False, path


class TestPackage:
    def test_the_packaged_chart_renders_the_same(self, helm: Helm, template: Template, tmp_path: Path) -> None:
        result = helm("package", CHART, "--destination", tmp_path)
        assert result.returncode == 0, result.stderr
        (package,) = tmp_path.glob("*.tgz")
        assert template(chart=package) == template()

    def test_lint(self, helm: Helm) -> None:
        result = helm("lint", "--strict", CHART, f"--kube-version={KUBERNETES}")
        assert result.returncode == 0, result.stdout

    @pytest.mark.parametrize("folder", ["crd", "rbac"])
    def test_the_chart_has_no_copy_of_its_own(self, folder: str) -> None:
        link = CHART / "files" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / "manifests" / folder
        assert not Path(os.readlink(link)).is_absolute()
