"""Entry of the worker process."""

from __future__ import annotations

import gc

from core.logs import configure_logging
from core.settings import Settings
from worker.farm_worker import FarmWorker


def run(settings: Settings) -> int:
    """Serves until told to stop; returns the process's exit status."""
    configure_logging(settings, "worker")
    worker = FarmWorker(settings)
    gc.freeze()  # Modules never become garbage: they need not be looked through again.
    return worker.run()
