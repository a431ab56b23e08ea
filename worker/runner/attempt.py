"""One attempt in flight: the mailbox between the engine's events, the lease keeper and the thread that runs it."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass, field

from db.tables import Job
from worker.engine.events import EngineEvent


@dataclass(frozen=True)
class LeaseLost:
    """The database says that this attempt no longer holds the job."""


@dataclass(frozen=True)
class CancelRequested:
    """Somebody asked to cancel the job."""


@dataclass(frozen=True)
class Drained:
    """The worker stops: give the job back."""


Mail = EngineEvent | LeaseLost | CancelRequested | Drained


@dataclass
class RunningAttempt:
    """A claimed job and what has arrived for it; `claimed_at` is of the monotonic clock, in seconds."""

    job: Job
    claimed_at: float = field(default_factory=time.monotonic)
    mail: queue.SimpleQueue[Mail] = field(default_factory=queue.SimpleQueue)

    @property
    def key(self) -> tuple[str, int]:
        """(job id, attempt number): what leases and fences speak of."""
        return self.job.id, self.job.attempt

    def request_id(self, index: int) -> str:
        """The engine's name for image `index` of this attempt."""
        return f"{self.job.id}/{self.job.attempt}/{index}"


def attempt_of(request_id: str) -> tuple[str, int]:
    """The attempt that an engine request belongs to."""
    job_id, attempt, _ = request_id.split("/")
    return job_id, int(attempt)


def index_of(request_id: str) -> int:
    """The image index of an engine request."""
    return int(request_id.rsplit("/", 1)[1])
