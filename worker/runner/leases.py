"""The worker's proof of life, on a thread of its own: leases renewed, the worker's row kept fresh, cancels noticed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.errors import Unavailable
from core.settings import Settings
from db import workers
from db.database import Database
from db.jobs.lease import renew_leases
from db.tables import Worker
from worker.runner.attempts import CancelRequested, InFlightAttempts, LeaseLost
from worker.runner.worker_state import WorkerIdentity, WorkerState

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Beats every `heartbeat_seconds`. While the database is away it keeps trying and stops nothing:

    nobody else can claim without the database either, and the fence decides once it is back.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        identity: WorkerIdentity,
        state: WorkerState,
        inflight: InFlightAttempts,
        on_stop: Callable[[str], None],
        on_paused: Callable[[bool], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._identity = identity
        self._state = state
        self._inflight = inflight
        self._on_stop = on_stop
        self._on_paused = on_paused
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begins to beat."""
        self._thread.start()

    def stop(self) -> None:
        """The last beat has been."""
        self._stop.set()
        self._thread.join(timeout=5)

    def heartbeat(self) -> None:
        """Renews everything once; raises Unavailable when the database is away."""
        held = self._inflight.keys()
        renewal = renew_leases(self._database, self._identity.name, held, self._settings.lease_seconds)
        for key in held:
            if key not in renewal.held:
                self._inflight.post(key, LeaseLost())
        for key in renewal.cancel_requested:
            self._inflight.post(key, CancelRequested())
        self._handle_commands(self.report_state())

    def report_state(self) -> Worker | None:
        """Tells the farm how this worker is; None: a newer worker has its name."""
        snapshot = self._state.snapshot()
        return workers.heartbeat(
            self._database,
            self._identity.name,
            self._identity.incarnation,
            state=snapshot.state,
            message=snapshot.message,
            capacity=snapshot.capacity,
            info=snapshot.info,
        )

    def _handle_commands(self, row: Worker | None) -> None:
        if row is None:
            self._on_stop("a newer worker has taken this name over")
            return
        self._on_paused(row.paused_at is not None)
        if row.drain_requested_at is not None:
            self._on_stop("asked to drain")

    def _run(self) -> None:
        away = False
        while not self._stop.wait(self._settings.heartbeat_seconds):
            try:
                self.heartbeat()
                if away:
                    logger.info("the database is back")
                away = False
            except Unavailable as error:
                if not away:
                    logger.warning("cannot renew leases: %s", error.message)
                away = True
            except Exception:
                logger.exception("a heartbeat failed; the next one tries again")
