"""Hold the attempts that this worker runs and route messages to them."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, field

from db.tables import Job
from worker.engine.messages import EngineEvent, EngineLost


@dataclass(frozen=True)
class LeaseLost:
    """The database says that this attempt no longer holds the job."""


@dataclass(frozen=True)
class CancelRequested:
    """Somebody asked to cancel the job."""


@dataclass(frozen=True)
class Drained:
    """The worker stops: give the job back."""


AttemptMessage = EngineEvent | LeaseLost | CancelRequested | Drained


@dataclass
class RunningAttempt:
    """A claimed job and what has arrived for it; `claimed_at` is of the monotonic clock, in seconds."""

    job: Job
    claimed_at: float = field(default_factory=time.monotonic)
    message: queue.SimpleQueue[AttemptMessage] = field(default_factory=queue.SimpleQueue)

    @property
    def key(self) -> tuple[str, int]:
        """(job id, attempt number): what leases and fences speak of."""
        return self.job.id, self.job.attempt

    def request_id(self, index: int) -> str:
        """The engine's name for image `index` of this attempt."""
        return f"{self.job.id}/{self.job.attempt}/{index}"


def attempt_key_of(request_id: str) -> tuple[str, int]:
    """The attempt that an engine request belongs to."""
    job_id, attempt, _ = request_id.split("/")
    return job_id, int(attempt)


def image_index_of(request_id: str) -> int:
    """The image index of an engine request."""
    return int(request_id.rsplit("/", 1)[1])


class InFlightAttempts:
    """Thread-safe; a mail for an attempt that has ended is dropped."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], RunningAttempt] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._attempts)

    def add(self, attempt: RunningAttempt) -> None:
        """From now on mail reaches this attempt and its lease is renewed."""
        with self._changed:
            self._attempts[attempt.key] = attempt

    def remove(self, attempt: RunningAttempt) -> None:
        """It has ended, one way or another."""
        with self._changed:
            self._attempts.pop(attempt.key, None)
            self._changed.notify_all()

    def keys(self) -> list[tuple[str, int]]:
        """(job id, attempt) of everything held."""
        with self._changed:
            return list(self._attempts)

    def post(self, key: tuple[str, int], message: AttemptMessage) -> None:
        """Delivers to one attempt."""
        with self._changed:
            if (attempt := self._attempts.get(key)) is not None:
                attempt.message.put(message)

    def post_to_job(self, job_id: str, message: AttemptMessage) -> None:
        """Delivers to whichever attempt of this job is here."""
        for key in self.keys():
            if key[0] == job_id:
                self.post(key, message)

    def post_to_all(self, message: AttemptMessage) -> None:
        """Delivers to every attempt."""
        for key in self.keys():
            self.post(key, message)

    def route(self, event: EngineEvent) -> None:
        """Delivers an engine event to the attempt it speaks of."""
        if isinstance(event, EngineLost):
            for key in {attempt_key_of(request_id) for request_id in event.request_ids}:
                self.post(key, event)
        elif (request_id := getattr(event, "request_id", None)) is not None:
            self.post(attempt_key_of(request_id), event)

    def wait_empty(self, timeout_seconds: float) -> bool:
        """Whether nothing is held any more, waiting that long at most."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._attempts, timeout_seconds)
