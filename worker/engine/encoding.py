"""Prompts are encoded on a thread of its own while the loop steps, where encoder and denoiser share no device."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from worker.engine.active import Active, Encoded
from worker.engine.watchdog import Deadline
from worker.pipelines.family import AnyFamily


class Encoder:
    """One request after another, in the order in which they were begun; each is told of once.

    `deadline` bounds each: while others step, nobody outside would notice one that hangs. All methods are the loop's.
    """

    def __init__(self, family: AnyFamily, tell: Callable[[Encoded], None], deadline: Deadline) -> None:
        self._family = family
        self._tell = tell
        self._deadline = deadline
        self._queue: queue.SimpleQueue[Active] = queue.SimpleQueue()
        self._untold = 0
        threading.Thread(target=self._run, name="encoder", daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether something that was begun has not been told of, be it canceled or not."""
        return self._untold > 0

    def begin(self, each: Active) -> None:
        self._untold += 1
        self._queue.put(each)

    def was_told(self) -> None:
        """The loop has taken one answer."""
        self._untold -= 1

    def _run(self) -> None:
        while True:
            self._tell(self._encode(self._queue.get()))

    def _encode(self, each: Active) -> Encoded:
        if each.canceled:
            return Encoded(each)
        started = time.monotonic()
        try:
            with self._deadline(f"encoding the prompt of {each.id}"):
                conditioning = self._family.encode(each.request)
        except BaseException as error:  # noqa: BLE001 - the loop decides what it means
            return Encoded(each, error=error)
        return Encoded(each, conditioning, seconds=time.monotonic() - started)
