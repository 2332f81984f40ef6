"""Attempts of a run and their trials: registers one, and supersedes earlier rows on which it is not based."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, and_, func, insert, or_, select, update

from trainyard.episodes.records import RunRecord, TrialRecord
from trainyard.recording.schema import AttemptRow, EpisodeRow, RunRow, TrialRow


def register_attempt(connection: Connection, run: RunRecord, now: datetime) -> tuple[int, int, int]:
    """Begin an attempt; return (run_id, attempt, position)."""
    found = connection.execute(
        select(RunRow.run_id, RunRow.attempt, RunRow.position).where(RunRow.identity == run.identity).with_for_update()
    ).first()
    if found is None:
        attempt, position = 1, 0
        inserted = connection.execute(
            insert(RunRow).values(
                identity=run.identity,
                name=run.name,
                namespace=run.namespace,
                uid=run.uid,
                seed=run.seed,
                specification=run.specification,
                versions=run.versions,
                created=now,
                attempt=attempt,
                position=position,
            )
        )
        assert inserted.inserted_primary_key is not None
        run_id = int(inserted.inserted_primary_key[0])
    else:
        run_id, attempt, position = found.run_id, found.attempt + 1, found.position
        connection.execute(update(RunRow).where(RunRow.run_id == run_id).values(attempt=attempt))
    connection.execute(
        insert(AttemptRow).values(
            run_id=run_id,
            attempt=attempt,
            cluster_attempt=run.cluster_attempt,
            submission=run.submission,
            job_id=run.job_id,
            hostname=run.hostname,
            started=now,
            restored_iteration=run.restored_iteration,
            restored_position=run.restored_position,
        )
    )
    return run_id, attempt, position


def begin_trial(connection: Connection, run_id: int, attempt: int, trial: TrialRecord, now: datetime) -> None:
    """Begin a trial in this attempt, and supersede the rows that its earlier attempts wrote after its checkpoint."""
    _supersede(connection, run_id, attempt, trial.trial, trial.restored_position or 0)
    connection.execute(
        insert(TrialRow).values(
            run_id=run_id, attempt=attempt, trial=trial.trial, parameters=trial.parameters, started=now
        )
    )


def _supersede(connection: Connection, run_id: int, attempt: int, trial: str, position: int) -> None:
    """Cut the trial's earlier attempts off at ``position``, unless they were cut off earlier already."""
    connection.execute(
        update(TrialRow)
        .where(
            and_(TrialRow.run_id == run_id, TrialRow.attempt < attempt, TrialRow.trial == trial),
            or_(TrialRow.live_until.is_(None), TrialRow.live_until > position),
        )
        .values(live_until=position, superseded_by=attempt)
    )


def next_episode(connection: Connection, run_id: int) -> int:
    last = connection.scalar(select(func.max(EpisodeRow.episode)).where(EpisodeRow.run_id == run_id))
    return 1 if last is None else int(last) + 1
