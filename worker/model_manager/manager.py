"""Claim operations on models' weights and run each in a child process until its end, a cancel or a stop."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from core.errors import Unavailable
from core.logs import configure_logging
from core.model_operations import OperationKind
from core.settings import Settings
from core.stop_event import StopEvent
from db import model_operations
from db.database import Database
from db.tables import ModelOperation
from db.workers import live_workers
from worker.model_manager.operation_child import OperationChild, Outcome

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 3
ROUND_SECONDS = 2.0
REPORT_SECONDS = 1.0
BUSY_CODE = "pull_running"
BUSY_RETRY_SECONDS = 5.0
"""Pause while another process, such as `imagefarm models pull` in a terminal, works on the same folder."""


class ModelManager:
    """Runs operations. Any number may run, on one machine or several; any may be killed at any time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings.resolved_database_url, pool_size=2)
        self._name = socket.gethostname()[:120]
        self._lease_seconds = settings.lease_seconds
        self._runs: dict[threading.Thread, OperationChild] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._away = False

    def round(self) -> None:
        """Start operations that wait. An outage of the database is logged, not raised."""
        try:
            while len(self._runs) < MOST_AT_ONCE and not self._stopping.is_set():
                operation = model_operations.claim(self._database, self._name, self._lease_seconds)
                if operation is None:
                    break
                self._start(operation)
            self._away = False
        except Unavailable as error:
            if not self._away:
                logger.warning("operations on models wait for the database: %s", error.message)
            self._away = True

    def close(self) -> None:
        """End all operations so that another manager resumes them; close the database."""
        self._stopping.set()
        with self._lock:
            runs = dict(self._runs)
        for child in runs.values():
            child.wake()
        for thread in runs:
            thread.join()
        self._database.dispose()

    def _start(self, operation: ModelOperation) -> None:
        logger.info(
            "operation %s starts: %s %s (attempt %d)", operation.id, operation.kind, operation.model, operation.attempt
        )
        if operation.kind == OperationKind.REMOVE_WEIGHTS and live_workers(self._database, operation.model):
            model_operations.fail(self._database, operation, "model_in_use", in_use(operation.model))
            return
        child = OperationChild(self._settings, operation.kind, operation.model)
        thread = threading.Thread(target=self._run, args=(operation, child), name=f"operation-{operation.model}")
        with self._lock:
            self._runs[thread] = child
        thread.start()

    def _run(self, operation: ModelOperation, child: OperationChild) -> None:
        try:
            self._follow(operation, child)
        except Exception:
            logger.exception("operation %s cannot be followed; its lease expires and another attempt starts", operation.id)
        finally:
            child.stop()
            with self._lock:
                self._runs.pop(threading.current_thread(), None)

    def _follow(self, operation: ModelOperation, child: OperationChild) -> None:
        reported = None
        held: ModelOperation | None = operation
        while (outcome := child.wait(REPORT_SECONDS)) is None:
            progress = child.progress
            if self._stopping.is_set():
                child.stop()
                with suppress(Unavailable):  # Its lease expires then.
                    model_operations.give_back(self._database, operation)
                return
            with suppress(Unavailable):  # No manager can claim the operation meanwhile.
                changed = progress if progress != reported else None
                held = model_operations.report(self._database, operation, changed, self._lease_seconds)
                reported = progress
            if held is None:
                logger.warning("operation %s has another executor now: this one ends", operation.id)
                return
            if held.cancel_requested_at is not None:
                child.stop()
                model_operations.set_canceled(self._database, operation)
                logger.info("operation %s was canceled", operation.id)
                return
        self._finish(operation, outcome)

    def _finish(self, operation: ModelOperation, outcome: Outcome) -> None:
        """Store the outcome, for as long as the database does not answer and this process runs."""
        while True:
            try:
                self._store(operation, outcome)
            except Unavailable:
                if self._stopping.wait(REPORT_SECONDS):
                    return
            else:
                return

    def _store(self, operation: ModelOperation, outcome: Outcome) -> None:
        if not outcome.error_code:
            model_operations.succeed(self._database, operation, outcome.result)
            logger.info("operation %s succeeded", operation.id)
        elif outcome.error_code == BUSY_CODE:
            model_operations.give_back(self._database, operation, outcome.message, after_seconds=BUSY_RETRY_SECONDS)
        else:
            model_operations.fail(self._database, operation, outcome.error_code, outcome.message)
            logger.warning("operation %s failed (%s): %s", operation.id, outcome.error_code, outcome.message)


def in_use(model: str) -> str:
    """Return why the weights of a model that is served now stay."""
    return f"A live worker serves {model}: stop it before you remove the weights."


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; return the process's exit status."""
    configure_logging(settings, "model-manager")
    stop = StopEvent()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    manage(settings, lambda: not stop.wait(ROUND_SECONDS))
    return 0


def manage(settings: Settings, wait: Callable[[], bool]) -> None:
    """Run a round each time that `wait` returns true. False: leave operations that are under way to the next manager."""
    manager = ModelManager(settings)
    while wait():
        try:
            manager.round()
        except Exception:
            logger.exception("a round of the model manager failed; the next one tries again")
    manager.close()
