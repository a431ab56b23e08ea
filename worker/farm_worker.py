"""One worker's life: register, load, serve, drain, stop."""

from __future__ import annotations

import logging
import os
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
from core.queue import render_queue
from core.settings import Settings
from core.storage import LocalImageStore
from db import workers
from db.database import Database
from worker.celery_app import make_celery, serve
from worker.changes import ChangeBroadcaster
from worker.consumer_switch import ConsumerSwitch
from worker.engine.client import FINAL_LOAD_CODES, EngineClient
from worker.engine.events import EngineEvent, EngineLost, LoadFailed, Loading, Ready, Rendered
from worker.engine.from_settings import engine_spec
from worker.hint_taker import HintTaker
from worker.hints import HintPublisher
from worker.refill import Refill
from worker.runner.attempt import Drained
from worker.runner.cancels import CancelListener
from worker.runner.engine_times import EngineTimes
from worker.runner.flower import FlowerEvents
from worker.runner.identity import identify
from worker.runner.inflight import InFlight
from worker.runner.init_images import InitImages
from worker.runner.leases import LeaseKeeper
from worker.runner.runner import Runner
from worker.runner.state import WorkerState
from worker.runner.storing import ImageWriter

logger = logging.getLogger(__name__)

GIVE_BACK_SECONDS = 5.0
"""How long the jobs of a worker that was stopped in a hurry get to be written back to the queue."""


class FarmWorker:
    """Owns every part of a worker process; `run` returns its exit status."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._model = resolve_auto(settings).model.id
        self._identity = identify(settings)
        self._database = Database(settings.resolved_database_url)
        self._state = WorkerState()
        self._times: EngineTimes | None = None
        self._inflight = InFlight()
        self._settled = threading.Event()
        self._signals = 0
        self._stopping = False
        self._paused = False
        self._celery = make_celery(settings)
        self._engine = EngineClient(engine_spec(settings, self._model), self._on_engine_event)
        self._leases = LeaseKeeper(
            settings,
            self._database,
            self._identity,
            self._state,
            self._inflight,
            on_stop=self._stop_because,
            on_paused=self._on_paused,
        )
        self._switch = ConsumerSwitch(self._celery, self._model, self._hostname)
        self._cancels = CancelListener(settings, self._inflight)
        self._news = ChangeBroadcaster(settings)
        self._flower = FlowerEvents(self._celery, self._hostname)

    @property
    def _hostname(self) -> str:
        return f"render@{self._identity.name}"

    def run(self) -> int:
        """From registration to the last write; 0 after an orderly stop, 1 when the model cannot be loaded at all."""
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
                    self._news.job_changed(job)
                return
            except Unavailable as error:
                logger.warning("waiting for the database: %s", error.message)
                time.sleep(1.0)

    def _serve(self) -> None:
        """Blocks in Celery's worker until it is told to stop."""
        publisher = HintPublisher(self._settings, self._database, self._flower.sent)
        refill = Refill(publisher, self._model)
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
            self._news,
            publisher,
            self._flower,
            HintTaker(self._settings, self._model),
            refill,
            InitImages(LocalImageStore(self._settings.uploads_dir)),
        )
        serve(self._celery, runner, self._model)
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
        self._switch.stop()
        refill.stop()

    def _on_celery_ready(self, **_: object) -> None:
        # Celery installs its own handlers while it starts; ours know how to drain.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if self._stopping:
            celery_state.should_stop = os.EX_OK
        self._switch.start()
        logger.info("worker %s serves %s", self._identity.name, self._model)

    def _on_engine_event(self, event: EngineEvent) -> None:
        match event:
            case Loading():
                self._listen_if_able()
                progress = "" if event.fraction is None else f" ({event.fraction:.0%})"
                self._state.change("loading", f"{event.stage}{progress}")
            case Ready():
                self._times = EngineTimes(event.info)
                self._state.change("ready", None, capacity=event.info.capacity, info=self._times.told())
                self._say_now()
                self._listen_if_able()
                self._settled.set()
            case LoadFailed():
                logger.error("the model could not be loaded (%s): %s", event.code, event.message)
                self._state.change("failed", f"{event.code}: {event.message}"[:2000])
                self._say_now()
                if event.code in FINAL_LOAD_CODES:
                    self._settled.set()
            case Rendered():
                self._inflight.route(event)
                self._note_image(event)
            case EngineLost():
                logger.error("the engine was lost: %s", event.reason)
                self._listen_if_able()
                self._inflight.route(event)
            case _:
                self._inflight.route(event)

    def _note_image(self, image: Rendered) -> None:
        if self._times is not None:
            self._times.note(image)
            self._state.tell(self._times.told())

    def _say_now(self) -> None:
        try:
            self._leases.say_state()
        except Unavailable as error:
            logger.warning("could not tell the farm: %s", error.message)
        except Exception:
            logger.exception("could not tell the farm")

    def _on_paused(self, paused: bool) -> None:
        self._paused = paused
        self._listen_if_able()

    def _listen_if_able(self) -> None:
        """A worker that cannot or may not render leaves the hints to others."""
        self._switch.want(self._engine.state == "ready" and not self._paused)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals > 1:
            threading.Thread(target=self._leave_now, daemon=True).start()
        else:
            self._stop_because(f"signal {signal.Signals(number).name}")

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

    def _leave_now(self) -> None:
        """A second signal: everything goes back to the queue, and the process ends."""
        logger.warning("stopping at once: giving back %d jobs", len(self._inflight))
        self._inflight.post_to_all(Drained())
        self._inflight.wait_empty(GIVE_BACK_SECONDS)
        self._state.change("stopped", "stopped by a second signal")
        self._say_now()
        os._exit(0)

    def _close(self) -> None:
        self._engine.stop(grace_seconds=2.0)
        self._cancels.stop()
        self._leases.stop()
        if self._engine.state != "failed":
            self._state.change("stopped")
        self._say_now()
        self._flower.close()
        self._news.close()
        self._database.dispose()
        logger.info("worker %s has stopped", self._identity.name)
