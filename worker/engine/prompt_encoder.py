"""Encode prompts on their own thread while the loop steps, when encoder and denoiser share no device."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from worker.engine.active_request import ActiveRequest, Encoded
from worker.engine.watchdog import Deadline
from worker.pipelines.family import AnyFamily


class PromptEncoder:
    """One request after another, in the order in which they were begun; each is told of once.

    `deadline` bounds each: while others step, nobody outside would notice one that hangs. All methods are the loop's.
    """

    def __init__(self, family: AnyFamily, on_encoded: Callable[[Encoded], None], deadline: Deadline) -> None:
        self._family = family
        self._on_encoded = on_encoded
        self._deadline = deadline
        self._queue: queue.SimpleQueue[ActiveRequest] = queue.SimpleQueue()
        self._unanswered = 0
        threading.Thread(target=self._run, name="encoder", daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether something that was begun has not been told of, be it canceled or not."""
        return self._unanswered > 0

    def begin(self, each: ActiveRequest) -> None:
        self._unanswered += 1
        self._queue.put(each)

    def answer_taken(self) -> None:
        """The loop has taken one answer."""
        self._unanswered -= 1

    def _run(self) -> None:
        while True:
            self._on_encoded(self._encode(self._queue.get()))

    def _encode(self, each: ActiveRequest) -> Encoded:
        if each.canceled:
            return Encoded(each)
        started = time.monotonic()
        try:
            with self._deadline(f"encoding the prompt of {each.id}"):
                conditioning = self._family.encode(each.request)
        except BaseException as error:  # noqa: BLE001 - the loop decides what it means
            return Encoded(each, error=error)
        return Encoded(each, conditioning, seconds=time.monotonic() - started)
