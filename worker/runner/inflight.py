"""The attempts this worker holds, and the routing of mail to them."""

from __future__ import annotations

import threading

from worker.engine.events import EngineEvent, EngineLost
from worker.runner.attempt import Mail, RunningAttempt, attempt_of


class InFlight:
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

    def post(self, key: tuple[str, int], mail: Mail) -> None:
        """Delivers to one attempt."""
        with self._changed:
            if (attempt := self._attempts.get(key)) is not None:
                attempt.mail.put(mail)

    def post_to_job(self, job_id: str, mail: Mail) -> None:
        """Delivers to whichever attempt of this job is here."""
        for key in self.keys():
            if key[0] == job_id:
                self.post(key, mail)

    def post_to_all(self, mail: Mail) -> None:
        """Delivers to every attempt."""
        for key in self.keys():
            self.post(key, mail)

    def route(self, event: EngineEvent) -> None:
        """Delivers an engine event to the attempt it speaks of."""
        if isinstance(event, EngineLost):
            for key in {attempt_of(request_id) for request_id in event.request_ids}:
                self.post(key, event)
        elif (request_id := getattr(event, "request_id", None)) is not None:
            self.post(attempt_of(request_id), event)

    def wait_empty(self, timeout_seconds: float) -> bool:
        """Whether nothing is held any more, waiting that long at most."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._attempts, timeout_seconds)
