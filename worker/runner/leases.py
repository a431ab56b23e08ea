"""Renew the worker's leases and its row on a thread of its own, and notice cancels and commands for the worker."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from core.errors import Unavailable
from db import workers
from db.jobs.claim import renew_leases
from db.tables import Worker
from worker.runner.attempts import CancelRequested, LeaseLost
from worker.runner.context import WorkerContext

logger = logging.getLogger(__name__)


class LeaseKeeper:
    """Send a heartbeat every `heartbeat_seconds`.

    While the database is unavailable it keeps trying and stops no attempt: no other worker can claim without the database
    either, and the fencing token decides once it is back.
    """

    def __init__(
        self,
        context: WorkerContext,
        on_drain: Callable[[str], None],
        on_replaced: Callable[[str], None],
        on_paused: Callable[[bool], None],
    ) -> None:
        self._context = context
        self._on_drain = on_drain
        self._on_replaced = on_replaced
        self._on_paused = on_paused
        self._touch_failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return after the last heartbeat."""
        self._stop.set()
        self._thread.join(timeout=5)

    def heartbeat(self) -> None:
        """Renew every lease once and report the state. Raises Unavailable when the database is unavailable."""
        attempts, settings = self._context.attempts, self._context.settings
        held = attempts.keys()
        renewal = renew_leases(self._context.database, self._context.identity.name, held, settings.lease_seconds)
        for key in held:
            if key not in renewal.held:
                attempts.post(key, LeaseLost())
        for key in renewal.cancel_requested:
            attempts.post(key, CancelRequested())
        self._handle_commands(self.report_state())

    def report_state(self) -> Worker | None:
        """Write this worker's state to its row and return the row; None when a newer worker has its name."""
        snapshot = self._context.state.snapshot()
        return workers.heartbeat(
            self._context.database,
            self._context.identity.name,
            self._context.identity.incarnation,
            state=snapshot.state,
            message=snapshot.message,
            capacity=snapshot.capacity,
            info=None if snapshot.info is None else {**snapshot.info, **self._context.totals.report()},
            model=snapshot.model,
        )

    def _handle_commands(self, row: Worker | None) -> None:
        if row is None:
            self._on_replaced("a newer worker has taken over this name")
            return
        # Both times are of the database's clock.
        quarantined = row.quarantined_until is not None and row.quarantined_until > row.seen_at
        self._on_paused(row.paused_at is not None or quarantined)
        if row.drain_requested_at is not None:
            self._on_drain("an operator asked to drain it")

    def _run(self) -> None:
        away = False
        while not self._stop.wait(self._context.settings.heartbeat_seconds):
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
            self._touch()

    def _touch(self) -> None:
        """Show a probe that this process works, also while the database is away: a restart would not help then."""
        file = self._context.settings.heartbeat_file
        if file is None:
            return
        try:
            file.touch()
        except OSError as error:
            if not self._touch_failed:
                logger.warning("cannot touch the heartbeat file %s: %s", file, error.strerror)
            self._touch_failed = True
