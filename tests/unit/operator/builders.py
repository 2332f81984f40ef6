"""Makers of what the operator's tests observe: a run, its cluster, pods and readings, each with a sensible default."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from trainyard_operator import names
from trainyard_operator.model import Cluster, Job, JobState, Key, Observed, Plan, Pod, PodEnd, PodProblem, Run
from trainyard_operator.policies import Context
from trainyard_operator.readings.progress_line import ProgressLine
from trainyard_operator.settings import Settings, TrainingDefaults
from trainyard_operator.status import Attempt, Status
from trainyard_operator.vocabulary import FINALIZER, Phase

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
UID = "0c6f2b6e-5f0e-4a5e-9c7d-3d1f0a9b8c7d"
KEY = Key("team", "cartpole")
SETTINGS = Settings(namespace="system", key=b"0123456789abcdef", training=TrainingDefaults("example/training:1"))
CONTEXT = Context(NOW, SETTINGS)
ANALYSIS = {
    "convergence": {
        "trend": "Improving",
        "points": 30,
        "slope": 0.5,
        "slopeStandardError": 0.01,
        "lateGain": 0.2,
        "diminishingReturns": 0.9,
    },
    "overfitting": {
        "verdict": "No",
        "bestIteration": 7,
        "fall": 0.1,
        "trainChange": 0.2,
        "validationSlope": 0.01,
    },
    "generalisation": {
        "metric": "sharpe",
        "validationGap": 0.3,
        "testGap": -0.1,
        "validationVerdict": "Better",
        "testVerdict": "Unclear",
    },
}
"""Verdicts with every number, in the form of a progress line and of a status."""
PPO: dict[str, Any] = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 10}}
NAME = names.cluster_name(KEY.name, UID, 1)
JOB = names.job_id(UID, 1, 1)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def at(seconds: float) -> Context:
    """The context that many seconds after NOW."""
    return replace(CONTEXT, now=NOW + timedelta(seconds=seconds))


def run(status: Status | None = None, *, generation: int = 1, deleting: bool = False, **spec: Any) -> Run:
    return Run(KEY, UID, generation, "7", deleting, {**PPO, **spec}, status or Status())


def provisioning(**changes: Any) -> Status:
    """A run whose cluster was created ten seconds ago."""
    status = Status(
        observed_generation=1,
        started_generation=1,
        phase=Phase.PROVISIONING,
        cluster_name=NAME,
        start_time=ago(10),
        attempt_start_time=ago(10),
        seed=3,
    )
    return replace(status, **changes)


def submitted(**changes: Any) -> Status:
    """A run whose job was accepted five seconds ago."""
    return provisioning(**{"job_id": JOB, "submit_time": ago(5), **changes})


def running(**changes: Any) -> Status:
    return submitted(**{"phase": Phase.RUNNING, **changes})


def failed_attempt(number: int = 1, **changes: Any) -> Attempt:
    return replace(Attempt(number, NAME, JOB, ago(60), ago(1), "DriverFailed", "exit 1", 1), **changes)


def cluster(**changes: Any) -> Cluster:
    made = Cluster(
        name=NAME,
        uid="c-1",
        owner_uid=UID,
        generation=1,
        deleting=False,
        suspended=False,
        suspension_changed=None,
        head_service=f"{NAME}-head-svc",
        desired_workers=0,
    )
    return replace(made, **changes)


def head(**changes: Any) -> Pod:
    return replace(Pod(f"{NAME}-head", True, "Running", True, False, "10.0.0.1", steps=4), **changes)


def worker(number: int = 0, **changes: Any) -> Pod:
    return replace(
        Pod(f"{NAME}-worker-{number}", False, "Running", True, False, f"10.0.1.{number}", steps=4), **changes
    )


def stuck(reason: str, message: str = "", **changes: Any) -> Pod:
    problem = PodProblem(reason, message)
    return head(**{"phase": "Pending", "ready": False, "problem": problem, **changes})


def ended(reason: str = "Error", code: int | None = 1, **changes: Any) -> Pod:
    return head(**{"phase": "Failed", "ready": False, "end": PodEnd(reason, code), **changes})


def line(**changes: Any) -> ProgressLine:
    made = ProgressLine(
        job_id=JOB,
        seq=3,
        time=NOW.timestamp(),
        final=False,
        started_iteration=0,
        lost_iterations=0,
        progress={"iteration": 3, "percent": 30.0},
        metrics={},
        trials=None,
        best=None,
        checkpoint=None,
        analysis=None,
        conditions=(),
        failure=None,
        summary=None,
        raw="{}",
    )
    return replace(made, **changes)


def job(state: JobState = JobState.RUNNING, code: int | None = None, message: str = "") -> Job:
    return Job(state, message, code)


def observed(status: Status | None = None, **changes: Any) -> Observed:
    """An observation of a run with that status; `spec` changes the specification.

    With a reading of the job, its progress file has been read, too.
    """
    spec = changes.pop("spec", {})
    generation = changes.pop("generation", 1)
    reading = changes.get("job")
    if reading is not None and reading.state not in (JobState.UNREACHABLE, JobState.ABSENT):
        changes = {"progress_read": True, "progress_complete": reading.over, **changes}
    made = Observed(run(status, generation=generation, **spec), kuberay=True, may_call=True)
    return replace(made, **changes)


def alive(status: Status | None = None, **changes: Any) -> Observed:
    """The same, with a cluster and its head."""
    return observed(status, **{"cluster": cluster(), "pods": (head(),), **changes})


def on_existing(
    status: Status | None = None, *, guarded: bool = True, deleted: float | None = None, **changes: Any
) -> Observed:
    """A run on an existing cluster that it has chosen; `deleted` is how many seconds ago its deletion was asked for."""
    spec = {"cluster": {"selector": {"matchLabels": {"team": "rl"}}}, **changes.pop("spec", {})}
    one = alive(status, **{"cluster": cluster(owner_uid=""), "spec": spec, **changes})
    finalizers = ("example.com/other", FINALIZER) if guarded else ("example.com/other",)
    gone = {"deleting": deleted is not None, "deletion_time": None if deleted is None else ago(deleted)}
    return replace(one, run=replace(one.run, finalizers=finalizers, **gone))


def plan(one: Observed) -> Plan:
    return Plan(one.run.status)
