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
    """Encode one request after another, in order of submission; each ends in one call of `on_encoded`.

    `deadline` bounds each encode: while other requests step, the worker's watchdog cannot notice one that hangs.
    Only the loop's thread may call the methods.
    """

    def __init__(self, family: AnyFamily, on_encoded: Callable[[Encoded], None], deadline: Deadline) -> None:
        self._family = family
        self._on_encoded = on_encoded
        self._deadline = deadline
        self._queue: queue.SimpleQueue[ActiveRequest | None] = queue.SimpleQueue()
        self._pending = 0
        threading.Thread(target=self._run, name="encoder", daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether the loop has yet to take the result of a submitted request, canceled ones included."""
        return self._pending > 0

    def submit(self, active: ActiveRequest) -> None:
        self._pending += 1
        self._queue.put(active)

    def note_result_taken(self) -> None:
        """Record that the loop has taken one result."""
        self._pending -= 1

    def close(self) -> None:
        """End the thread after the requests that were submitted; it holds the family's memory until then."""
        self._queue.put(None)

    def _run(self) -> None:
        while (active := self._queue.get()) is not None:
            self._on_encoded(self._encode(active))

    def _encode(self, active: ActiveRequest) -> Encoded:
        if active.canceled:
            return Encoded(active)
        started = time.monotonic()
        try:
            with self._deadline(f"encoding the prompt of {active.id}"):
                conditioning = self._family.encode(active.request)
        except BaseException as error:  # noqa: BLE001 - the loop decides what it means
            return Encoded(active, error=error)
        return Encoded(active, conditioning, seconds=time.monotonic() - started)
