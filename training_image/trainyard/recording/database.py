"""Connects to a recording database, migrates it to the current schema, and writes many rows quickly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.orm import DeclarativeBase

from trainyard.errors import InvalidConfiguration

VERSION_TABLE = "trainyard_schema"
FIELD = "spec.recording.database"

# Any number, the same for every process that migrates a PostgreSQL database.
_MIGRATION_LOCK = 5_812_407_733

# Rows in one statement for SQLite; more rows are not faster.
VALUES_AT_ONCE = 200


def open_database(url: str) -> Engine:
    """Return an engine for SQLite or PostgreSQL.

    Raises:
        InvalidConfiguration: the URL is not valid, or is for another kind of database. The URL is not shown, because
            it may contain a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidConfiguration.of(
            FIELD, "the secret's url is not a database URL", "write postgresql://user:password@host:5432/database"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    elif backend != "sqlite":
        raise InvalidConfiguration.of(FIELD, f"the secret's url is for {backend}", "use PostgreSQL or SQLite")
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
    """Set SQLite's options for each connection.

    The journal is a rollback journal (SQLite's default), not a write-ahead log: the file may lie on a network volume,
    where a write-ahead log is not safe.
    """
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA busy_timeout = 30000")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def migrate(engine: Engine) -> None:
    """Migrate a database, also an empty one, to the current schema. Several processes may call this at once."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("trainyard.recording") / "migrations"))
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def insert_columns(
    connection: Connection, table: type[DeclarativeBase], columns: Mapping[str, Sequence[Any]], **constants: Any
) -> None:
    """Insert rows that are given column by column, in the fastest way for each database. Without rows it does nothing.

    Args:
        connection: inside a transaction.
        columns: the values of every row, by column and all of one length.
        constants: values that all rows have in common, by column.
    """
    if not any(map(len, columns.values())):
        return
    dialect, types = connection.dialect, {column.name: column.type for column in table.__table__.columns}
    converted = {}
    for name, values in columns.items():
        convert = types[name].dialect_impl(dialect).bind_processor(dialect)
        converted[name] = values if convert is None else [convert(value) for value in values]
    converted = {name: values for name, values in converted.items() if any(value is not None for value in values)}
    insert = _copy if dialect.name == "postgresql" else _insert_many_at_once
    insert(connection, table.__tablename__, converted, constants)


def _copy(
    connection: Connection, table: str, columns: Mapping[str, Sequence[Any]], constants: Mapping[str, Any]
) -> None:
    raw, dialect = connection.connection, connection.dialect
    copying = f"COPY {table} ({', '.join([*constants, *columns])}) FROM STDIN"
    common = tuple(constants.values())
    try:
        with raw.cursor().copy(copying) as copy:
            for row in zip(*columns.values(), strict=True):
                copy.write_row(common + row)
    except dialect.loaded_dbapi.Error as error:
        # SQLAlchemy does this for its own statements; whether the connection is lost decides on another try.
        is_lost = dialect.is_disconnect(error, raw.driver_connection, None)
        if is_lost:
            connection.invalidate(error)
        raise DBAPIError(copying, None, error, connection_invalidated=is_lost) from error


def _insert_many_at_once(
    connection: Connection, table: str, columns: Mapping[str, Sequence[Any]], constants: Mapping[str, Any]
) -> None:
    """Many rows per statement, the constants bound once: a statement and its binding cost SQLite more than a row."""
    width, rows = len(columns), len(next(iter(columns.values())))
    values: list[Any] = [None] * (width * rows)
    for place, column in enumerate(columns.values()):
        values[place::width] = column
    at_once = max(1, VALUES_AT_ONCE // width)
    rest = rows % at_once
    names = ", ".join([*constants, *columns])
    row = ", ".join([*(f"?{number}" for number, _ in enumerate(constants, 1)), *("?" * width)])
    common = tuple(constants.values())
    for count, first, last in ((at_once, 0, rows - rest), (rest, rows - rest, rows)):
        if first == last:
            continue
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({names}) VALUES {', '.join([f'({row})'] * count)}",
            [
                (*common, *values[begin : begin + width * count])
                for begin in range(width * first, width * last, width * count)
            ],
        )
