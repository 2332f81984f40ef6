"""The recorder: the only writer of a run's rows. It uses the database and does not depend on Ray.

Every commit first raises ``runs.position``, on the condition that the run still belongs to this attempt. An old
recorder (its driver lost its head node, and another attempt has begun) cannot write rows any more.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import DBAPIError

from trainyard.episodes.records import MAIN_TRIAL, Batch, Chunk, RunRecord, Source, TrialRecord
from trainyard.errors import TrainyardError
from trainyard.recording.attempts import begin_trial, next_episode, register_attempt
from trainyard.recording.rows import EpisodeRows, OpenEpisode
from trainyard.recording.schema import AttemptRow, EvaluationRow, IterationRow, RunRow, TrialRow

logger = logging.getLogger(__name__)

# Commits cost a disk write each: small batches wait for one another, for at most this long.
COMMIT_SECONDS = 1.0
COMMIT_STEPS = 5_000

RETRIES = 5
RETRY_SECONDS = 1.0


class RecordingError(TrainyardError):
    """The records cannot be written; the run does not continue without them."""


class Recorder:
    """Writes one attempt of a run.

    Args:
        engine: a database that is migrated to the current schema.
        run: the run and the attempt. Registering a trial, or a run without a search, supersedes what earlier attempts
            wrote after the checkpoint from which this one continues.
        clock: the time of the rows.
    """

    def __init__(
        self, engine: Engine, run: RunRecord, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._incarnations: dict[tuple[str, str, int], int] = {}
        self._open: dict[tuple[Source, int, int], OpenEpisode] = {}
        self._iteration: dict[str, int] = {}
        self._pending: list[tuple[Batch, int | None]] = []
        self._pending_steps = 0
        self._committed_at = time.monotonic()
        self._failure: Exception | None = None
        with engine.begin() as connection:
            self._run_id, self.attempt, self._position = register_attempt(connection, run, clock())
            self._next_episode = next_episode(connection, self._run_id)
            if not run.is_search:
                self._begin(connection, TrialRecord(MAIN_TRIAL, {}, run.restored_iteration, run.restored_position))

    @property
    def position(self) -> int:
        """Number of the last commit; data that is not flushed yet gets a later number."""
        return self._position

    def register_runner(self, trial: str, kind: str, runner: int) -> int:
        """Return the incarnation of a runner's process: the number of its earlier processes in this attempt."""
        key = (trial, kind, runner)
        self._incarnations[key] = self._incarnations.get(key, -1) + 1
        return self._incarnations[key]

    def add(self, batch: Batch) -> None:
        """Accept a batch; it is committed soon, at the latest by the next flush."""
        self._pending.append((batch, None))
        self._pending_steps += batch.steps
        if self._pending_steps >= COMMIT_STEPS or time.monotonic() - self._committed_at >= COMMIT_SECONDS:
            self.flush()

    def flush(self) -> int:
        """Commit everything that was accepted; return the position."""
        if self._pending:
            pending, self._pending, self._pending_steps = self._pending, [], 0
            self._commit(lambda connection, position: self._write_batches(connection, position, pending))
        return self._position

    def add_trial(self, trial: TrialRecord) -> None:
        """Begin a trial of a search."""
        self._commit(lambda connection, _: self._begin(connection, trial))

    def end_trial(self, trial: str, outcome: str) -> None:
        """Flush, and record how a trial ended, unless its end is recorded already."""
        self.flush()
        self._commit(
            lambda connection, _: connection.execute(
                update(TrialRow)
                .filter_by(**self._of_trial(trial))
                .where(TrialRow.ended.is_(None))
                .values(ended=self._clock(), outcome=outcome)
            )
        )

    def add_iteration(
        self,
        iteration: int,
        *,
        seconds: float,
        env_steps: int,
        episodes: int,
        metrics: Mapping[str, float],
        trial: str = MAIN_TRIAL,
    ) -> None:
        """Write an iteration, after everything that was accepted before it."""
        self.flush()
        row = self._of_trial(trial) | {
            "iteration": iteration,
            "seconds": seconds,
            "env_steps": env_steps,
            "episodes": episodes,
            "metrics": dict(metrics),
            "time": self._clock(),
        }
        self._commit(
            lambda connection, position: connection.execute(insert(IterationRow), [row | {"position": position}])
        )
        self._iteration[trial] = iteration + 1

    def add_evaluation(self, batch: Batch, *, iteration: int, seconds: float, metrics: Mapping[str, float]) -> None:
        """Write an evaluation and its episodes in one commit."""
        self.flush()
        row = self._of_trial(batch.source.trial) | {
            "kind": batch.source.kind,
            "iteration": iteration,
            "seconds": seconds,
            "episodes": len(batch.chunks),
            "metrics": dict(metrics),
            "time": self._clock(),
        }

        def write(connection: Connection, position: int) -> None:
            connection.execute(insert(EvaluationRow), [row | {"position": position}])
            self._write_batches(connection, position, [(batch, iteration)])

        self._commit(write)

    def finish(self, outcome: str, findings: Mapping[str, float | str] | None = None) -> int:
        """Flush, record how the attempt ended and the findings about its curves, return the position."""
        self.flush()
        ended = {"ended": self._clock(), "outcome": outcome}
        found = None if findings is None else dict(findings)
        mine = {"run_id": self._run_id, "attempt": self.attempt}

        def write(connection: Connection, _: int) -> None:
            connection.execute(update(AttemptRow).filter_by(**mine).values(ended | {"findings": found}))
            connection.execute(update(TrialRow).filter_by(**mine).where(TrialRow.ended.is_(None)).values(ended))

        self._commit(write)
        return self._position

    def _begin(self, connection: Connection, trial: TrialRecord) -> None:
        begin_trial(connection, self._run_id, self.attempt, trial, self._clock())
        self._iteration[trial.trial] = trial.restored_iteration + 1

    def _of_trial(self, trial: str) -> dict[str, Any]:
        return {"run_id": self._run_id, "attempt": self.attempt, "trial": trial}

    def _commit(self, write: Callable[[Connection, int], Any]) -> None:
        """Run ``write`` in a transaction that raises the position by one and holds the run's row.

        After a lost connection it tries again: the position shows whether the commit had arrived. After a failure
        every later commit also fails, so that no rows are missing in the middle.
        """
        if self._failure is not None:
            raise RecordingError(str(self._failure)) from self._failure
        try:
            self._try_commit(write)
        except Exception as error:
            self._failure = error
            raise

    def _try_commit(self, write: Callable[[Connection, int], Any]) -> None:
        position = self._position + 1
        episode_state = {key: state.copy() for key, state in self._open.items()}
        next_episode = self._next_episode
        for attempt in range(RETRIES):
            try:
                with self._engine.begin() as connection:
                    if attempt:
                        if self._stored_position(connection) == position:
                            break
                        self._open = {key: state.copy() for key, state in episode_state.items()}
                        self._next_episode = next_episode
                    self._claim(connection, position)
                    write(connection, position)
                break
            except DBAPIError as error:
                if not error.connection_invalidated or attempt == RETRIES - 1:
                    raise RecordingError(f"the records cannot be written: {error.orig}") from error
                logger.warning("the connection to the database is lost (%s); trying again", error.orig)
                time.sleep(RETRY_SECONDS)
        self._position = position
        self._committed_at = time.monotonic()

    def _stored_position(self, connection: Connection) -> int | None:
        return connection.scalar(
            select(RunRow.position).where(RunRow.run_id == self._run_id, RunRow.attempt == self.attempt)
        )

    def _claim(self, connection: Connection, position: int) -> None:
        claimed = connection.execute(
            update(RunRow)
            .where(RunRow.run_id == self._run_id, RunRow.attempt == self.attempt)
            .values(position=position)
        )
        if claimed.rowcount != 1:
            raise RecordingError(
                f"attempt {self.attempt} may not write any more: another attempt of this run has begun"
            )

    def _write_batches(self, connection: Connection, position: int, pending: list[tuple[Batch, int | None]]) -> None:
        """Write batches; each has the iteration of its episodes, or None for the current iteration."""
        writer = EpisodeRows(self._run_id, self.attempt, position, self._clock())
        for batch, iteration in pending:
            source = batch.source
            for chunk in batch.chunks:
                state = self._episode(source, chunk, position)
                number = iteration if iteration is not None else self._iteration[source.trial]
                writer.add(source, chunk, state, number)
                if chunk.finished:
                    del self._open[source, chunk.env, chunk.n]
        writer.write(connection)

    def _episode(self, source: Source, chunk: Chunk, position: int) -> OpenEpisode:
        key = (source, chunk.env, chunk.n)
        state = self._open.get(key)
        if state is None:
            state = self._open[key] = OpenEpisode(self._next_episode, position)
            self._next_episode += 1
        return state
