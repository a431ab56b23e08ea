"""Entry point of the reaper process."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from queue import SimpleQueue

from core.collections_pause import collect_from_now
from core.extras import is_installed
from core.logs import configure_logging
from core.settings import Settings
from core.stop_event import StopEvent
from worker.model_manager.manager import manage as manage_models
from worker.reaper.reaper import Reaper
from worker.reaper.retention import RetentionRound

logger = logging.getLogger(__name__)

RETENTION_SECONDS = 60.0


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the process's exit status."""
    configure_logging(settings, "reaper")
    stop = StopEvent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # Retention has a thread of its own: a walk over a million files must not delay expired leases.
    threading.Thread(target=_run_retention, args=(settings, stop), name="retention", daemon=True).start()
    operations: SimpleQueue[bool] = SimpleQueue()
    managing = threading.Thread(target=manage_models, args=(settings, operations.get), name="model-manager")
    manages = settings.model_manager and is_installed("worker")
    if manages:
        managing.start()

    def on_operations() -> None:
        if manages and operations.empty():  # one round takes all that wait
            operations.put(True)

    reaper = Reaper(settings, on_operations)
    collect_from_now()
    while not stop.wait(reaper.pause_seconds):
        _log_errors(reaper.round)
    reaper.close()
    if manages:
        operations.put(False)
        managing.join()
    return 0


def _run_retention(settings: Settings, stop: StopEvent) -> None:
    retention = RetentionRound(settings)
    while not stop.wait(RETENTION_SECONDS):
        _log_errors(retention.round)
    retention.close()


def _log_errors(round_: Callable[[], None]) -> None:
    """Run one round and log any error: the farm depends on the reaper, so no defect may end it."""
    try:
        round_()
    except Exception:
        logger.exception("a round of the reaper failed; the next one tries again")
