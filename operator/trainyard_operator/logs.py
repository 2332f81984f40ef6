"""Logs as JSON lines: time, level, logger, message, and in lines about a run its namespace/name."""

import json
import logging
import sys
from datetime import UTC, datetime

FIELDS = ("run", "phase", "attempt", "reason")


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {field: record.__dict__[field] for field in FIELDS if record.__dict__.get(field)}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str) -> None:
    """Log to standard error; of kopf's own messages only warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    # At every start kopf would warn that it does not handle signals. In a thread that is right.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
