"""Write the farm's log: each line with its process's name on the terminal, and in a rotated file per process."""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

FILE_BYTES, FILE_COUNT = 10 * 2**20, 5
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
FARM = "farm"


class Console:
    """Writes whole lines from any thread. `json_lines`: one JSON object per line, for log collectors."""

    def __init__(self, log_dir: Path, stream: TextIO | None = None, *, json_lines: bool = False) -> None:
        self._log_dir = log_dir
        self._stream = stream or sys.stdout
        self._json_lines = json_lines
        self._coloured = self._stream.isatty() and not os.environ.get("NO_COLOR") and not json_lines
        self._lock = threading.Lock()
        self._files: dict[str, _LogFile] = {}

    def farm(self, message: str) -> None:
        """Write a message of the supervisor."""
        self.line(FARM, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}" if not self._json_lines else message)

    def plain(self, text: str) -> None:
        """Write text for people at the terminal without a prefix; with `json_lines`, write it as messages."""
        for line in text.splitlines():
            if self._json_lines:
                self.line(FARM, line)
            else:
                self._write(line)

    def line(self, name: str, text: str) -> None:
        """Write a line of the process `name` to the terminal and its file."""
        self.file_only(name, text)
        self._write(self._as_json(name, text) if self._json_lines else f"{self._prefix(name)} {text}")

    def file_only(self, name: str, text: str) -> None:
        """Write a line only to the file of the process `name`."""
        with self._lock:
            trouble = self._file(name).add(text)
        if trouble:
            message = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {trouble}"
            self._write(self._as_json(FARM, trouble) if self._json_lines else f"{self._prefix(FARM)} {message}")

    def close(self) -> None:
        with self._lock:
            for handler in self._files.values():
                handler.close()
            self._files.clear()

    def _write(self, line: str) -> None:
        with self._lock:
            try:
                self._stream.write(f"{line}\n")
                self._stream.flush()
            except (BrokenPipeError, OSError, ValueError):
                pass  # the terminal was closed; the files still get every line

    def _prefix(self, name: str) -> str:
        label = f"{name:<9}|"
        if not self._coloured:
            return label
        return f"\x1b[{COLOURS[sum(name.encode()) % len(COLOURS)]}m{label}\x1b[0m"

    def _as_json(self, name: str, text: str) -> str:
        if text.startswith("{"):
            return text
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": now, "process": name, "service": name, "message": text}, ensure_ascii=False)

    def _file(self, name: str) -> _LogFile:
        if name not in self._files:
            self._files[name] = _LogFile(self._log_dir / f"{name}.log")
        return self._files[name]


class _LogFile(logging.handlers.RotatingFileHandler):
    """A rotated file that survives a full disk: lines that it cannot take are lost there, and it resumes by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=FILE_BYTES, backupCount=FILE_COUNT, encoding="utf-8", errors="backslashreplace", delay=True
        )
        self._failing = False
        self._errors: list[BaseException] = []

    def add(self, text: str) -> str | None:
        """Write a line; return what to tell the operator when writing begins to fail, or works again."""
        self._errors.clear()
        self.emit(logging.makeLogRecord({"msg": text}))
        failing, before = bool(self._errors), self._failing
        self._failing = failing
        if failing and not before:
            error = self._errors[0]
            reason = error.strerror if isinstance(error, OSError) else error
            return f"{self.baseFilename} cannot be written ({reason}): its lines are lost until it can, the farm goes on"
        if before and not failing:
            return f"{self.baseFilename} is written again"
        return None

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's own name
        """Remember the error instead of printing a traceback for each line, and reopen the file for the next line."""
        self._errors.append(sys.exception() or OSError("unknown error"))
        stream, self.stream = self.stream, None
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.close()
