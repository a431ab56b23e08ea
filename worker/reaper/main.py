"""Entry of the reaper process."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

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
    # Walking a million files must not keep dead leases waiting: tidying has a thread of its own.
    threading.Thread(target=_tidy, args=(settings, stop), name="housekeeping", daemon=True).start()
    reaper = Reaper(settings)
    while not stop.wait(settings.reaper_seconds):
        _guarded(reaper.round)
    reaper.close()
    return 0


def _tidy(settings: Settings, stop: threading.Event) -> None:
    housekeeping = Housekeeping(settings)
    while not stop.wait(HOUSEKEEPING_SECONDS):
        _guarded(housekeeping.round)
    housekeeping.close()


def _guarded(round_: Callable[[], None]) -> None:
    """A defect in one round must not end the reaper: the farm leans on it."""
    try:
        round_()
    except Exception:
        logger.exception("a round of the reaper failed; the next one tries again")
