"""Attempts that this worker claims and runs now, and the gates before them: one for the loaded model, one for suspects."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from db.tables import Job
from worker.engine.messages import EngineEvent, EngineLost, Started, Step


class Isolation:
    """A lock that many threads hold in shared mode, or one in exclusive mode."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False
        self._waiting_alone = 0

    @property
    def is_closed(self) -> bool:
        """Whether one that wants it in shared mode has to wait."""
        return self._alone or self._waiting_alone > 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it with others; waits for exclusive holders, including those that are waiting."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not self._waiting_alone)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold it alone, once all others have released it."""
        with self._changed:
            self._waiting_alone += 1
            self._changed.wait_for(lambda: not self._inside)
            self._waiting_alone -= 1
            self._inside, self._alone = 1, True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
            self._leave()

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()


class ClaimGate:
    """Lets jobs of one model in: closed before another one is loaded, and empty when that starts. Thread-safe."""

    def __init__(self, model: str | None = None) -> None:
        self._model = model
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def model(self) -> str | None:
        """The model that may be claimed for; None while it is closed."""
        return self._model

    def open(self, model: str) -> None:
        """Let jobs of this model in."""
        with self._changed:
            self._model = model

    def close(self) -> None:
        """Let no further job in; those inside go on."""
        with self._changed:
            self._model = None

    @contextmanager
    def entering(self, model: str) -> Iterator[bool]:
        """Claim and run jobs of this model in the body, if the value is true; the model then stays loaded meanwhile."""
        with self._changed:
            is_open = self._model == model
            self._inside += is_open
        try:
            yield is_open
        finally:
            with self._changed:
                self._inside -= is_open
                self._changed.notify_all()

    def wait_empty(self, seconds: float) -> bool:
        """Wait until no thread is inside, at most that long; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, seconds)


class ClaimsUnderWay:
    """Counts threads that claim or run a job, so that of two that claim at once one knows of the other. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def begin(self) -> Iterator[int]:
        """Claim and run in the body; the value is the number of threads that began before and have not ended."""
        with self._lock:
            others, self._count = self._count, self._count + 1
        try:
            yield others
        finally:
            with self._lock:
                self._count -= 1


@dataclass(frozen=True)
class LeaseLost:
    """The attempt no longer holds the job, according to the database."""


@dataclass(frozen=True)
class CancelRequested:
    """A user asked to cancel the job."""


@dataclass(frozen=True)
class Drained:
    """The worker is stopping and its grace is over: give the job back."""


@dataclass(frozen=True)
class StorageBack:
    """The store works again: try to store the images that wait."""


AttemptMessage = EngineEvent | LeaseLost | CancelRequested | Drained | StorageBack


@dataclass
class RunningAttempt:
    """A claimed job and the messages for it; `claimed_at` is in seconds of the monotonic clock.

    `on_step`: takes the steps of its images, on the thread that receives them: a message would wake the attempt's thread.
    """

    job: Job
    claimed_at: float = field(default_factory=time.monotonic)
    messages: queue.SimpleQueue[AttemptMessage] = field(default_factory=queue.SimpleQueue)
    on_step: Callable[[Step], object] = lambda _: None

    @property
    def key(self) -> tuple[str, int]:
        """(job id, attempt number), as leases and fencing tokens use it."""
        return self.job.id, self.job.attempt

    def request_id(self, index: int) -> str:
        """Return the engine's request id of image `index` of this attempt."""
        return f"{self.job.id}/{self.job.attempt}/{index}"


def attempt_key_of(request_id: str) -> tuple[str, int]:
    """Return the key of the attempt that an engine request belongs to."""
    job_id, attempt, _ = request_id.split("/")
    return job_id, int(attempt)


def image_index_of(request_id: str) -> int:
    """Return the image index of an engine request."""
    return int(request_id.rsplit("/", 1)[1])


class InFlightAttempts:
    """Thread-safe. A message for an attempt that has ended is dropped."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], RunningAttempt] = {}
        self._changed = threading.Condition()
        self._giving_back = False

    def __len__(self) -> int:
        return len(self._attempts)

    def add(self, attempt: RunningAttempt) -> None:
        """Deliver messages to this attempt and renew its lease from now on."""
        with self._changed:
            self._attempts[attempt.key] = attempt
            if self._giving_back:  # Its claim was under way when all others were given back.
                attempt.messages.put(Drained())

    def remove(self, attempt: RunningAttempt) -> None:
        """Forget an attempt that has ended."""
        with self._changed:
            self._attempts.pop(attempt.key, None)
            self._changed.notify_all()

    def keys(self) -> list[tuple[str, int]]:
        """Return (job id, attempt number) of every attempt held."""
        with self._changed:
            return list(self._attempts)

    def post(self, key: tuple[str, int], message: AttemptMessage) -> None:
        """Deliver a message to one attempt."""
        with self._changed:
            if (attempt := self._attempts.get(key)) is not None:
                attempt.messages.put(message)

    def post_to_job(self, job_id: str, message: AttemptMessage) -> None:
        """Deliver a message to the attempt of this job, if it is here."""
        for key in self.keys():
            if key[0] == job_id:
                self.post(key, message)

    def post_all(self, message: AttemptMessage) -> None:
        """Deliver a message to every attempt."""
        with self._changed:
            for attempt in self._attempts.values():
                attempt.messages.put(message)

    def give_back_all(self) -> None:
        """Give every job back to the queue, including jobs that are added from now on."""
        with self._changed:
            self._giving_back = True
            for attempt in self._attempts.values():
                attempt.messages.put(Drained())

    def route(self, event: EngineEvent) -> None:
        """Deliver an engine event to the attempts that it concerns."""
        if isinstance(event, EngineLost):
            for key in {attempt_key_of(request_id) for request_id in event.request_ids}:
                self.post(key, event)
        elif isinstance(event, Started):
            pass  # No attempt waits for it, and each message wakes a thread.
        elif isinstance(event, Step):
            if (attempt := self._attempts.get(attempt_key_of(event.request_id))) is not None:
                attempt.on_step(event)
        elif (request_id := getattr(event, "request_id", None)) is not None:
            self.post(attempt_key_of(request_id), event)

    def wait_empty(self, timeout_seconds: float) -> bool:
        """Wait until no attempt is held, at most `timeout_seconds`; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._attempts, timeout_seconds)
