"""Structured logging with the standard library: text or JSON lines, each with the job that it is about."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO

from core.errors import InvalidInput
from core.settings import Settings

_CONTEXT: ContextVar[dict[str, object]] = ContextVar("log_context", default={})  # noqa: B039  (never mutated)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "context", "color_message"}
_QUIET = ("httpx", "httpcore", "urllib3", "PIL", "asyncio", "multipart", "kombu", "amqp")
_COLOURS = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_LABELS = {"job_id": "job"}


@contextmanager
def log_context(**fields: object) -> Iterator[None]:
    """Bind fields such as `job_id`, `attempt` and `worker` to every line logged inside, in this thread or async task."""
    token = _CONTEXT.set({**_CONTEXT.get(), **fields})
    try:
        yield
    finally:
        _CONTEXT.reset(token)


def configure_logging(settings: Settings, process: str, *, stream: TextIO | None = None) -> None:
    """Send this process's logs to `stream` (default: standard error) in the format and level of the settings.

    `process` is its name on each line. Call once from an entry point; a second call replaces the first. Raises
    InvalidInput for an unknown level.
    """
    level = logging.getLevelNamesMapping().get(settings.log_level.upper())
    if level is None:
        raise InvalidInput(
            f"IMAGEFARM_LOG_LEVEL is '{settings.log_level}'; use DEBUG, INFO, WARNING or ERROR.", field="log_level"
        )
    target = stream or sys.stderr
    handler = _LogHandler(target)
    handler.setFormatter(
        JsonFormatter(process) if settings.log_format == "json" else TextFormatter(process, colour=_wants_colour(target))
    )
    logging.root.handlers = [handler]
    logging.root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


class _LogHandler(logging.StreamHandler[TextIO]):
    """Drops a line that its stream cannot take, as on a full disk, instead of printing a traceback for each."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's own name
        """Report only defects of the call, such as a wrong format; the stream may take the next line."""
        error = sys.exception()
        if isinstance(error, UnicodeEncodeError):
            with suppress(OSError, ValueError):
                self.stream.write(self.format(record).encode("ascii", "backslashreplace").decode() + self.terminator)
                self.stream.flush()
        elif not isinstance(error, OSError) and not self.stream.closed:
            super().handleError(record)


class TextFormatter(logging.Formatter):
    """`2026-11-23 08:15:01.123 INFO    worker  attempt started  seconds=2.1 job=... attempt=1`, in local time."""

    def __init__(self, process: str, *, colour: bool) -> None:
        super().__init__()
        self._process = process
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; further lines of a message or traceback are indented, so that they cannot forge a record."""
        moment = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        parts = [f"{moment} {record.levelname:<7} {self._process:<10} {_printable(record.getMessage())}"]
        fields = _fields(record)
        if fields:
            parts.append(" ".join(f"{_LABELS.get(key, key)}={_value(value)}" for key, value in fields.items()))
        line = self._coloured(record.levelname, "  ".join(parts))
        error = _error_text(self, record)
        return f"{line}\n{_printable(error)}" if error else line

    def _coloured(self, level: str, line: str) -> str:
        code = _COLOURS.get(level)
        return f"\x1b[{code}m{line}\x1b[0m" if self._colour and code else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, process, pid, logger, message, the context, extra fields, error."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; values of types that JSON does not have are written as text."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in _fields(record).items() if key not in entry}
        if error := _error_text(self, record):
            entry["error"] = error
        return json.dumps(entry, ensure_ascii=False, default=str)


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of `extra=`, then those of the bound context."""
    extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
    return extra | {key: value for key, value in _CONTEXT.get().items() if value is not None}


def _error_text(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)


def _printable(text: str) -> str:
    """Escape control characters, and indent continuation lines."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text).replace("\n", "\n    ")


def _value(value: object) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if text and not re.search(r'[\s="]', text) else json.dumps(text, ensure_ascii=False)


def _wants_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
