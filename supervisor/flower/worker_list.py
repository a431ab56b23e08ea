"""Keep what Flower knows of each worker up to date: by itself it asks the workers once, at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.ioloop import PeriodicCallback

if TYPE_CHECKING:
    from flower.app import Flower


CHECK_SECONDS = 5.0
_ASKED = frozenset({"stats", "active_queues", "registered", "conf"})
"""What Flower asks all workers for."""


class WorkerList:
    """Asks workers that came or started again, and forgets those that are offline: `/api/workers` then lists the others."""

    def __init__(self, flower: Flower) -> None:
        self._flower = flower
        self._processes: dict[str, int] = {}
        self._checks = PeriodicCallback(self.check, CHECK_SECONDS * 1000)

    def start(self) -> None:
        """Check regularly, on the loop of this thread."""
        self._checks.start()

    def check(self) -> None:
        """Compare what Flower holds with the heartbeats that it has received."""
        online = {name: worker.pid for name, worker in self._flower.events.state.workers.items() if worker.alive}
        known = self._flower.workers
        again = {name for name, process in online.items() if self._processes.get(name, process) != process}
        for name in [name for name in known if name not in online or name in again]:
            del known[name]
        self._processes = online
        if any(not known.get(name, {}).keys() >= _ASKED for name in online):
            self._flower.update_workers()
