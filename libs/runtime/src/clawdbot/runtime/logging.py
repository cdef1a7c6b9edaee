"""Logs as data: constant text, fields beside it, ids from context; JSON, or readable lines."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

from clawdbot.runtime.config import Config
from clawdbot.runtime.telemetry import current_trace_id

_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
    "message",
    "asctime",
    "taskName",
    "color_message",
}


CHATTY = (
    "httpx",
    "httpcore",
    "uvicorn",
    "uvicorn.error",
    "websockets",
    "asyncio",
    "aiosqlite",
    "nats",
)


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add `fields` to every log line within."""
    reset = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(reset)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    fields: dict[str, object] = {**(_context.get() or {}), **extra}
    if trace_id := current_trace_id():
        fields["trace_id"] = trace_id
    return fields


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line of JSON."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class TextFormatter(logging.Formatter):
    """Time, level, message, then `key=value` fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a line for a person."""
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{key}={value}" for key, value in _fields(record).items())
        line = f"{at} {record.levelname:<7} {record.getMessage()} {fields}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def configure_logging(service: str, config: Config) -> None:
    """Send all logs of this process to standard error in the configured format."""
    wants_text = config.ops.log_format == "text" or (
        config.ops.log_format == "auto" and sys.stderr.isatty()
    )
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter() if wants_text else JSONFormatter(service))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel("DEBUG" if config.app.debug else config.ops.log_level)
    # These say at INFO or DEBUG what our own line at the end of each request says better.
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
