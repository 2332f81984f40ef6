"""Connecting to a recording database, bringing it to the current schema, and writing many rows quickly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from trainyard.errors import InvalidConfiguration

VERSION_TABLE = "trainyard_schema"
FIELD = "spec.recording.database"

# Any number, the same for every process that migrates a PostgreSQL database.
_MIGRATION_LOCK = 5_812_407_733


def open_database(url: str) -> Engine:
    """Return an engine for SQLite or PostgreSQL.

    Raises:
        InvalidConfiguration: the URL is not understood, or names another database. The URL is not shown: it may
            hold a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidConfiguration.of(
            FIELD, "the secret's url is no database URL", "write postgresql://user:password@host:5432/database"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif backend != "sqlite":
        raise InvalidConfiguration.of(FIELD, f"the secret's url is of {backend}", "use PostgreSQL or SQLite")
    try:
        engine = create_engine(parsed, pool_pre_ping=True)
    except (NoSuchModuleError, ImportError) as error:
        raise InvalidConfiguration.of(
            FIELD, f"the driver of {backend} is missing: {error}", "use the training image, or install trainyard[train]"
        ) from error
    if backend == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """Set what SQLite needs for each connection.

    The journal is a rollback journal (SQLite's default), not a write-ahead log: the file may lie on a network volume,
    where a write-ahead log is not safe.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def migrate(engine: Engine) -> None:
    """Bring a database to the current schema; a new one gets it whole. Several processes may call this at once."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("trainyard.recording") / "migrations"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows of plain values in the fastest way of each database: COPY, or one prepared statement.

    Args:
        connection: inside a transaction.
        table: its columns must need no conversion by SQLAlchemy (numbers and text).
        columns: names of the values of a row, in order.
        rows: the values.
    """
    names = ", ".join(columns)
    if connection.dialect.name == "postgresql":
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        return
    values = list(rows)
    if values:
        marks = ", ".join("?" for _ in columns)
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", values)
