"""Keeping the window of hints full while this worker empties it, beside its work and not in its way."""

from __future__ import annotations

import logging
import threading

from core.errors import Unavailable
from worker.hints import HintPublisher

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2
"""Busy workers need no hints to go on, and each costs a message: only idle ones, and free places, wait for them."""


class Refill:
    """A thread that fills the model's window whenever a claim has made room; many claims make one round."""

    def __init__(self, publisher: HintPublisher, model: str) -> None:
        self._publisher = publisher
        self._model = model
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refill", daemon=True)

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def want(self) -> None:
        """A job was claimed: there may be room for another hint."""
        self._wanted.set()

    def stop(self) -> None:
        """The last round has been."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(timeout=3)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._stopping.wait(PAUSE_SECONDS):
                return
            self._wanted.clear()
            try:
                self._publisher.fill_window(self._model)
            except Unavailable as error:
                logger.debug("left the window to the reaper: %s", error.message)
            except Exception:
                logger.exception("could not fill the window; the next claim tries again")
