"""observe: reads the cached objects of a run and, when the run's own timer is due, its dashboard once."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from trainyard_operator import errors, names
from trainyard_operator.allowance import Allowance
from trainyard_operator.building.raycluster import RAY_CONTAINER, uses_token
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.clients.dashboard import Dashboards, Head
from trainyard_operator.clients.kube import CLUSTERS, PODS, RUNS, KubeClient
from trainyard_operator.existing import Chosen, ExistingClusters
from trainyard_operator.model import Cluster, Job, JobState, Key, Observed, Pod, Run
from trainyard_operator.pod_events import PodEvents, Unexplained
from trainyard_operator.readings.objects import read_cluster, read_run
from trainyard_operator.readings.pods import read_pod
from trainyard_operator.readings.progress_line import ProgressLine, newer, parse
from trainyard_operator.readings.progress_schema import ProgressError
from trainyard_operator.settings import Settings
from trainyard_operator.status import tail
from trainyard_operator.vocabulary import ConditionType

PROGRESS_LINES = 2
LOG_LINES = 60
MAX_LOG = 8192
"""Bytes of a log that are remembered: a line with a progress bar can have any length."""


@dataclass
class Memory:
    """This process's memory of a run between passes. If it is lost, a reading is repeated; decisions do not change."""

    uid: str
    job_id: str | None = None
    next_poll: float | None = None
    next_log: float = 0
    node_id: str | None = None
    progress: ProgressLine | None = None
    progress_error: str | None = None
    progress_complete: bool = False
    log_tail: str = ""
    reported: float | None = None
    talk: Allowance = field(default_factory=Allowance)
    announced: dict[str, float] = field(default_factory=dict)
    answers: bool = False
    silent_since: float | None = None
    chosen: Chosen = field(default_factory=Chosen)
    unexplained: Unexplained | None = None

    def start_job(self, job_id: str | None) -> None:
        """Forget what was about an earlier job."""
        if job_id != self.job_id:
            self.job_id, self.node_id, self.progress, self.progress_error = job_id, None, None, None
            self.next_log, self.progress_complete, self.silent_since = 0, False, None
            if job_id is not None:
                self.log_tail = ""

    def end(self) -> None:
        """The run has ended and its results are safe: forget the readings of its job."""
        self.progress, self.progress_error, self.log_tail = None, None, ""


@dataclass
class Observer:
    cache: Cache
    kube: KubeClient
    dashboards: Dashboards
    settings: Settings
    monotonic: Callable[[], float]
    kuberay: Callable[[], bool] = field(default=lambda: True)

    async def observe(self, run: Run, memory: Memory) -> Observed:
        """Everything about a run, as recent as necessary."""
        if run.selector is not None:
            return await self._observe_existing(run, memory)
        cluster, strays, pods = self._cached(run)
        if await self._confirm(run, cluster, pods):
            cluster, strays, pods = self._cached(run)
        memory.start_job(run.status.job_id)
        if not run.status.terminal and run.status.cluster_ready_time is None:
            events = PodEvents(self.kube, self.monotonic)
            pods, memory.unexplained = await events.explain(run.key.namespace, pods, memory.unexplained)
        due = memory.next_poll is None or memory.next_poll <= self.monotonic()
        observed = Observed(run, self.kuberay(), cluster, strays, pods, may_call=due, source=await self._source(run))
        head = observed.answering
        if due and cluster and head and run.status.job_id and self._wants_reading(run, memory):
            observed = await self._read(observed, run.status.job_id, cluster, head, memory)
        await self._read_pod_log(run, pods, memory)
        return _remembered(observed, memory)

    async def _source(self, run: Run) -> Run | None:
        """The run from whose results this run starts. Read until the place of the results is on record."""
        name = run.spec.get("resumeFrom", {}).get("run")
        status = run.status
        known = (status.resumed_from or {}).get("run") == name
        refused = status.terminal and status.observed_generation == run.generation  # and not corrected since
        if name is None or known or status.start_time or refused or run.deleting:
            return None
        try:
            return read_run(await self.kube.get(RUNS, run.key.namespace, name))
        except errors.GoneError:
            return None

    async def _observe_existing(self, run: Run, memory: Memory) -> Observed:
        """The same for a run on an existing cluster: the run's timer reads everything, nothing is watched."""
        existing, chosen = ExistingClusters(self.kube, self.monotonic), memory.chosen
        job_id = _job_to_read(run)
        memory.start_job(run.status.job_id)
        due = memory.next_poll is None or memory.next_poll <= self.monotonic()
        candidates = None
        if run.status.cluster_name is None:
            memory.chosen = chosen = Chosen()
            wanted = due and run.unwanted_since is None and not run.suspend and self.kuberay()
            candidates = await existing.candidates(run) if wanted else None
        elif chosen.name != run.status.cluster_name or (due and existing.is_due(run, chosen)):
            await existing.refresh(run, chosen)
        observed = Observed(
            run=run,
            kuberay=self.kuberay(),
            cluster=chosen.cluster,
            strays=tuple(read_cluster(form) for form in self.cache.clusters(run.key)),
            pods=(chosen.head,) if chosen.head else (),
            may_call=due,
            candidates=candidates,
            source=await self._source(run),
        )
        if due and chosen.cluster and chosen.head and job_id:
            if chosen.cluster.locked:
                observed = self._heard(observed, Job(JobState.UNREACHABLE, chosen.cluster.locked[1]), memory)
            else:
                observed = await self._read(observed, job_id, chosen.cluster, chosen.head, memory)
        return _remembered(observed, memory)

    def head_of(self, run: Run, observed: Observed, memory: Memory) -> Head | None:
        """Where the dashboard of the run's current cluster is."""
        if observed.cluster is None or observed.head is None:
            return None
        return self._head(run, observed.cluster, observed.head, memory)

    def _head(self, run: Run, cluster: Cluster, pod: Pod, memory: Memory) -> Head:
        token = None
        if run.selector is not None:
            token = memory.chosen.token
        elif uses_token(run.spec):
            token = names.auth_token(self.settings.key, run.uid, run.status.attempt)
        return Head(run.key.namespace, cluster.name, cluster.head_service, pod.address, token)

    def _cached(self, run: Run) -> tuple[Cluster | None, tuple[Cluster, ...], tuple[Pod, ...]]:
        current = run.status.cluster_name or names.cluster_name(run.key.name, run.uid, run.status.attempt)
        clusters = [read_cluster(form) for form in self.cache.clusters(run.key)]
        cluster = next((c for c in clusters if c.name == current and c.owner_uid == run.uid), None)
        strays = tuple(c for c in clusters if c is not cluster)
        pods = tuple(
            read_pod(form)
            for form in self.cache.pods(run.key)
            if form["metadata"]["labels"].get("ray.io/cluster") == current
        )
        return cluster, strays, pods

    async def _confirm(self, run: Run, cluster: Cluster | None, pods: tuple[Pod, ...]) -> bool:
        """Ask the API server before a cluster, or a head with a job, counts as gone, because watches may lag."""
        status = run.status
        if status.terminal or status.attempt_over or status.cluster_name is None:
            return False
        head_gone = status.job_id is not None and not any(p.head and not p.over for p in pods)
        if cluster is not None and not head_gone:
            return False
        place = (run.key.namespace, status.cluster_name)
        try:
            self.cache.apply(Kind.CLUSTER, await self.kube.get(CLUSTERS, *place))
            selector = f"ray.io/cluster={status.cluster_name}"
            for form in (await self.kube.list(PODS, run.key.namespace, selector))[0]:
                self.cache.apply(Kind.POD, form)
        except errors.GoneError:
            if cluster is not None:
                self.cache.forget(Kind.CLUSTER, Key(*place), cluster.uid)
        return True

    @staticmethod
    def _wants_reading(run: Run, memory: Memory) -> bool:
        """Whether a job may be running, or the last line of an ended run has not been read yet."""
        if run.status.terminal:
            return not run.status.is_true(ConditionType.RESULTS_KEPT) and not memory.progress_complete
        return not run.status.attempt_over

    async def _read(self, observed: Observed, job_id: str, cluster: Cluster, pod: Pod, memory: Memory) -> Observed:
        """Add one reading of the Jobs API and then of the driver's files. In this order, a file that is read after the
        job's end contains its last line."""
        head = self._head(observed.run, cluster, pod, memory)
        reading = await self.dashboards.job(head, job_id)
        observed = self._heard(observed, reading.job, memory)
        memory.node_id = reading.node_id or memory.node_id
        if reading.job.unknown:
            return observed
        if memory.node_id is None:
            # Ray has not placed the driver on a node yet, or never did: there is no file.
            memory.progress_complete |= reading.job.over
            return replace(observed, progress_read=True)
        read = await self._read_progress(head, job_id, memory)
        memory.progress_complete |= read and reading.job.over
        failed = reading.job.over and reading.job.state != JobState.SUCCEEDED
        if failed or memory.next_log <= self.monotonic():
            log = await self.dashboards.job_log(head, memory.node_id, job_id, LOG_LINES)
            memory.log_tail = tail(log, MAX_LOG) or memory.log_tail
            memory.next_log = self.monotonic() + self.settings.timing.log_reads
        return replace(observed, progress_read=read)

    def _heard(self, observed: Observed, job: Job, memory: Memory) -> Observed:
        now = self.monotonic()
        since = now if memory.silent_since is None else memory.silent_since
        memory.silent_since = since if job.unknown else None
        return replace(observed, job=job, silence=now - since if job.unknown else 0)

    async def _read_progress(self, head: Head, job_id: str, memory: Memory) -> bool:
        """Whether reading the file worked, also if the file does not exist or cannot be used."""
        assert memory.node_id is not None
        try:
            found = await self.dashboards.tail(head, memory.node_id, names.progress_file(job_id), PROGRESS_LINES)
            if found is not None:
                memory.progress = newer(memory.progress, parse(found, job_id))
                memory.progress_error = None
        except ProgressError as error:
            memory.progress_error = str(error)
        except errors.UnavailableError:
            return False
        return True

    async def _read_pod_log(self, run: Run, pods: tuple[Pod, ...], memory: Memory) -> None:
        """If a head ended before a job was submitted, only its pod's log can say why."""
        ended = next((p for p in pods if p.head and p.over and p.end), None)
        if ended is None or run.status.job_id or run.status.attempt_over or memory.log_tail:
            return
        try:
            log = await self.kube.pod_log(run.key.namespace, ended.name, RAY_CONTAINER, LOG_LINES)
            memory.log_tail = tail(log, MAX_LOG)
        except errors.ApiError as error:
            memory.log_tail = f"(the log of pod {ended.name} cannot be read: {error.message})"


def _remembered(observed: Observed, memory: Memory) -> Observed:
    """Add the readings of the job from this pass or an earlier one."""
    return replace(
        observed,
        progress=memory.progress,
        progress_error=memory.progress_error,
        progress_complete=memory.progress_complete,
        log_tail=memory.log_tail,
    )


def _job_to_read(run: Run) -> str | None:
    """The job to look at on an existing cluster: the submitted job, or a job that may have to be stopped.

    A submission that is not on record (because the process ended before) has the same name, which follows from the
    counters.
    """
    status = run.status
    if run.guarded and run.unwanted_since is not None:
        return status.job_id or names.job_id(run.uid, status.attempt, status.submission)
    if status.terminal and status.is_true(ConditionType.RESULTS_KEPT):
        return None
    return None if status.attempt_over and not status.terminal else status.job_id
