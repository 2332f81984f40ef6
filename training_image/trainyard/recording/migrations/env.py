"""Alembic's entry point. It uses the connection that ``migrate`` hands over, inside that connection's transaction."""

from alembic import context

from trainyard.recording.database import VERSION_TABLE
from trainyard.recording.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    # SQLite cannot alter a table; batch mode copies it instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
