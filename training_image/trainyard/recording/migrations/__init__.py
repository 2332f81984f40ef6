"""Alembic's migrations of the recording schema; run by ``trainyard.recording.database.migrate``."""
