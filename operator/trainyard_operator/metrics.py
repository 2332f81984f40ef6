"""/metrics: the operator's own instruments, and a collector over the cache, so that a series ends with its object.

Labels are namespace, name and closed sets; names contain the base unit. Only the holder of the Lease exports the series
of runs. For a run that is over, these have the values of its status; there are no series of its trials.
docs/reference/prometheus.md lists all metrics.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from trainyard_operator.cache import Cache, Kind
from trainyard_operator.model import Key
from trainyard_operator.observe import Memory
from trainyard_operator.readings.objects import key_of
from trainyard_operator.readings.progress_line import ProgressLine
from trainyard_operator.vocabulary import TERMINAL, Phase

RUN = ["namespace", "name"]
TRIAL = [*RUN, "trial"]
MAX_TRIALS = 20
"""Most trials of one run that have their own series: first the running trials, then the latest."""
PENDING = "Pending"
VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}

PROGRESS = {
    "percent": ("trainyard_run_progress_ratio", "Share of the nearest stop criterion that is done, 0 to 1.", 0.01),
    "iteration": ("trainyard_run_iterations", "Training iterations done.", 1),
    "envSteps": ("trainyard_run_env_steps", "Environment steps done.", 1),
    "envStepsPerSecond": ("trainyard_run_env_steps_per_second", "Environment steps per second.", 1),
    "episodes": ("trainyard_run_episodes", "Episodes finished.", 1),
    "episodesPerSecond": ("trainyard_run_episodes_per_second", "Episodes finished per second.", 1),
    "episodeReturnMean": ("trainyard_run_episode_return_mean", "Mean return of the last 100 finished episodes.", 1),
    "estimatedSecondsLeft": ("trainyard_run_estimated_remaining_seconds", "Time to the end at the present pace.", 1),
}
"""Keys of the driver's progress: metric, help, factor to the base unit."""
RATES = frozenset({"envStepsPerSecond", "episodesPerSecond", "estimatedSecondsLeft"})
"""Keys that have a meaning only while the run is active."""
LOSS = "train/loss"


class Instruments:
    """The operator's metrics about itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reconciles = Histogram(
            "trainyard_operator_reconcile_duration_seconds",
            "Time of one pass over one run.",
            ["outcome"],
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.requests = Counter(
            "trainyard_operator_api_requests",
            "Requests to the Kubernetes API by verb, resource and status code (0: no answer).",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.request_seconds = Histogram(
            "trainyard_operator_api_request_duration_seconds",
            "Time of requests to the Kubernetes API.",
            ["verb"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15),
            registry=registry,
        )
        self.events = Counter(
            "trainyard_operator_watch_events", "Events received from watches.", ["kind"], registry=registry
        )
        self.repairs = Counter(
            "trainyard_operator_cache_repairs",
            "Runs for which a list showed what watches had missed.",
            registry=registry,
        )
        self.leader = Gauge("trainyard_operator_leader", "1 on the replica that holds the Lease.", registry=registry)
        for kind in Kind:
            self.events.labels(kind)
        for outcome in ("success", "retry", "error"):
            self.reconciles.labels(outcome)

    def observe_request(self, method: str, resource: str, status: int, seconds: float) -> None:
        verb = VERBS.get(method, method.lower())
        self.requests.labels(verb, resource, str(status)).inc()
        self.request_seconds.labels(verb).observe(seconds)


@dataclass(eq=False)
class RunCollector(Collector):
    """Series of runs and trials. Every scrape makes them from the cache and the latest readings."""

    cache: Cache
    memory: Callable[[Key], Memory | None]
    is_leader: Callable[[], bool]
    queue_depth: Callable[[], int]
    watch_age: Callable[[], Mapping[str, float]]

    def collect(self) -> Iterable[Metric]:
        depth = GaugeMetricFamily("trainyard_operator_queue_depth", "Runs that wait for a worker.")
        depth.add_metric([], self.queue_depth())
        yield depth
        age = GaugeMetricFamily(
            "trainyard_operator_watch_age_seconds",
            "Time since the stream of a watch was last known to have missed nothing.",
            labels=["kind"],
        )
        for kind, seconds in self.watch_age().items():
            age.add_metric([kind], seconds)
        yield age
        if self.is_leader():
            yield from self._runs()

    def describe(self) -> Iterable[Metric]:
        """Describes nothing in advance: the series depend on the cache."""
        return ()

    def _runs(self) -> Iterator[Metric]:
        phases = GaugeMetricFamily(
            "trainyard_run_phase", "1 for the run's phase, 0 for the others.", labels=[*RUN, "phase"]
        )
        info = GaugeMetricFamily(
            "trainyard_run_info", "What runs: its kind, and the algorithm or function.", labels=[*RUN, "kind", "what"]
        )
        failures = GaugeMetricFamily("trainyard_run_failures", "Failures charged to backoffLimit.", labels=RUN)
        attempt = GaugeMetricFamily("trainyard_run_attempt", "Number of the current attempt.", labels=RUN)
        loss = GaugeMetricFamily("trainyard_run_loss", "Latest training loss.", labels=RUN)
        best = GaugeMetricFamily("trainyard_run_best_metric", "Best value of the metric.", labels=[*RUN, "metric"])
        states = GaugeMetricFamily("trainyard_run_trials", "Trials by state.", labels=[*RUN, "state"])
        progress = {k: (GaugeMetricFamily(n, h, labels=RUN), f) for k, (n, h, f) in PROGRESS.items()}
        trial_info = GaugeMetricFamily("trainyard_trial_state", "1 for the trial's state.", labels=[*TRIAL, "state"])
        trial_iterations = GaugeMetricFamily(
            "trainyard_trial_iterations", "Iterations done by the trial.", labels=TRIAL
        )
        trial_metric = GaugeMetricFamily("trainyard_trial_metric", "Latest value by name.", labels=[*TRIAL, "metric"])
        for form in self.cache.runs():
            key, status = key_of(form), form.get("status", {})
            labels = [key.namespace, key.name]
            for phase in Phase:
                phases.add_metric([*labels, phase], float(status.get("phase", Phase.PENDING) == phase))
            info.add_metric([*labels, *what_runs(form.get("spec", {}))], 1)
            failures.add_metric(labels, status.get("failures", 0))
            attempt.add_metric(labels, status.get("attempt", 1))
            over = status.get("phase") in TERMINAL
            line = None if over else self._line(key)
            for name, (family, factor) in progress.items():
                value = (line.progress if line else status.get("progress", {})).get(name)
                if value is not None and not (over and name in RATES):
                    family.add_metric(labels, value * factor)
            if line and LOSS in line.metrics:
                loss.add_metric(labels, line.metrics[LOSS])
            trials = (line.trials if line else status.get("trials")) or {}
            for state in ("pending", "running", "succeeded", "failed"):
                if state in trials:
                    states.add_metric([*labels, state], trials[state])
            if found := trials.get("best") or (line.best if line else status.get("best")):
                best.add_metric([*labels, found["metric"]], found["value"])
            if line and line.trials:
                _trials(labels, line.trials["items"], trial_info, trial_iterations, trial_metric)
        yield from (phases, info, failures, attempt, loss, best, states)
        yield from (family for family, _ in progress.values())
        yield from (trial_info, trial_iterations, trial_metric)

    def _line(self, key: Key) -> ProgressLine | None:
        memory = self.memory(key)
        return memory.progress if memory else None


def what_runs(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Kind (algorithm, trainable, entrypoint) and name; a program has no name."""
    if "algorithm" in spec:
        return "algorithm", str(spec["algorithm"].get("name", ""))
    if "trainable" in spec:
        return "trainable", str(spec["trainable"].get("function", ""))
    return "entrypoint", ""


def _trials(
    labels: list[str],
    items: list[Mapping[str, Any]],
    state: GaugeMetricFamily,
    iterations: GaugeMetricFamily,
    metric: GaugeMetricFamily,
) -> None:
    started = [item for item in items if item["state"] != PENDING]
    shown = sorted(started, key=lambda item: item["state"] != "Running")[:MAX_TRIALS]
    for item in shown:
        trial = [*labels, item["id"]]
        state.add_metric([*trial, item["state"]], 1)
        if "iteration" in item:
            iterations.add_metric(trial, item["iteration"])
        for name, value in item.get("metrics", {}).items():
            metric.add_metric([*trial, name], value)
