"""The tables. docs/database.md is their reference; ``migrations/`` brings a database to this schema.

``position`` numbers the recorder's commits within a run. A checkpoint contains it, and an attempt that continues from
the checkpoint cuts every earlier attempt off there: rows of a trial with a position above ``trials.live_until`` are
superseded. They stay in the tables; the views ``live_*`` leave them out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Names that do not depend on the database, so that migrations can refer to them.
CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=CONVENTION)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy declares it so
        str: Text,
        int: Integer,
        float: Double,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


class RunRow(Base):
    """A TrainingRun. ``identity`` is its uid (a local run's: the name of its folder), ``run_id`` this database's short
    key for it. Only the recorder of ``attempt`` may write; ``position`` is its last commit."""

    __tablename__ = "runs"
    run_id: Mapped[int] = mapped_column(primary_key=True)
    identity: Mapped[str] = mapped_column(String(128), unique=True)
    name: Mapped[str]
    namespace: Mapped[str]
    uid: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    specification: Mapped[dict[str, Any]]
    versions: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    attempt: Mapped[int]
    position: Mapped[int] = mapped_column(BigInteger)
    __table_args__ = (Index(None, "name"),)


class AttemptRow(Base):
    """One driver's work on a run, numbered from 1; ``findings`` are the verdicts on the run's curves at its end."""

    __tablename__ = "attempts"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cluster_attempt: Mapped[int]
    submission: Mapped[int]
    job_id: Mapped[str]
    hostname: Mapped[str]
    started: Mapped[datetime]
    ended: Mapped[datetime | None]
    outcome: Mapped[str | None]
    restored_iteration: Mapped[int]
    restored_position: Mapped[int | None] = mapped_column(BigInteger)
    findings: Mapped[dict[str, Any] | None]
    __table_args__ = (ForeignKeyConstraint(["run_id"], ["runs.run_id"], ondelete="CASCADE"),)


class TrialRow(Base):
    """A trial of a search; a run without a search has the one trial ``main`` in each attempt."""

    __tablename__ = "trials"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trial: Mapped[str] = mapped_column(String(64), primary_key=True)
    parameters: Mapped[dict[str, Any]]
    started: Mapped[datetime]
    ended: Mapped[datetime | None]
    outcome: Mapped[str | None]
    live_until: Mapped[int | None] = mapped_column(BigInteger)
    superseded_by: Mapped[int | None]
    __table_args__ = (
        ForeignKeyConstraint(["run_id", "attempt"], ["attempts.run_id", "attempts.attempt"], ondelete="CASCADE"),
    )


def _trial_key() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["run_id", "attempt", "trial"], ["trials.run_id", "trials.attempt", "trials.trial"], ondelete="CASCADE"
    )


class IterationRow(Base):
    """A training iteration; ``metrics`` has finite values by their names in docs/metrics.md, but not ``rllib/...``."""

    __tablename__ = "iterations"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trial: Mapped[str] = mapped_column(String(64), primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    time: Mapped[datetime]
    seconds: Mapped[float]
    env_steps: Mapped[int] = mapped_column(BigInteger)
    episodes: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]]
    __table_args__ = (_trial_key(),)


class EpisodeRow(Base):
    """An episode. Until it is finished, ``ended`` is null, and length and return are those of the recorded part."""

    __tablename__ = "episodes"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    episode: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    trial: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(16))
    runner: Mapped[int]
    incarnation: Mapped[int]
    env: Mapped[int]
    n: Mapped[int] = mapped_column(BigInteger)
    iteration: Mapped[int]
    policy_version: Mapped[int | None] = mapped_column(BigInteger)
    episode_index: Mapped[int | None] = mapped_column(BigInteger)
    started_position: Mapped[int] = mapped_column(BigInteger)
    position: Mapped[int] = mapped_column(BigInteger)
    ended: Mapped[datetime | None]
    terminated: Mapped[bool | None]
    length: Mapped[int] = mapped_column(BigInteger)
    total_reward: Mapped[float]
    steps_recorded: Mapped[bool]
    context: Mapped[list[Any] | None]
    figures: Mapped[dict[str, Any] | None]
    __table_args__ = (
        _trial_key(),
        UniqueConstraint(
            "run_id", "attempt", "trial", "kind", "runner", "incarnation", "env", "n", name="uq_episodes_identity"
        ),
        Index(None, "run_id", "trial", "kind", "iteration"),
        Index(None, "run_id", "episode_index"),
    )


class StepRow(Base):
    """A step of a recorded episode, ``t`` from 0; ``date`` and ``portfolio_value`` are of market environments."""

    __tablename__ = "steps"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    episode: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    t: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    action: Mapped[str]
    reward: Mapped[float]
    date: Mapped[str | None] = mapped_column(String(32))
    portfolio_value: Mapped[float | None]
    # No foreign key: checking it would cost more than writing the row, and only the recorder writes.
    # No rowid in SQLite: the primary key is the table's order, and a step is written once instead of twice.
    __table_args__ = ({"sqlite_with_rowid": False},)


class TradeRow(Base):
    """A trade of a recorded episode; ``quantity`` is negative for a sale, ``n`` counts the trades of one step."""

    __tablename__ = "trades"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    episode: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    t: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    date: Mapped[str | None] = mapped_column(String(32))
    symbol: Mapped[str] = mapped_column(String(64))
    quantity: Mapped[float]
    price: Mapped[float]
    cost: Mapped[float]
    __table_args__ = (
        Index(None, "run_id", "symbol", "date"),
        {"sqlite_with_rowid": False},
    )


class EvaluationRow(Base):
    """An evaluation (``validation``) or the test at the end (``test``) of the policy of an iteration."""

    __tablename__ = "evaluations"
    run_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    trial: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    iteration: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger)
    time: Mapped[datetime]
    seconds: Mapped[float]
    episodes: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    __table_args__ = (_trial_key(),)


# The views of the live rows (those on which the current attempt is based, and its own); made by the migrations.
LIVE_VIEWS = tuple(f"live_{table}" for table in ("iterations", "episodes", "evaluations", "steps", "trades"))
