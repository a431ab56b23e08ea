"""Run workers until SIGTERM: `python -m benchmarks.simulated_workers FIRST COUNT SECONDS_PER_IMAGE`.

Claims, leases, heartbeats, events for the API and Flower, images and results are the worker's own code, with connections of
each worker's own. In place of Celery's consumer and pool, a thread takes Celery's messages from Redis under the same
conditions and hands them to others.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, cast

from benchmarks.simulated_workers.engine import Clock, SimulatedEngine, engine_info
from core.logs import configure_logging
from core.settings import Settings
from core.version import VERSION
from db import workers
from db.database import Database
from worker.engine.client import EngineClient
from worker.engine.messages import Rendered, Step
from worker.events import EventPublisher
from worker.hints.consumer import make_celery
from worker.hints.hint import Hint
from worker.hints.listening import Listening
from worker.hints.queue import HintQueue
from worker.runner.attempts import ClaimGate, InFlightAttempts
from worker.runner.cancel_listener import CancelListener
from worker.runner.context import WorkerContext
from worker.runner.flower import FlowerEvents
from worker.runner.leases import LeaseKeeper
from worker.runner.runner import Runner
from worker.runner.worker_state import EngineTimes, WorkerIdentity, WorkerState

CAPACITY = 2
"""Jobs that each worker holds: one renders while the result of the other is stored."""
WAIT_SECONDS = 1.5
"""For a hint, at a time; connections of workers to Redis time out after 2 s."""
MODEL = "demo"
WORKERS_PER_PROCESS = 5
"""More would wait for each other's turn in the interpreter, which workers of their own processes do not."""
_PR_SET_PDEATHSIG = 1


class SimulatedWorker:
    """One worker, with threads that run jobs until the process ends."""

    def __init__(self, settings: Settings, name: str, clock: Clock, seconds: float) -> None:
        engine = SimulatedEngine(clock, seconds, self._on_event)
        identity, events = WorkerIdentity(name), EventPublisher(settings)
        self._context = WorkerContext(
            settings=settings,
            database=Database(settings.resolved_database_url, pool_size=4, few_plans=True),
            identity=identity,
            model=MODEL,
            state=WorkerState(),
            engine=cast(EngineClient, engine),
            attempts=InFlightAttempts(),
            events=events,
            flower=FlowerEvents(events, make_celery(settings), f"render@{name}"),
        )
        self._info = engine_info(MODEL, CAPACITY)
        self._times = EngineTimes(self._info)
        self._hints = HintQueue(settings, self._context.database, MODEL)
        self._runner = Runner(self._context, {MODEL: self._hints}, ClaimGate(MODEL))
        self._handled = 0
        self._free = threading.Condition()
        self._listening = Listening(lambda: self._handled > 0, self._runner.another_is_idle, self._runner.oldest_hint)
        self._runner.on_deferral = self._listening.note_idle
        self._listening.on_change = self._notify
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
        context.state.engine_info = self._times.info
        context.state.change("ready", None, capacity=CAPACITY, model=MODEL)
        context.totals.note_ready(self._info)
        self._leases.report_state()
        self._leases.start()
        self._cancels.start()
        self._hints.start()
        self._listening.start()
        threading.Thread(target=self._take_hints, daemon=True).start()

    def _on_event(self, event: Step | Rendered) -> None:
        if isinstance(event, Rendered):
            self._times.record_image(event)
            self._context.totals.record_image(MODEL, event)
        self._context.attempts.route(event)

    def _take_hints(self) -> None:
        with ThreadPoolExecutor(CAPACITY) as pool:
            while True:
                with self._free:
                    self._free.wait_for(lambda: self._handled < CAPACITY and self._listening.seconds() != 0)
                seconds = self._listening.seconds() or WAIT_SECONDS
                if (hint := self._hints.wait(seconds)) is not None:
                    with self._free:
                        self._handled += 1
                    pool.submit(self._handle, hint)

    def _handle(self, hint: Hint) -> None:
        try:
            self._runner.on_hint(hint.job_id, hint.deferrals, MODEL)
        finally:
            with self._free:
                self._handled -= 1
                self._free.notify()

    def _notify(self) -> None:
        with self._free:
            self._free.notify()


def main() -> None:
    """Start the workers, a few in each child process, and wait for SIGTERM."""
    first, count, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = Settings()
    configure_logging(settings, "worker")
    gc.freeze()
    ready = []
    for start in range(first, first + count, WORKERS_PER_PROCESS):
        ours, theirs = os.pipe()
        # Forked here, where no thread runs yet: the children share the memory of all modules.
        if os.fork() == 0:
            _die_with_parent()
            _serve(settings, range(start, min(start + WORKERS_PER_PROCESS, first + count)), seconds, theirs)
        os.close(theirs)
        ready.append(ours)
    for each in ready:
        if not os.read(each, 1):
            raise SystemExit("a process of workers has ended")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def _serve(settings: Settings, numbers: range, seconds: float, ready: int) -> NoReturn:
    """Run these workers until the process is killed."""
    try:
        clock = Clock()
        for number in numbers:
            SimulatedWorker(settings, f"gpu{number:03d}", clock, seconds).start()
        os.write(ready, b"1")
        threading.Event().wait()
    finally:
        os._exit(1)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    main()
