"""A worker's view of its model's hint queue: take hints, pass them on, and keep the window full."""

from __future__ import annotations

import logging
import threading
import time

from core.errors import Unavailable
from core.settings import Settings
from db.database import Database
from worker.hints.hint import Hint
from worker.hints.publisher import HintPublisher
from worker.hints.taker import HintTaker

logger = logging.getLogger(__name__)

PASS_ON_PAUSE_SECONDS = 0.03
REFILL_INTERVAL_SECONDS = 0.5
"""Minimum interval between two refills. Only idle workers wait for hints: a busy one claims its next job without."""


class HintQueue:
    """Thread-safe. `start` and `stop` run the thread that refills the window after claims; many claims share a refill."""

    def __init__(self, settings: Settings, database: Database, model: str) -> None:
        self._model = model
        self._publisher = HintPublisher(settings, database)
        self._taker = HintTaker(settings, model)
        self._refill_requested = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hint-refill", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return after the last refill."""
        self._stopping.set()
        self._refill_requested.set()
        self._thread.join(timeout=3)
        self._taker.close()
        self._publisher.close()

    def take(self, count: int) -> list[Hint]:
        """Remove and return the oldest hints, at most `count`; fewer when there are no more, or no broker."""
        return self._taker.take(count)

    def wait(self, seconds: float) -> Hint | None:
        """Remove and return the oldest hint, once there is one; None when none came in time."""
        return self._taker.wait(seconds)

    def pass_on(self, hint: Hint, pause_seconds: float = PASS_ON_PAUSE_SECONDS) -> None:
        """Put a hint back for another worker, after a pause that lets an idle worker take an earlier one first."""
        time.sleep(pause_seconds)
        self._publisher.pass_on(hint, self._model)

    def request_refill(self) -> None:
        """Ask for a refill soon: a claim may have made room for another hint."""
        self._refill_requested.set()

    def _run(self) -> None:
        while True:
            self._refill_requested.wait()
            if self._stopping.wait(REFILL_INTERVAL_SECONDS):
                return
            self._refill_requested.clear()
            try:
                self._publisher.fill_window(self._model)
            except Unavailable as error:
                logger.debug("could not refill the hints, the reaper will: %s", error.message)
            except Exception:
                logger.exception("could not refill the hints; the next claim tries again")
