"""Run workers of one process until SIGTERM: `python -m benchmarks.simulated_workers FIRST COUNT SECONDS_PER_IMAGE`.

Claims, leases, heartbeats, events for the API and Flower, images and results are the worker's own code, with connections of
each worker's own. In place of Celery's consumer, each thread takes Celery's messages from Redis, as a worker's threads do
while they linger.
"""

from __future__ import annotations

import resource
import signal
import sys
import threading
from typing import cast

from benchmarks.simulated_workers.engine import Clock, SimulatedEngine, engine_info
from core.logs import configure_logging
from core.settings import Settings
from core.version import VERSION
from db import workers
from db.database import Database
from worker.celery_app import make_celery
from worker.engine.client import EngineClient
from worker.engine.messages import Rendered, Step
from worker.events import EventPublisher
from worker.hints.queue import HintQueue
from worker.runner.attempts import InFlightAttempts
from worker.runner.cancel_listener import CancelListener
from worker.runner.claim_gate import ClaimGate
from worker.runner.context import WorkerContext
from worker.runner.flower import FlowerEvents
from worker.runner.leases import LeaseKeeper
from worker.runner.runner import Runner
from worker.runner.worker_state import EngineTimes, WorkerIdentity, WorkerState

CAPACITY = 2
"""Jobs that each worker holds: one renders while the result of the other is stored."""
WAIT_SECONDS = 1.0
MODEL = "demo"


class SimulatedWorker:
    """One worker, with threads that run jobs until the process ends."""

    def __init__(self, settings: Settings, name: str, clock: Clock, seconds: float) -> None:
        engine = SimulatedEngine(clock, seconds, self._on_event)
        identity = WorkerIdentity(name)
        self._context = WorkerContext(
            settings=settings,
            database=Database(settings.resolved_database_url, pool_size=2),
            identity=identity,
            model=MODEL,
            state=WorkerState(),
            engine=cast(EngineClient, engine),
            attempts=InFlightAttempts(),
            events=EventPublisher(settings),
            flower=FlowerEvents(settings, make_celery(settings), f"render@{name}"),
        )
        self._info = engine_info(MODEL, CAPACITY)
        self._times = EngineTimes(self._info)
        self._hints = HintQueue(settings, self._context.database, MODEL)
        self._runner = Runner(self._context, {MODEL: self._hints}, ClaimGate(MODEL))
        self._leases = LeaseKeeper(
            self._context, on_drain=lambda _: None, on_replaced=lambda _: None, on_paused=lambda _: None
        )
        self._cancels = CancelListener(settings, self._context.attempts)

    def start(self) -> None:
        """Register, report as ready, and take jobs from now on."""
        context, identity = self._context, self._context.identity
        registration = workers.Registration(
            identity.name, identity.incarnation, MODEL, "cpu", CAPACITY, (MODEL,), host=identity.name, version=VERSION
        )
        workers.register(context.database, registration)
        context.state.change("ready", None, capacity=CAPACITY, info=self._times.info(), model=MODEL)
        context.totals.note_ready(self._info)
        self._leases.report_state()
        self._leases.start()
        self._cancels.start()
        self._hints.start()
        for _ in range(CAPACITY):
            threading.Thread(target=self._take_jobs, daemon=True).start()

    def _on_event(self, event: Step | Rendered) -> None:
        if isinstance(event, Rendered):
            self._times.record_image(event)
            self._context.totals.record_image(MODEL, event)
            self._context.state.update_info(self._times.info())
        self._context.attempts.route(event)

    def _take_jobs(self) -> None:
        while True:
            hint = self._hints.wait(WAIT_SECONDS)
            if hint is not None:
                self._runner.on_hint(hint.job_id, hint.deferrals, MODEL)


def main() -> None:
    """Start the workers and wait for SIGTERM."""
    first, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = Settings()
    configure_logging(settings, "worker")
    clock = Clock()
    for number in range(first, first + count):
        SimulatedWorker(settings, f"gpu{number:03d}", clock, seconds).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
