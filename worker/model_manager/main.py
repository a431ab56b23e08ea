"""Entry points of the model manager: a process of its own, or a thread of the reaper."""

from __future__ import annotations

import logging
import signal

from core.logs import configure_logging
from core.settings import Settings
from core.stop_event import StopEvent
from worker.model_manager.manager import ModelManager

logger = logging.getLogger(__name__)

ROUND_SECONDS = 2.0


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the process's exit status."""
    configure_logging(settings, "model-manager")
    stop = StopEvent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    manage(settings, stop)
    return 0


def manage(settings: Settings, stop: StopEvent) -> None:
    """Run operations until `stop`; those that are under way then are left to the next manager."""
    manager = ModelManager(settings)
    while not stop.wait(ROUND_SECONDS):
        try:
            manager.round()
        except Exception:
            logger.exception("a round of the model manager failed; the next one tries again")
    manager.close()
