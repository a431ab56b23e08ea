"""Keep what a job file's run has done in a file beside it, so that the next run resumes there."""

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
    """`jobs.jsonl` -> `jobs.jsonl.state`."""
    return job_file.with_name(job_file.name + SUFFIX)


@dataclass(frozen=True)
class RowState:
    """`job`: the job that was made of the row, by the `tries`-th try. `status`: how it ended; None while it goes on."""

    tries: int = 1
    job: str | None = None
    status: JobStatus | None = None
    images: tuple[str, ...] = ()


class JobFileState:
    """Held by one process at a time. Every row gets an idempotency key before it is sent: if the answer is lost with

    this process, the next run gets the same job again and not a second one.
    """

    def __init__(self, path: Path, url: str, *, afresh: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._rows: dict[str, RowState] = {}
        try:
            self._file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"Cannot write {path}, which keeps how far the batch is: {error.strerror}.") from error
        try:
            self._own()
            if afresh:
                self._file.truncate(0)
            self.run, self.url = self._read() or self._begin(url)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is written from now on; another run may begin."""
        with self._lock:
            self._file.close()

    def of(self, identity: str) -> RowState:
        """What is known of a row."""
        return self._rows.get(identity, RowState())

    def key(self, identity: str) -> str:
        """The row's idempotency key."""
        return f"{self.run}-{identity}-{self.of(identity).tries}"

    def submitted(self, identity: str, job: str) -> None:
        """The farm has the row, as this job."""
        self._note(identity, replace(self.of(identity), job=job))

    def ended(self, identity: str, status: JobStatus, images: tuple[str, ...]) -> None:
        """Its job has ended."""
        self._note(identity, replace(self.of(identity), status=status, images=images))

    def again(self, identity: str) -> None:
        """The row is to be tried once more, as a new job."""
        self._note(identity, RowState(tries=self.of(identity).tries + 1))

    def _own(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Another `imagefarm batch` works on this file now ({self.path} is in use).", code="already_running"
            ) from None

    def _begin(self, url: str) -> tuple[str, str]:
        run = uuid.uuid4().hex
        self._write({"imagefarm_batch": VERSION, "run": run, "url": url})
        return run, url

    def _note(self, identity: str, state: RowState) -> None:
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
        """(run, url) of an earlier run; None for an empty file. A last line that was cut short is dropped."""
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
            f"{self.path} is not the state of a batch. Move it away, or say --again to begin anew.",
            code="batch_state_invalid",
        )


def _row_state(row: dict[str, Any]) -> RowState:
    status = JobStatus(row["status"]) if row["status"] else None
    return RowState(int(row["tries"]), row["job"], status, tuple(row["images"]))
