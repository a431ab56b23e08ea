"""Stop claiming while the store does not work: no attempt is spent on it, and finished images wait until it is back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from core.backoff import backoff_seconds
from core.errors import FarmError
from worker.runner.attempts import InFlightAttempts, StorageBack
from worker.runner.worker_state import WorkerState

logger = logging.getLogger(__name__)

FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS = 0.5, 5.0
STEADY_SECONDS = 30.0
"""An outage that follows the last one this closely goes on with its pauses: the probe may succeed where images fail."""


class StorageGate:
    """Open while the store works. Closed by `report`, and opened by a thread once the failed operations succeed again.

    A closed gate shows in the worker's state. Thread-safe.
    """

    def __init__(
        self, state: WorkerState, attempts: InFlightAttempts, on_change: Callable[[], object] = lambda: None
    ) -> None:
        self._state = state
        self._attempts = attempts
        self._on_change = on_change
        self._lock = threading.Lock()
        self._probes: dict[str, Callable[[], object]] = {}
        self.is_open = True
        """Whether jobs may be claimed. Only this class changes it."""
        self._failures = 0
        self._opened_at = float("-inf")

    def report(self, what: str, reason: str, probe: Callable[[], object]) -> None:
        """Close the gate until `probe` raises `storage_unavailable` no more; one probe is kept for each `what`.

        When it opens, every attempt gets StorageBack.
        """
        with self._lock:
            was_open, self.is_open = self.is_open, False
            self._probes[what] = probe
            if was_open:
                self._failures = self._failures if time.monotonic() - self._opened_at < STEADY_SECONDS else 0
                threading.Thread(target=self._run, name="storage-probe", daemon=True).start()
        if was_open:
            logger.error("storage unavailable: %s This worker claims no jobs until it is back", reason)
            self._show(reason)

    def _run(self) -> None:
        while True:
            self._failures += 1
            time.sleep(backoff_seconds(self._failures, FIRST_PROBE_SECONDS, MAX_PROBE_SECONDS))
            for what, probe in list(self._probes.items()):
                self._try(what, probe)
            with self._lock:
                if not self._probes:
                    self.is_open, self._opened_at = True, time.monotonic()
                    break
        logger.info("the storage is back: this worker claims jobs again")
        self._show(None)
        self._attempts.post_all(StorageBack())

    def _try(self, what: str, probe: Callable[[], object]) -> None:
        try:
            probe()
        except FarmError as error:
            if error.code == "storage_unavailable":
                self._show(error.message)
                return
        except Exception as error:
            logger.exception("could not probe the storage")
            self._show(f"{type(error).__name__}: {error}")
            return
        with self._lock:
            self._probes.pop(what, None)

    def _show(self, reason: str | None) -> None:
        self._state.block(None if reason is None else f"storage unavailable: {reason}"[:2000])
        self._on_change()
