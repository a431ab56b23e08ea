"""Store the progress of a job file's run in a file next to it, so that the next run resumes."""

from __future__ import annotations

import fcntl
import json
import threading
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from core.errors import Conflict, InvalidInput
from core.lifecycle import JobStatus

VERSION = 1
SUFFIX = ".state"


def state_path(job_file: Path) -> Path:
    """Return the path of the state file: `jobs.jsonl` -> `jobs.jsonl.state`."""
    return job_file.with_name(job_file.name + SUFFIX)


@dataclass(frozen=True)
class RowState:
    """`job`: id of the row's job, submitted by the `tries`-th try. `status`: how the job ended; None until then."""

    tries: int = 1
    job: str | None = None
    status: JobStatus | None = None
    images: tuple[str, ...] = ()


class JobFileState:
    """The state file, locked by one process at a time.

    Every row has an idempotency key before it is sent: if the response is lost with this process, the next run gets the
    same job and not a second one.
    """

    def __init__(self, path: Path, url: str, *, afresh: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._rows: dict[str, RowState] = {}
        try:
            self._file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"Could not write {path}, the state of the job file: {error.strerror}.") from error
        try:
            self._acquire_lock()
            if afresh:
                self._file.truncate(0)
            self.run, self.url = self._read() or self._start(url)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; another run may start."""
        with self._lock:
            self._file.close()

    def of(self, identity: str) -> RowState:
        """Return the state of a row."""
        return self._rows.get(identity, RowState())

    def key(self, identity: str) -> str:
        """Return the row's idempotency key."""
        return f"{self.run}-{identity}-{self.of(identity).tries}"

    def submitted(self, identity: str, job: str) -> None:
        """Record that the farm accepted the row as this job."""
        self._record(identity, replace(self.of(identity), job=job))

    def ended(self, identity: str, status: JobStatus, images: tuple[str, ...]) -> None:
        """Record that the row's job has ended."""
        self._record(identity, replace(self.of(identity), status=status, images=images))

    def again(self, identity: str) -> None:
        """Record that the row is submitted once more, as a new job."""
        self._record(identity, RowState(tries=self.of(identity).tries + 1))

    def _acquire_lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Another `imagefarm batch` is running this file ({self.path} is locked).", code="already_running"
            ) from None

    def _start(self, url: str) -> tuple[str, str]:
        run = uuid.uuid4().hex
        self._write({"imagefarm_batch": VERSION, "run": run, "url": url})
        return run, url

    def _record(self, identity: str, state: RowState) -> None:
        with self._lock:
            self._rows[identity] = state
            self._write(
                {
                    "row": identity,
                    "tries": state.tries,
                    "job": state.job,
                    "status": state.status,
                    "images": list(state.images),
                }
            )

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _read(self) -> tuple[str, str] | None:
        """Return (run, url) of an earlier run; None for an empty file. Drops a last line that was cut short."""
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            self._file.truncate(sum(len(line.encode()) for line in lines[:-1]))
            lines.pop()
        if not lines:
            return None
        try:
            head, *rows = map(json.loads, lines)
            for row in rows:
                self._rows[row["row"]] = _row_state(row)
            if head["imagefarm_batch"] == VERSION:
                return head["run"], head["url"]
        except (ValueError, KeyError, TypeError):
            pass
        raise InvalidInput(
            f"{self.path} is not the state of a job file. Move it away, or start over with --again.",
            code="batch_state_invalid",
        )


def _row_state(row: dict[str, Any]) -> RowState:
    status = JobStatus(row["status"]) if row["status"] else None
    return RowState(int(row["tries"]), row["job"], status, tuple(row["images"]))
