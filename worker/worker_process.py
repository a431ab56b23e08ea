"""Run one worker process: register, load the model, serve, drain, stop."""

from __future__ import annotations

import functools
import logging
import os
import queue
import signal
import threading
import time
import warnings
from types import FrameType
from typing import Any

from celery import signals
from celery.exceptions import SecurityWarning
from celery.worker import state as celery_state

from core.catalogue import resolve_auto, served_models
from core.catalogue.auto_check import ensure_auto_checked
from core.collections_pause import collect_from_now
from core.errors import Unavailable
from core.logs import configure_logging
from core.node import node_name
from core.queue import CELERY_HEARTBEAT_SECONDS, UPSCALE, render_queue
from core.settings import Settings
from core.tracing import tracing_of
from core.version import VERSION
from db import workers
from db.database import Database
from db.worker_models import LIVE_SECONDS
from worker.engine.client import FINAL_LOAD_CODES, EngineClient
from worker.engine.messages import EngineEvent, EngineLost, LoadFailed, Loading, Ready, Rendered, Unloaded
from worker.engine.spec import spec_from_settings
from worker.events import EventPublisher
from worker.hints.consumer import HintConsumer, make_celery, register_render_task
from worker.hints.listening import Listening
from worker.hints.pool import WakingPool, wake
from worker.hints.queue import HintQueue
from worker.hints.queue_subscription import QueueSubscription
from worker.hints.transport import install_transports
from worker.remote_control import restrict_remote_control
from worker.runner.attempts import ClaimGate, InFlightAttempts
from worker.runner.cancel_listener import CancelListener
from worker.runner.context import WorkerContext
from worker.runner.flower import FlowerEvents
from worker.runner.idle_stop import IdleStop
from worker.runner.leases import LeaseKeeper
from worker.runner.model_switch import ModelSwitch
from worker.runner.name_lock import NameLock, lock_names, name_taken
from worker.runner.runner import Runner
from worker.runner.worker_state import EngineTimes, WorkerState
from worker.safety_hook import load_safety_hook

logger = logging.getLogger(__name__)

MOST_THREADS = 64
"""Threads of a worker with several models, which hold different numbers of jobs; threads start as they are needed."""
GIVE_BACK_SECONDS = 5.0
"""Most time for giving jobs back to the queue after a second signal."""


class WorkerProcess:
    """Owns every part of a worker process; `run` returns its exit status."""

    def __init__(self, settings: Settings, name_lock: NameLock, stop_idle_seconds: float = 0.0) -> None:
        self._settings = settings
        self._name_lock = name_lock
        self._times: EngineTimes | None = None
        self._settled = threading.Event()
        self._signals: queue.SimpleQueue[str] = queue.SimpleQueue()  # its `put` is reentrant: safe in a signal handler
        self._stopping = False
        self._told_to_stop = False
        self._paused = False
        models = () if settings.model == UPSCALE else served_models(settings)
        self._models = [each.id for each in models] or [UPSCALE]
        model, identity, events = self._models[0], name_lock.identity, EventPublisher(settings)
        self._celery = make_celery(settings)
        self._hostname = f"render@{identity.name}"
        self._context = WorkerContext(
            settings=settings,
            database=Database(settings.resolved_database_url, few_plans=True),
            identity=identity,
            model=model,
            state=WorkerState(),
            engine=EngineClient(spec_from_settings(settings, model), self._on_engine_event),
            attempts=InFlightAttempts(),
            events=events,
            flower=FlowerEvents(events, self._celery, self._hostname),
            tracing=tracing_of(settings, f"worker {identity.name}"),
        )
        self._state, self._engine, self._attempts = self._context.state, self._context.engine, self._context.attempts
        self._leases = LeaseKeeper(
            self._context,
            on_drain=self._stop_on_request,
            on_replaced=self._stop_because,
            on_paused=self._on_paused,
        )
        self._gate = ClaimGate()
        self._switch = ModelSwitch(
            self._context, models, self._gate, self._on_claiming_change, lambda: not (self._stopping or self._paused)
        )
        self._subscription = QueueSubscription(self._celery, self._models, self._hostname)
        self._was_ready = False
        self._consumer: Any = None
        self._cancels = CancelListener(settings, self._attempts)
        self._idle: IdleStop | None = None
        if stop_idle_seconds:
            said = f"no job for {stop_idle_seconds:g} s"
            self._idle = IdleStop(self._attempts, stop_idle_seconds, lambda: self._stop_on_request(said))
            self._idle.start()

    def run(self) -> int:
        """Serve until stopped; return 0 only when a signal or an operator asked for the stop.

        Raises NameInUse when a live worker has the name.
        """
        threading.Thread(target=self._handle_signals, name="signals", daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            self._register()
        except workers.NameInUse:
            self._close_connections()
            raise
        self._leases.start()
        self._cancels.start()
        self._switch.start()
        self._engine.start()
        self._settled.wait()
        try:
            if self._was_ready and not self._stopping:
                self._serve()
            return 0 if self._told_to_stop and self._engine.state != "failed" else 1
        finally:
            self._close()

    def _register(self) -> None:
        """Register, waiting for the database. Jobs that an earlier process of this worker held go back to the queue.

        Raises NameInUse.
        """
        context, name = self._context, self._context.identity.name
        registration = workers.Registration(
            name,
            context.identity.incarnation,
            context.model,
            self._settings.device,
            0,
            tuple(self._models),
            host=node_name(self._settings),
            version=VERSION,
        )
        while not self._stopping:
            try:
                for job in workers.register(
                    context.database,
                    registration,
                    replaces=self._name_lock.predecessors,
                    seen_seconds=max(LIVE_SECONDS, 2 * self._settings.heartbeat_seconds),
                ):
                    logger.warning(
                        "gave back job %s, which an earlier process of worker %s held",
                        job.id,
                        name,
                        extra={"job_id": job.id},
                    )
                    context.events.job_changed(job)
                return
            except Unavailable as error:
                logger.warning("waiting for the database: %s", error.message)
                time.sleep(1.0)

    def _serve(self) -> None:
        """Block in Celery's worker until it is stopped."""
        models = self._models
        hints = {model: HintQueue(self._settings, self._context.database, model) for model in models}
        for each in hints.values():
            each.start()
        runner = Runner(self._context, hints, self._gate, self._on_claiming_change)
        listening = Listening(lambda: bool(celery_state.reserved_requests), runner.another_is_idle, runner.oldest_hint)
        runner.on_deferral = listening.note_idle
        listening.start()
        register_render_task(self._celery, runner.on_hint, models)
        restrict_remote_control([render_queue(model) for model in models], lambda: self._switch.summary)
        signals.worker_ready.connect(self._on_celery_ready, weak=False)
        # Celery warns of running as root, as containers do, because of pickle, which this worker refuses.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        worker = self._celery.Worker(
            hostname=self._hostname,
            pool=WakingPool,
            concurrency=self._most_threads(),
            queues=[render_queue(models[0])],
            consumer_cls=functools.partial(HintConsumer, on_stop=self._on_consumer_stop, listening=listening),
            without_mingle=True,
            without_gossip=True,
            heartbeat_interval=CELERY_HEARTBEAT_SECONDS,
            loglevel=self._settings.log_level,
            redirect_stdouts=False,
            quiet=True,
        )
        for noisy in ("celery.app.trace", "celery.worker.strategy"):
            logging.getLogger(noisy).setLevel(logging.WARNING)  # The runner logs the same with the job's id.
        self._consumer = worker
        self._limit_hints()
        worker.start()
        listening.stop()
        runner.close()
        self._subscription.stop()
        for each in hints.values():
            each.stop()

    def _most_threads(self) -> int:
        """Return the size of Celery's pool: what the loaded model holds, and room for the other models' capacity."""
        capacity = self._state.snapshot().capacity or 1
        return capacity if len(self._models) == 1 else max(capacity, MOST_THREADS)

    def _limit_hints(self) -> None:
        """Let Celery take as many hints at a time as the loaded model can hold jobs."""
        if self._consumer is not None and len(self._models) > 1:
            self._consumer.max_concurrency = self._state.snapshot().capacity

    def _on_celery_ready(self, **_: object) -> None:
        # Celery installed its own handlers while it started; only ours drain.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        if self._stopping:
            celery_state.should_stop = os.EX_OK
        self._subscription.start()
        logger.info("worker %s serves %s", self._context.identity.name, ", ".join(self._models))

    def _on_engine_event(self, event: EngineEvent) -> None:
        if self._idle is not None:
            self._idle.note()
        match event:
            case Loading():
                model = self._switch.on_loading()
                self._update_subscription()
                progress = "" if event.fraction is None else f" ({event.fraction:.0%})"
                self._state.change("loading", f"{model}: {event.stage}{progress}", model=model)
            case Ready():
                self._times = EngineTimes(event.info)
                self._state.engine_info, self._was_ready = self._times.info, True
                self._context.totals.note_ready(event.info)
                self._context.sizes.note(event.info)
                self._state.change("ready", None, capacity=event.info.capacity, model=event.info.model)
                self._report_state()
                self._limit_hints()
                self._switch.on_ready(event.info)
                self._update_subscription()
                self._settled.set()
            case Unloaded():
                self._switch.on_unloaded()
                self._state.change("unloaded", "No model is loaded; a job loads one.")
                self._report_state()
                self._update_subscription()
            case LoadFailed():
                logger.error("the model could not be loaded (%s): %s", event.code, event.message)
                self._state.change("failed", f"{event.code}: {event.message}"[:2000])
                has_other = self._switch.on_load_failed(event)
                self._report_state()
                if event.code in FINAL_LOAD_CODES and not has_other:
                    self._settled.set()
            case Rendered():
                self._attempts.route(event)
                self._record_image(event)
            case EngineLost():
                logger.error("the engine was lost: %s", event.reason)
                self._switch.on_engine_lost(event.reason)
                self._update_subscription()
                self._attempts.route(event)
            case _:
                self._attempts.route(event)

    def _record_image(self, image: Rendered) -> None:
        if self._times is not None:
            self._times.record_image(image)
            self._context.totals.record_image(self._times.model, image)

    def _report_state(self) -> None:
        try:
            self._leases.report_state()
        except Unavailable as error:
            logger.warning("could not report the worker's state: %s", error.message)
        except Exception:
            logger.exception("could not report the worker's state")

    def _on_paused(self, paused: bool) -> None:
        self._paused = paused
        self._update_subscription()

    def _on_claiming_change(self) -> None:
        self._update_subscription()
        self._report_state()

    def _on_consumer_stop(self) -> None:
        """Stop claiming when Celery ends by itself; the supervisor then restarts the worker."""
        if self._stopping:
            return
        if celery_state.should_stop is not None and celery_state.should_stop is not False:
            self._stop_on_request("a signal, which Celery's own handlers took while it started")
        else:
            logger.error("Celery's consumer ended without being asked to; see the error above")
            self._stop_because("Celery's consumer ended")

    def _update_subscription(self) -> None:
        """Subscribe to the loaded model's queue only while this worker can and may render."""
        may_render = self._engine.state == "ready" and not self._paused and not self._state.is_blocked
        self._subscription.set_wanted(self._gate.model if may_render else None)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        # Only this: the main thread may hold any lock now, of an event, a thread that starts, or the log.
        self._signals.put(signal.Signals(number).name)

    def _handle_signals(self) -> None:
        """Drain at the first signal, stop at once at the second."""
        self._stop_on_request(f"signal {self._signals.get()}")
        self._signals.get()
        self._stop_at_once()

    def _stop_on_request(self, why: str) -> None:
        self._told_to_stop = True
        self._stop_because(why)

    def _stop_because(self, why: str) -> None:
        """Drain: claim no more jobs, let running ones finish for `drain_seconds`, then give the rest back to the queue."""
        if self._stopping:
            return
        self._stopping = True
        logger.info("draining: %s; %d jobs in flight", why, len(self._attempts))
        self._state.change("draining", why)
        celery_state.should_stop = os.EX_OK
        if (loop := getattr(self._consumer, "hub", None)) is not None:
            wake(loop)
        self._settled.set()
        threading.Thread(target=self._drain, daemon=True).start()

    def _drain(self) -> None:
        # Not only until no attempt is held: a claim that is under way may still add one.
        time.sleep(self._settings.drain_seconds)
        if len(self._attempts):
            logger.warning("the grace period is over: giving back %d jobs", len(self._attempts))
        self._attempts.give_back_all()

    def _stop_at_once(self) -> None:
        """Give all jobs back to the queue and end the process."""
        logger.warning("stopping at once: giving back %d jobs", len(self._attempts))
        self._attempts.give_back_all()
        self._attempts.wait_empty(GIVE_BACK_SECONDS)
        self._state.change("stopped", "stopped by a second signal")
        self._report_state()
        os._exit(0)

    def _close(self) -> None:
        if self._idle is not None:
            self._idle.stop()
        self._switch.stop()
        self._engine.stop(grace_seconds=2.0)
        self._cancels.stop()
        self._leases.stop()
        if self._engine.state != "failed":
            self._state.change("stopped")
        self._report_state()
        self._close_connections()
        logger.info("worker %s has stopped", self._context.identity.name)

    def _close_connections(self) -> None:
        self._context.events.close()
        if self._context.tracing is not None:
            self._context.tracing.close()
        self._context.database.dispose()


def run(settings: Settings, stop_idle_seconds: float = 0.0) -> int:
    """Serve until SIGTERM or SIGINT, or until no job came for `stop_idle_seconds` (0: for ever); return the exit status.

    Raises NameInUse when a live worker has the configured name; without one, the next free name is taken.
    Raises InvalidInput for a safety hook that cannot be used.
    """
    configure_logging(settings, "worker")
    load_safety_hook(settings.safety_hook)
    install_transports()
    ensure_auto_checked(settings, logger.info)
    if settings.model == "auto" and (explanation := resolve_auto(settings).explanation):
        logger.info(explanation)
    collect_from_now()
    name = settings.worker_name
    for lock in lock_names(settings):
        try:
            return WorkerProcess(settings, lock, stop_idle_seconds).run()
        except workers.NameInUse:
            name = lock.identity.name
            lock.release()
    raise name_taken(name)
