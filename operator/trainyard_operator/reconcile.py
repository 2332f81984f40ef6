"""One pass over one run: observe, decide, act, write the status."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from trainyard_operator import errors
from trainyard_operator.act import Actor
from trainyard_operator.announcements import Announcement, announcements, event
from trainyard_operator.cache import Cache, Kind
from trainyard_operator.clients.kube import RUNS, KubeClient
from trainyard_operator.clock import SteadyClock
from trainyard_operator.decide import decide
from trainyard_operator.model import (
    CreateCluster,
    Effect,
    GuardChanged,
    JobState,
    Key,
    NotDeleted,
    NotYet,
    Observed,
    Outcome,
    Plan,
    Postponed,
    Run,
    SubmitJob,
    Submitted,
)
from trainyard_operator.observe import Memory, Observer
from trainyard_operator.orphans import delete_orphans
from trainyard_operator.outcomes import Meaning, Request, meaning
from trainyard_operator.policies import keeping_results
from trainyard_operator.readings.objects import read_run
from trainyard_operator.settings import Settings
from trainyard_operator.settle import settle
from trainyard_operator.status import Status
from trainyard_operator.status_form import merge_patch, write_status
from trainyard_operator.steps import soonest
from trainyard_operator.vocabulary import Phase

logger = logging.getLogger(__name__)
EPHEMERAL = frozenset({"progress", "trials", "best", "checkpoint", "analysis"})
"""Fields that change all the time. If only these change, they are written at most every `timing.progress_writes` s."""
TALK = EPHEMERAL | {"conditions"}
"""These fields and conditions, which may change with every reading: a few times written at once, then at that pace."""
ANNOUNCE_AGAIN = 60.0
"""Seconds until an Event about the same condition is posted again."""


class Asked(NamedTuple):
    """Dashboards that share a budget: one namespace's dashboards that answer, or its dashboards that may not answer."""

    namespace: str
    answers: bool


class Reconciler:
    def __init__(
        self,
        kube: KubeClient,
        cache: Cache,
        observer: Observer,
        actor: Actor,
        settings: Settings,
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._observer = observer
        self._actor = actor
        self._settings = settings
        self._now = SteadyClock(wall, monotonic)
        self._monotonic = monotonic
        self._memory: dict[Key, Memory] = {}

    def memory(self, key: Key) -> Memory | None:
        return self._memory.get(key)

    def may_ask(self, key: Key) -> Asked | None:
        """The group of the dashboard that the next pass over a run may wait for, None if it asks none."""
        form, memory = self._cache.run(key), self._memory.get(key)
        if form is None or "clusterName" not in form.get("status", {}):
            return None
        if memory is not None and memory.next_poll is not None and memory.next_poll > self._monotonic():
            return None
        return Asked(key.namespace, answers=memory is not None and memory.answers)

    async def reconcile(self, key: Key) -> float | None:
        """One pass. Returns the seconds until the run needs the next pass, None for never.

        Raises errors.ApiError and errors.FencedError: the pass has to be repeated later; this is not a failure.
        """
        form = self._cache.run(key)
        if form is None:
            self._memory.pop(key, None)
            return await delete_orphans(key, self._kube, self._cache, self._actor)
        run = read_run(form)
        if run.deleting and not run.guarded:
            return None
        memory = self._memory.get(key)
        if memory is None or memory.uid != run.uid:
            memory = self._memory[key] = Memory(run.uid)
        return await self._pass(run, form, memory)

    async def _pass(self, run: Run, form: Mapping[str, Any], memory: Memory) -> float | None:
        observed = await self._observer.observe(run, memory)
        now = self._now().replace(microsecond=0)
        plan = decide(observed, now, self._settings)
        _check_identity(run.status, plan)
        effects = plan.effects
        outcomes = await self._act(run, observed, plan, memory)
        plan = settle(observed, plan, outcomes, now, self._settings)
        memory.answers = _answers(observed, outcomes, before=memory.answers)
        self._set_timer(plan, memory, called=_called(observed, effects))
        run = replace(run, resource_version=_version(run, outcomes))
        wait = await self._write(run, form, plan.status, memory, now)
        if observed.run.status.terminal and not keeping_results.are_pending(observed, plan.status):
            memory.end()
        return soonest(wait, soonest(plan.requeue_after, self._until_poll(memory)))

    async def _act(self, run: Run, observed: Observed, plan: Plan, memory: Memory) -> list[Outcome]:
        head = self._observer.head_of(run, observed, memory)
        outcomes = [await self._actor.act(run, effect, head) for effect in plan.effects]
        for outcome in outcomes:
            if isinstance(outcome, Postponed | NotDeleted):
                logger.warning("to be repeated: %s", outcome.message, extra={"run": str(run.key)})
        return [outcome for outcome in outcomes if outcome is not None]

    def _set_timer(self, plan: Plan, memory: Memory, *, called: bool) -> None:
        """The run's own timer: the only thing that lets a pass read a dashboard."""
        if plan.poll_after is None:
            memory.next_poll = None
            return
        due = self._monotonic() + self._stretched(plan.poll_after)
        memory.next_poll = due if called or memory.next_poll is None else min(memory.next_poll, due)

    def _stretched(self, seconds: float) -> float:
        """With more running jobs than the budget, all jobs are asked less often."""
        running = sum(1 for memory in self._memory.values() if memory.next_poll is not None)
        return seconds * max(1.0, running / self._settings.timing.poll_budget)

    def _until_poll(self, memory: Memory) -> float | None:
        return None if memory.next_poll is None else max(0.0, memory.next_poll - self._monotonic())

    async def _write(
        self, run: Run, form: Mapping[str, Any], status: Status, memory: Memory, now: datetime
    ) -> float | None:
        """Write the changes. Returns the seconds until a withheld write is due, None if nothing is withheld."""
        before = form.get("status", {})
        patch = merge_patch(before, write_status(status))
        if not patch:
            return None
        if (wait := self._withheld(patch.keys(), memory)) > 0:
            return wait
        body = {"metadata": {"resourceVersion": run.resource_version}, "status": patch}
        try:
            answer = await self._kube.patch_status(RUNS, run.key.namespace, run.key.name, body)
        except errors.ApiError as error:
            if meaning(Request.WRITE_STATUS, error) != Meaning.ASK:
                raise
            await self._refresh(run)
            return 0
        if patch.keys() & EPHEMERAL:
            memory.reported = self._monotonic()
        if "conditions" in patch and patch.keys() <= TALK:
            memory.talk.take(self._monotonic())
        self._cache.apply(Kind.RUN, answer)
        await self._announce(run, status, memory, now)
        return None

    def _withheld(self, changed: Set[str], memory: Memory) -> float:
        """Seconds for which a write of these fields waits."""
        if not changed <= TALK:
            return 0
        if "conditions" in changed:
            return memory.talk.wait(self._monotonic())
        if memory.reported is None:
            return 0
        return max(0.0, memory.reported + self._settings.timing.progress_writes - self._monotonic())

    async def _refresh(self, run: Run) -> None:
        """The object has another version, or does not exist: read it before anything is concluded from that."""
        try:
            self._cache.apply(Kind.RUN, await self._kube.get(RUNS, run.key.namespace, run.key.name))
        except errors.GoneError:
            self._cache.forget(Kind.RUN, run.key, run.uid)

    async def _announce(self, run: Run, status: Status, memory: Memory, now: datetime) -> None:
        """Post the news after they are on record; an Event that cannot be posted changes nothing."""
        if run.status.phase != status.phase or run.status.attempts != status.attempts:
            level = logging.WARNING if status.phase == Phase.FAILED else logging.INFO
            reason = status.failure.reason if status.failure else ""
            extra = {"run": str(run.key), "phase": str(status.phase), "attempt": status.attempt, "reason": reason}
            logger.log(level, "%s", status.phase, extra=extra)
        for told in self._news(announcements(run.status, status), memory):
            try:
                await self._actor.announce(run.key.namespace, event(run, told, now))
            except errors.ApiError as error:
                logger.warning("event not posted: %s", error, extra={"run": str(run.key)})

    def _news(self, told: Iterable[Announcement], memory: Memory) -> Iterator[Announcement]:
        """Leave out news about a condition that had an Event a moment ago."""
        now = self._monotonic()
        memory.announced = {about: at for about, at in memory.announced.items() if now - at < ANNOUNCE_AGAIN}
        for one in told:
            if not one.about:
                yield one
            elif one.about not in memory.announced:
                memory.announced[one.about] = now
                yield one


def _called(observed: Observed, effects: Iterable[Effect]) -> bool:
    """Whether this pass has used its turn: a dashboard was asked or, for an existing cluster, the API server."""
    asked = observed.job is not None or (observed.run.selector is not None and observed.may_call)
    return asked or any(isinstance(effect, SubmitJob) for effect in effects)


def _answers(observed: Observed, outcomes: Iterable[Outcome], *, before: bool) -> bool:
    """Whether the head answered when it was asked last."""
    if any(isinstance(outcome, NotYet | Submitted) for outcome in outcomes):
        return not any(isinstance(outcome, NotYet) for outcome in outcomes)
    return before if observed.job is None else observed.job.state != JobState.UNREACHABLE


def _version(run: Run, outcomes: Iterable[Outcome]) -> str:
    """The version for the write of the status: this pass may have changed the finalizer and so the observed version."""
    return next((o.resource_version for o in outcomes if isinstance(o, GuardChanged)), run.resource_version)


def _check_identity(status: Status, plan: Plan) -> None:
    """A counter is raised in a separate write. An effect under a counter that is not on record is a defect."""
    raised = (plan.status.attempt, plan.status.submission) != (status.attempt, status.submission)
    if raised and any(isinstance(effect, CreateCluster | SubmitJob) for effect in plan.effects):
        raise AssertionError("a counter and its effect in one decision")
