import json
import shlex
from dataclasses import replace

import pytest

from tests.unit.operator.builders import (
    CONTEXT,
    KEY,
    NOW,
    SETTINGS,
    alive,
    observed,
    plan,
    provisioning,
    run,
    running,
)
from trainyard_operator.decide import decide
from trainyard_operator.model import CreateCluster, FailureKind, Key
from trainyard_operator.policies.resumption import resumption
from trainyard_operator.status import Status
from trainyard_operator.vocabulary import Phase, Reason

CLAIM = {"persistentVolumeClaim": {"claimName": "results", "subPath": "/a/"}}
FOLDER = "file:///trainyard/storage/team/first/u-1"
BOTH = {"latest": {"uri": f"{FOLDER}/checkpoints/10"}, "best": {"uri": f"{FOLDER}/checkpoints/best"}}


def source(checkpoint=BOTH, storage=CLAIM, phase=Phase.SUCCEEDED):
    status = running(phase=phase, checkpoint=checkpoint)
    spec = {"storage": storage} if storage else {}
    return replace(run(status, **spec), key=Key(KEY.namespace, "first"))


def starting(found=None, *, status=None, storage=CLAIM, **wanted):
    spec = {"resumeFrom": {"run": "first", **wanted}} | ({"storage": storage} if storage else {})
    return observed(status, source=found, spec=spec)


def decided(one):
    return resumption(one, plan(one), CONTEXT)


class TestThePlace:
    @pytest.mark.parametrize("which", ["Latest", "Best"])
    def test_is_the_runs_folder_and_goes_on_record(self, which) -> None:
        made = decided(starting(source(), checkpoint=which))
        assert made.status.resumed_from == {"run": "first", "uri": FOLDER}
        assert made.failure is None

    def test_behind_a_uri_needs_no_claim(self) -> None:
        latest = {"latest": {"uri": "s3://b/team/first/u/checkpoints/3"}}
        made = decided(starting(source(latest, {"uri": "s3://b"}), storage=None))
        assert made.status.resumed_from["uri"] == "s3://b/team/first/u"

    def test_keeps_the_options_of_its_uri(self) -> None:
        options = "?scheme=http&endpoint_override=minio:9000"
        latest = {"latest": {"uri": f"s3://b/team/first/u/checkpoints/3{options}"}}
        made = decided(starting(source(latest, {"uri": f"s3://b{options}"}), storage=None))
        assert made.status.resumed_from["uri"] == f"s3://b/team/first/u{options}"

    def test_reaches_the_driver_instead_of_the_name(self) -> None:
        status = provisioning(resumed_from={"run": "first", "uri": FOLDER})
        wanted = {"resumeFrom": {"run": "first", "checkpoint": "Best", "restore": "Weights"}}
        (effect,) = decide(alive(status, spec=wanted), NOW, SETTINGS).effects
        values = dict(word.split("=", 1) for word in shlex.split(effect.entrypoint) if word.startswith("TRAINYARD_"))
        resumed = json.loads(values["TRAINYARD_RUN"])["spec"]["resumeFrom"]
        assert resumed == {"uri": FOLDER, "checkpoint": "Best", "restore": "Weights"}

    @pytest.mark.parametrize(
        "one",
        [
            starting(status=provisioning(resumed_from={"run": "first", "uri": FOLDER})),
            starting(status=provisioning()),
            starting(status=Status(phase=Phase.SUSPENDED)),
            observed(spec={"resumeFrom": {"uri": FOLDER}}),
            observed(),
        ],
        ids=["on record", "started", "suspended", "a place already", "nothing to resume"],
    )
    def test_is_looked_for_once(self, one) -> None:
        assert decided(one) == plan(one)

    def test_of_another_run_after_a_correction(self) -> None:
        made = decided(starting(source(), status=Status(resumed_from={"run": "wrong", "uri": "x"})))
        assert made.status.resumed_from == {"run": "first", "uri": FOLDER}


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(
        ("one", "words", "field"),
        [
            (starting(None), "there is no TrainingRun first in namespace team; correct the name", "run"),
            (starting(source(storage=None)), "first has no spec.storage, so its checkpoints are lost", "run"),
            (starting(source(None)), "first (phase Succeeded) has no latest checkpoint; use another run", "run"),
            (
                starting(source(None, phase=Phase.RUNNING)),
                "(phase Running) has no latest checkpoint; wait until",
                "run",
            ),
            (starting(source({"latest": BOTH["latest"]}), checkpoint="Best"), "use checkpoint: Latest", "run"),
            (starting(source(), storage=None), "are in the claim results (subPath a), which this run does not", ""),
            (starting(source(), storage={"uri": "s3://b"}), "give it the same spec.storage", ""),
            (starting(source(), run=KEY.name), "continues from its own checkpoints by itself", "run"),
        ],
        ids=["missing", "no storage", "no checkpoint", "not yet", "no best", "no claim", "other storage", "itself"],
    )
    def test_is_refused_with_what_to_do(self, one, words, field) -> None:
        failure = decided(one).failure
        assert (failure.kind, failure.reason) == (FailureKind.USER, Reason.RESUME_SOURCE)
        assert words in failure.message
        assert failure.field == ("spec.resumeFrom.run" if field else "spec.storage")

    def test_makes_no_cluster_and_is_not_retried(self) -> None:
        made = decide(starting(None), NOW, SETTINGS)
        assert (made.status.phase, made.status.failures, made.effects) == (Phase.FAILED, 0, ())
        assert made.status.start_time is None, "it can be corrected in place"

    def test_a_found_one_starts_in_the_same_pass(self) -> None:
        (effect,) = decide(starting(source()), NOW, SETTINGS).effects
        assert isinstance(effect, CreateCluster)
