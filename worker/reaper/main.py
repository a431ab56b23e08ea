"""Entry of the reaper process."""

from __future__ import annotations

import logging
import signal
import threading
import time

from core.logs import configure_logging
from core.settings import Settings
from worker.reaper.housekeeping import Housekeeping
from worker.reaper.reaper import Reaper

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 60.0


def run(settings: Settings) -> int:
    """Reaps until told to stop; returns the process's exit status."""
    configure_logging(settings, "reaper")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    reaper, housekeeping = Reaper(settings), Housekeeping(settings)
    tidy_at = 0.0
    while not stop.wait(settings.reaper_seconds):
        _guarded(reaper.round)
        if time.monotonic() >= tidy_at:
            tidy_at = time.monotonic() + HOUSEKEEPING_SECONDS
            _guarded(housekeeping.round)
    reaper.close()
    housekeeping.close()
    return 0


def _guarded(action: object) -> None:
    """A defect in one round must not end the reaper: the farm leans on it."""
    try:
        action()  # type: ignore[operator]
    except Exception:
        logger.exception("a round of the reaper failed; the next one tries again")
