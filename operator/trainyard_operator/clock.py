"""Times as the API writes them: RFC 3339, UTC, whole seconds. Nothing here reads a clock."""

from datetime import UTC, datetime


def to_text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str | None) -> datetime | None:
    """Raises ValueError when the text is no RFC 3339 time."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def from_unix(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
