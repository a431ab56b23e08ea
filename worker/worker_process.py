"""Run one worker process: register, load the model, serve, drain, stop."""

from __future__ import annotations

import gc
import logging
import os
import queue
import signal
import threading
import time
import warnings
from types import FrameType

from celery import signals
from celery.exceptions import SecurityWarning
from celery.worker import state as celery_state

from core.catalogue import resolve_auto
from core.errors import Unavailable
from core.logs import configure_logging
from core.queue import render_queue
from core.settings import Settings
from core.storage import LocalImageStore
from db import workers
from db.database import Database
from worker.celery_app import make_celery, register_render_task
from worker.engine.client import FINAL_LOAD_CODES, EngineClient
from worker.engine.messages import EngineEvent, EngineLost, LoadFailed, Loading, Ready, Rendered
from worker.engine.spec import spec_from_settings
from worker.events import EventPublisher
from worker.hints.publisher import HintPublisher, HintRefiller
from worker.hints.queue_subscription import QueueSubscription
from worker.hints.taker import HintTaker
from worker.runner.attempts import Drained, InFlightAttempts
from worker.runner.cancel_listener import CancelListener
from worker.runner.engine_times import EngineTimes
from worker.runner.flower import FlowerEvents
from worker.runner.image_writer import ImageWriter
from worker.runner.leases import LeaseKeeper
from worker.runner.rendering import InitImageReader
from worker.runner.runner import Runner
from worker.runner.worker_state import WorkerState, worker_identity

logger = logging.getLogger(__name__)

RETURN_JOBS_SECONDS = 5.0
"""How long the jobs of a worker that was stopped in a hurry get to be written back to the queue."""


class WorkerProcess:
    """Owns every part of a worker process; `run` returns its exit status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model = resolve_auto(settings).model.id
        self._identity = worker_identity(settings)
        self._database = Database(settings.resolved_database_url)
        self._state = WorkerState()
        self._times: EngineTimes | None = None
        self._inflight = InFlightAttempts()
        self._settled = threading.Event()
        self._signals: queue.SimpleQueue[str] = queue.SimpleQueue()  # its `put` is reentrant: safe in a signal handler
        self._stopping = False
        self._paused = False
        self._celery = make_celery(settings)
        self._engine = EngineClient(spec_from_settings(settings, self._model), self._on_engine_event)
        self._leases = LeaseKeeper(
            settings,
            self._database,
            self._identity,
            self._state,
            self._inflight,
            on_stop=self._stop_because,
            on_paused=self._on_paused,
        )
        self._subscription = QueueSubscription(self._celery, self._model, self._hostname)
        self._cancels = CancelListener(settings, self._inflight)
        self._events = EventPublisher(settings)
        self._flower = FlowerEvents(self._celery, self._hostname)

    @property
    def _hostname(self) -> str:
        return f"render@{self._identity.name}"

    def run(self) -> int:
        """From registration to the last write; 0 after an orderly stop, 1 when the model cannot be loaded at all."""
        threading.Thread(target=self._handle_signals, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self._register()
        self._leases.start()
        self._cancels.start()
        self._engine.start()
        self._settled.wait()
        try:
            if self._engine.state == "ready" and not self._stopping:
                self._serve()
            return 1 if self._engine.state == "failed" else 0
        finally:
            self._close()

    def _register(self) -> None:
        """Waits for the database if need be; jobs that an earlier life of this worker held go back to the queue."""
        registration = workers.Registration(
            self._identity.name, self._identity.incarnation, self._model, self._settings.device, capacity=0
        )
        while not self._stopping:
            try:
                for job in workers.register(self._database, registration):
                    logger.warning("gave back job %s, which this worker held when it died", job.id)
                    self._events.job_changed(job)
                return
            except Unavailable as error:
                logger.warning("waiting for the database: %s", error.message)
                time.sleep(1.0)

    def _serve(self) -> None:
        """Blocks in Celery's worker until it is told to stop."""
        publisher = HintPublisher(self._settings, self._database, self._flower.sent)
        refill = HintRefiller(publisher, self._model)
        refill.start()
        runner = Runner(
            self._settings,
            self._database,
            self._identity,
            self._model,
            self._engine,
            self._inflight,
            self._state,
            ImageWriter(LocalImageStore(self._settings.images_dir)),
            self._events,
            publisher,
            self._flower,
            HintTaker(self._settings, self._model),
            refill,
            InitImageReader(LocalImageStore(self._settings.uploads_dir)),
        )
        register_render_task(self._celery, runner.on_hint, self._model)
        signals.worker_ready.connect(self._on_celery_ready, weak=False)
        worker = self._celery.Worker(
            hostname=self._hostname,
            pool="threads",
            concurrency=self._state.snapshot().capacity,
            queues=[render_queue(self._model)],
            without_mingle=True,
            without_gossip=True,
            loglevel=self._settings.log_level,
            redirect_stdouts=False,
            quiet=True,
        )
        for noisy in ("celery.app.trace", "celery.worker.strategy"):
            logging.getLogger(noisy).setLevel(logging.WARNING)  # the runner says it with the job's id
        # Running as root is a container's habit; what makes it dangerous is pickle, which this worker refuses.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        worker.start()
        self._subscription.stop()
        refill.stop()

    def _on_celery_ready(self, **_: object) -> None:
        # Celery installs its own handlers while it starts; ours know how to drain.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if self._stopping:
            celery_state.should_stop = os.EX_OK
        self._subscription.start()
        logger.info("worker %s serves %s", self._identity.name, self._model)

    def _on_engine_event(self, event: EngineEvent) -> None:
        match event:
            case Loading():
                self._update_subscription()
                progress = "" if event.fraction is None else f" ({event.fraction:.0%})"
                self._state.change("loading", f"{event.stage}{progress}")
            case Ready():
                self._times = EngineTimes(event.info)
                self._state.change("ready", None, capacity=event.info.capacity, info=self._times.info())
                self._report_state()
                self._update_subscription()
                self._settled.set()
            case LoadFailed():
                logger.error("the model could not be loaded (%s): %s", event.code, event.message)
                self._state.change("failed", f"{event.code}: {event.message}"[:2000])
                self._report_state()
                if event.code in FINAL_LOAD_CODES:
                    self._settled.set()
            case Rendered():
                self._inflight.route(event)
                self._record_image(event)
            case EngineLost():
                logger.error("the engine was lost: %s", event.reason)
                self._update_subscription()
                self._inflight.route(event)
            case _:
                self._inflight.route(event)

    def _record_image(self, image: Rendered) -> None:
        if self._times is not None:
            self._times.record_image(image)
            self._state.update_info(self._times.info())

    def _report_state(self) -> None:
        try:
            self._leases.report_state()
        except Unavailable as error:
            logger.warning("could not tell the farm: %s", error.message)
        except Exception:
            logger.exception("could not tell the farm")

    def _on_paused(self, paused: bool) -> None:
        self._paused = paused
        self._update_subscription()

    def _update_subscription(self) -> None:
        """A worker that cannot or may not render leaves the hints to others."""
        self._subscription.set_wanted(self._engine.state == "ready" and not self._paused)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # Only this: the main thread may hold any lock now, of an event, a thread that starts, or the log.
        self._signals.put(signal.Signals(number).name)

    def _handle_signals(self) -> None:
        """Drain at the first signal, stop at once at the second."""
        self._stop_because(f"signal {self._signals.get()}")
        self._signals.get()
        self._stop_at_once()

    def _stop_because(self, why: str) -> None:
        """Drains: no new claims; what runs may finish within the grace period, then it goes back to the queue."""
        if self._stopping:
            return
        self._stopping = True
        logger.info("draining: %s; %d jobs in flight", why, len(self._inflight))
        self._state.change("draining", why)
        celery_state.should_stop = os.EX_OK
        self._settled.set()
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        if not self._inflight.wait_empty(self._settings.drain_seconds):
            logger.warning("grace is over: giving back %d jobs", len(self._inflight))
            self._inflight.post_to_all(Drained())

    def _stop_at_once(self) -> None:
        """A second signal: everything goes back to the queue, and the process ends."""
        logger.warning("stopping at once: giving back %d jobs", len(self._inflight))
        self._inflight.post_to_all(Drained())
        self._inflight.wait_empty(RETURN_JOBS_SECONDS)
        self._state.change("stopped", "stopped by a second signal")
        self._report_state()
        os._exit(0)

    def _close(self) -> None:
        self._engine.stop(grace_seconds=2.0)
        self._cancels.stop()
        self._leases.stop()
        if self._engine.state != "failed":
            self._state.change("stopped")
        self._report_state()
        self._flower.close()
        self._events.close()
        self._database.dispose()
        logger.info("worker %s has stopped", self._identity.name)


def run(settings: Settings) -> int:
    """Serves until told to stop; returns the process's exit status."""
    configure_logging(settings, "worker")
    worker = WorkerProcess(settings)
    gc.freeze()  # Modules never become garbage: they need not be looked through again.
    return worker.run()
