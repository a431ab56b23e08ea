"""The worker's work: a hint wakes it, it claims the best job, renders, stores and finishes, whatever happens meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from core.errors import RenderError, Unavailable
from core.lifecycle import Outcome
from core.logs import log_context
from core.settings import Settings
from db.database import Database
from db.jobs.claim import Claimant
from db.jobs.finish import finish_canceled, finish_error
from db.jobs.read import attempts_of, queued_seconds
from db.jobs.succeed import Success
from db.tables import Job
from worker.engine.client import EngineClient
from worker.events import EventPublisher
from worker.hints.publisher import HintPublisher, HintRefiller
from worker.hints.taker import HintTaker
from worker.runner.attempts import CancelRequested, Drained, InFlightAttempts, LeaseLost, RunningAttempt
from worker.runner.flower import FlowerEvents
from worker.runner.image_writer import ImageWriter
from worker.runner.isolation import Isolation
from worker.runner.job_store import IdleWorkers, JobStore
from worker.runner.rendering import AttemptRendering, AttemptStopped, InitImageReader
from worker.runner.worker_state import WorkerIdentity, WorkerState

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_DEFERRALS = 20
DEFERRAL_SECONDS = 0.03
DATABASE_RETRY_SECONDS = 0.5


class Runner:
    """Everything one attempt needs, shared by the threads of Celery's pool."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        identity: WorkerIdentity,
        model: str,
        engine: EngineClient,
        inflight: InFlightAttempts,
        state: WorkerState,
        writer: ImageWriter,
        events: EventPublisher,
        publisher: HintPublisher,
        flower: FlowerEvents,
        taker: HintTaker,
        refill: HintRefiller,
        init_images: InitImageReader,
    ) -> None:
        self._settings = settings
        self._database = database
        self._claimant = Claimant(identity.name, identity.incarnation, settings.lease_seconds)
        self._model = model
        self._engine = engine
        self._inflight = inflight
        self._state = state
        self._writer = writer
        self._events = events
        self._publisher = publisher
        self._flower = flower
        self._taker = taker
        self._refill = refill
        self._init_images = init_images
        self._isolation = Isolation()
        self._jobs = JobStore(database, model, self._claimant)
        self._idle_workers = IdleWorkers(database, model, identity.name)

    def on_hint(self, job_id: str, deferrals: int) -> None:
        """Never raises: whatever goes wrong is written to the job, or left to the lease and the reaper."""
        try:
            ran = self._handle_hint(job_id, deferrals)
            while ran:
                hint = self._taker.take()
                ran = self._claim_without_hint() if hint is None else self._handle_hint(hint.job_id, hint.deferrals)
        except Unavailable as error:
            logger.warning("left hint %s to the reaper: %s", job_id, error.message)
        except Exception:
            logger.exception("hint %s was lost to a defect; the reaper will send it again", job_id)

    def _handle_hint(self, job_id: str, deferrals: int) -> bool:
        """Whether a job was run."""
        if not self._can_render:
            self._defer_hint(job_id, deferrals)
            return False
        if deferrals < MAX_DEFERRALS and self._should_defer:
            self._defer_hint(job_id, deferrals + 1)
            return False
        return self._run_next(job_id)

    def _claim_without_hint(self) -> bool:
        """Whether a job was run. No hint is out at the moment, but jobs may wait: hints are for workers that stand idle."""
        if not self._can_render:
            return False
        if self._should_defer:
            self._refill.request_refill()
            return False
        return self._run_next(None)

    @property
    def _can_render(self) -> bool:
        return not self._state.draining and self._engine.state == "ready"

    @property
    def _should_defer(self) -> bool:
        """A busy worker takes a further job only when no idle one wants it."""
        return bool(len(self._inflight)) and self._idle_workers.any_idle()

    def _run_next(self, hint: str | None) -> bool:
        job = self._jobs.claim(hint)
        if job is None:
            return False
        self._refill.request_refill()
        self.run(job)
        return True

    def _defer_hint(self, job_id: str, deferrals: int) -> None:
        time.sleep(DEFERRAL_SECONDS)  # long enough for an idle worker, blocked on the queue, to be handed it first
        self._publisher.pass_on(job_id, self._model, deferrals)

    def run(self, job: Job) -> None:
        """Runs a claimed job to the end of this attempt."""
        attempt = RunningAttempt(job)
        self._inflight.add(attempt)
        if self._state.draining:  # the stop came between the look and the claim: the grace may already be over
            attempt.message.put(Drained())
        began = time.monotonic()
        try:
            with log_context(job_id=job.id, attempt=job.attempt):
                self._flower.started(job)
                self._events.job_changed(job)
                self._report(attempt, self._render(attempt), began)
        finally:
            self._inflight.remove(attempt)

    def _render(self, attempt: RunningAttempt) -> Job | None:
        """The job after this attempt; None when the attempt was refused: it no longer held the job."""
        with self._isolated(attempt.job):
            rendering = AttemptRendering(attempt, self._engine, self._settings, self._events, self._writer.write)
            began = time.monotonic()
            try:
                rendering.run(self._init_images.read_for(attempt.job))
                return self._succeed(attempt, rendering, time.monotonic() - began)
            except AttemptStopped as stopped:
                finished = self._stop(attempt, stopped)
            except RenderError as error:
                finished = self._fail(attempt, error.code, error.message)
            except Exception as error:
                logger.exception("the attempt ended in a defect")
                finished = self._fail(attempt, "render_failed", f"{type(error).__name__}: {error}")
            self._writer.discard(rendering.images)
            return finished

    def _isolated(self, job: Job) -> AbstractContextManager[None]:
        """A suspect renders alone, so that it can harm no other job again."""
        return self._isolation.exclusive() if self._is_suspect(job) else self._isolation.shared()

    def _is_suspect(self, job: Job) -> bool:
        """Its last paid attempt took the engine down, or it lost its worker before and this is its last chance."""
        if job.attempt == 1:
            return False
        before = [
            attempt
            for attempt in self._retry_until_available(lambda: attempts_of(self._database, job.id))
            if attempt.ended_at
        ]
        paid = [attempt.error_code for attempt in before if attempt.outcome != Outcome.RETURNED]
        last_chance = job.attempt - job.attempts_free >= job.max_attempts
        return paid[-1:] == ["engine_lost"] or (last_chance and paid[-1:] == ["worker_lost"])

    def _succeed(self, attempt: RunningAttempt, rendering: AttemptRendering, seconds: float) -> Job | None:
        job = attempt.job
        queued = queued_seconds(job, end=job.available_at)
        timings = {
            "queued_seconds": round(queued, 4),
            "loading_seconds": round(self._state.loading.within(queued, attempt.claimed_at), 4),
            "rendering_seconds": round(seconds - rendering.storing_seconds, 4),
            "storing_seconds": round(rendering.storing_seconds, 4),
        }
        success = Success(job.id, job.attempt, rendering.images, timings)
        finished = self._retry_until_available(lambda: self._jobs.succeed(success))
        if finished is None:
            self._writer.discard(rendering.images)
        return finished

    def _stop(self, attempt: RunningAttempt, stopped: AttemptStopped) -> Job | None:
        job = attempt.job
        match stopped.why:
            case LeaseLost():
                return None
            case CancelRequested():
                return self._retry_until_available(lambda: finish_canceled(self._database, job.id, job.attempt))
            case Drained():
                return self._fail(attempt, "worker_drained", "The worker was stopped; the job goes to another.")
            case _:
                return self._fail(attempt, "render_failed", "The engine dropped the request without a reason.")

    def _fail(self, attempt: RunningAttempt, code: str, message: str) -> Job | None:
        job = attempt.job
        return self._retry_until_available(lambda: finish_error(self._database, job.id, job.attempt, code, message))

    def _retry_until_available(self, query: Callable[[], T]) -> T:
        """Tries until the database has answered: finished images are held through an outage, not thrown away."""
        while True:
            try:
                return query()
            except Unavailable as error:
                logger.warning("holding a finished attempt until the database is back: %s", error.message)
                time.sleep(DATABASE_RETRY_SECONDS)

    def _report(self, attempt: RunningAttempt, job: Job | None, began: float) -> None:
        if job is None:
            logger.warning("refused: attempt %d no longer holds job %s", attempt.job.attempt, attempt.job.id)
            return
        seconds = time.monotonic() - began
        logger.info("job %s after %.2f s%s", job.status, seconds, f" ({job.error_code})" if job.error_code else "")
        self._flower.ended(job, seconds)
        self._events.job_changed(job)
