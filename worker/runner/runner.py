"""Claim a job for each hint, render it, store its images and finish it, through outages and restarts of other parts."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TypeVar

from core.errors import RenderError, Unavailable
from core.lifecycle import JobKind, Outcome
from core.logs import log_context
from core.render import RenderRequest
from core.tracing import Tracing
from db.jobs.claim import Claimant
from db.jobs.finish import finish_canceled, finish_error
from db.jobs.read import attempts_of, queued_seconds
from db.jobs.succeed import StoredImage, Success
from db.tables import Job
from storage.stores import open_images, open_uploads
from worker.engine.messages import Rendered
from worker.hints.hint import Hint
from worker.hints.queue import PASS_ON_PAUSE_SECONDS, HintQueue
from worker.runner.attempts import (
    CancelRequested,
    ClaimGate,
    ClaimsUnderWay,
    Drained,
    Isolation,
    LeaseLost,
    RunningAttempt,
    image_index_of,
)
from worker.runner.context import WorkerContext
from worker.runner.faster_workers import FasterWorkers
from worker.runner.idle_workers import IdleWorkers
from worker.runner.image_guard import ImageGuard
from worker.runner.image_writer import ImageWriter
from worker.runner.job_store import JobStore
from worker.runner.outputs import OutputsFolder
from worker.runner.rendering import AttemptRendering, AttemptStopped, StartImageReader, StartImages
from worker.runner.storage_gate import StorageGate
from worker.runner.worker_state import OwnSpeed, own_speed
from worker.safety_hook import load_safety_hook

logger = logging.getLogger(__name__)

T = TypeVar("T")

DATABASE_RETRY_SECONDS = 0.5
LINGER_SECONDS = 0.5
"""How long a thread without a further job waits for a hint itself, before it goes back to Celery's pool."""
LINGER_SLICE_SECONDS = 0.25
MOST_LINGERING = 4
"""Threads that wait so at once."""
OWN_SPEED_SECONDS = 0.1
"""How long this worker's speed counts before it is computed again, from its latest images."""


class Runner:
    """Thread-safe: the threads of Celery's pool call `on_hint`, each for one attempt at a time.

    `hints`: by model. `gate`: lets jobs of the loaded model in.
    """

    def __init__(
        self,
        context: WorkerContext,
        hints: Mapping[str, HintQueue],
        gate: ClaimGate,
        on_storage_change: Callable[[], object] = lambda: None,
    ) -> None:
        self._context = context
        self._hints = hints
        self._gate = gate
        self._database = context.database
        self._writer = ImageWriter(open_images(context.settings))
        self._start_images = StartImageReader(open_uploads(context.settings), open_images(context.settings))
        self._outputs = OutputsFolder.of(context.settings, context.state)
        self._guard = ImageGuard(load_safety_hook(context.settings.safety_hook))
        self._storage = StorageGate(context.state, context.attempts, on_storage_change)
        self.on_deferral: Callable[[], object] = lambda: None
        """Called when a hint is passed on because another worker is idle."""
        self._isolation = Isolation()
        self._lingering = threading.Semaphore(MOST_LINGERING)
        self._claims = ClaimsUnderWay()
        self._measured: tuple[float, OwnSpeed | None] = (float("-inf"), None)
        identity = context.identity
        claimant = Claimant(identity.name, identity.incarnation, context.settings.lease_seconds)
        self._jobs = JobStore(context.database, claimant, self._take_hints, self._claims.__len__, context.sizes.of)
        self._idle_workers = {
            model: IdleWorkers(context.settings, context.database, model, identity.name) for model in hints
        }
        self._faster = {model: FasterWorkers(context.database, model, identity.name, context.sizes.of) for model in hints}

    def on_hint(self, job_id: str, deferrals: int, model: str) -> None:
        """Run jobs of this model, the first for this hint, until none is left to take.

        Never raises: an error is written to the job, or left to the lease and the reaper.
        """
        try:
            more = self._handle_hint(model, Hint(job_id, deferrals))
            while more:
                more = self._claim_without_hint(model) or self._linger(model)
        except Unavailable as error:
            logger.warning("left hint %s to the reaper: %s", job_id, error.message, extra={"job_id": job_id})
        except Exception:
            logger.exception("could not handle hint %s; the reaper will publish it again", job_id, extra={"job_id": job_id})

    def _handle_hint(self, model: str, hint: Hint) -> bool:
        """Use the hint or pass it on; return whether a job was run."""
        pause = PASS_ON_PAUSE_SECONDS
        with self._gate.entering(model) as is_loaded:
            if is_loaded and self._can_render:
                with self._claims.begin() as others:
                    is_deferred = hint.may_be_deferred and self._should_defer(model, others)
                    if not is_deferred and not (pause := self._pause_for_faster(model, others)):
                        return self._run_next(model, hint.job_id)
                if is_deferred:
                    hint, pause = hint.deferred(), PASS_ON_PAUSE_SECONDS
                    self.on_deferral()
        self._hints[model].pass_on(hint, pause)
        return False

    def _claim_without_hint(self, model: str) -> bool:
        """Claim a waiting job, with a hint or without: hints are only for idle workers; return whether one ran."""
        if not self._jobs.more_may_wait:  # What arrives now comes with a hint.
            return False
        with self._gate.entering(model) as is_loaded:
            if not (is_loaded and self._can_render):
                return False
            with self._claims.begin() as others:
                if not (self._should_defer(model, others) or self._pause_for_faster(model, others)):
                    return self._run_next(model, None)
        self._hints[model].request_refill()
        return False

    def _linger(self, model: str) -> bool:
        """Wait for the next hint and use it, which costs a fraction of Celery's delivery; return whether a job was run."""
        if not (self._can_render and self._gate.model == model and self._lingering.acquire(blocking=False)):
            return False
        hint, until = None, time.monotonic() + LINGER_SECONDS
        try:
            # In slices, since a busy worker leaves the hints to idle ones.
            while hint is None and time.monotonic() < until and not self._should_defer(model):
                hint = self._hints[model].wait(LINGER_SLICE_SECONDS)
        finally:
            self._lingering.release()
        return hint is not None and self._handle_hint(model, hint)

    @property
    def _can_render(self) -> bool:
        return not self._context.state.draining and self._context.engine.state == "ready" and self._storage.is_open

    def _should_defer(self, model: str, claiming: int = 0) -> bool:
        """Return whether this worker is busy, or `claiming` other jobs, and another one that has the model is idle.

        One that is so slow that this worker would finish the job before it, besides its own, does not count.
        """
        if not (held := len(self._context.attempts) + claiming):
            return False
        own = self._own_speed()
        slowest = own.seconds * (held + 1) if own is not None else None
        return self._idle_workers[model].any_idle(slowest)

    def another_is_idle(self) -> bool:
        """Return whether a worker that should take hints before this one, which is busy, is idle. Raises Unavailable."""
        model = self._gate.model
        return model is not None and self._should_defer(model, max(1, len(self._claims)))

    def oldest_hint(self) -> bytes | None:
        """Return the message for the loaded model that waits for longest; None when none waits."""
        model = self._gate.model
        return self._hints[model].oldest_waiting() if model is not None else None

    def _pause_for_faster(self, model: str, claiming: int) -> float:
        """Return the seconds for which an idle worker leaves its hint to faster ones; 0 where it claims, or is not idle.

        Until its own speed is measured, it leaves nothing to others.
        """
        if len(self._context.attempts) + claiming or (own := self._own_speed()) is None:
            return 0.0
        return self._faster[model].pause_seconds(own)

    def _own_speed(self) -> OwnSpeed | None:
        measured_at, own = self._measured
        if time.monotonic() - measured_at > OWN_SPEED_SECONDS:
            own = own_speed(self._context.state.snapshot().info)
            self._measured = time.monotonic(), own
        return own

    def _take_hints(self, model: str, count: int) -> list[str]:
        return [hint.job_id for hint in self._hints[model].take(count)]

    def _run_next(self, model: str, hint: str | None) -> bool:
        job = self._jobs.claim(model, hint)
        if job is None:
            return False
        if self._jobs.some_without_hint:  # The claim may have made room for their hints.
            self._hints[model].request_refill()
        self.run(job)
        return True

    def run(self, job: Job) -> None:
        """Run a claimed job to the end of this attempt."""
        attempt = RunningAttempt(job)
        self._context.attempts.add(attempt)
        started = time.monotonic()
        try:
            with log_context(job_id=job.id, attempt=job.attempt):
                announcement, tracing = _Announcement(self._context, job), self._context.tracing
                if tracing is None:
                    finished = self._render(attempt, announcement)
                else:
                    finished = self._render_traced(attempt, announcement, tracing)
                announcement.make()
                self._report(attempt, finished, started)
        finally:
            self._context.attempts.remove(attempt)

    def _render_traced(self, attempt: RunningAttempt, announcement: _Announcement, tracing: Tracing) -> Job | None:
        job = attempt.job
        tracing.past("job.queued", job.id, job.available_at, time.time(), attempt=job.attempt)
        worker = self._context.identity.name
        with tracing.span("job.attempt", job.id, attempt=job.attempt, model=job.model, worker=worker) as added:
            finished = self._render(attempt, announcement)
            added["status"] = str(finished.status) if finished is not None else "refused"
            if finished is not None and finished.error_code:
                added["error_code"] = finished.error_code
            return finished

    def _store_traced(
        self, tracing: Tracing, attempt: RunningAttempt, request: RenderRequest, rendered: Rendered
    ) -> StoredImage:
        """Store an image; the engine's work on it, which is over, becomes a span of its own."""
        job_id, index, spent = attempt.job.id, image_index_of(request.id), rendered.timings
        now = time.time()
        busy = spent.encode_seconds + spent.steps_seconds + spent.decode_seconds
        tracing.past("image.render", job_id, now - busy, now, index=index, steps=len(rendered.record.batch_sizes))
        with tracing.span("image.store", job_id, index=index):
            return self._writer.write(attempt, request, rendered)

    def _render(self, attempt: RunningAttempt, announcement: _Announcement) -> Job | None:
        """Return the job after this attempt; None when the attempt no longer held it and was refused."""
        tracing = self._context.tracing
        if self._isolation.is_closed or _may_wait(attempt.job):
            announcement.make()
        with self._isolated(attempt.job):
            rendering = AttemptRendering(
                attempt,
                self._context.engine,
                self._context.settings,
                self._context.events,
                self._writer.write if tracing is None else partial(self._store_traced, tracing),
                self._guard,
                lambda reason: self._storage.report("images", reason, self._writer.check),
                announcement.make,
            )
            started = time.monotonic()
            try:
                rendering.run(self._read_start_images(attempt.job))
                return self._succeed(attempt, rendering, time.monotonic() - started)
            except AttemptStopped as stopped:
                finished = self._stop(attempt, stopped)
            except RenderError as error:
                finished = self._fail(attempt, error.code, error.message)
            except Exception as error:
                logger.exception("the attempt failed with an unexpected error")
                finished = self._fail(attempt, "render_failed", f"{type(error).__name__}: {error}")
            self._writer.discard(rendering.images)
            return finished

    def _read_start_images(self, job: Job) -> StartImages:
        try:
            return self._start_images.read_for(job)
        except RenderError as error:
            if error.code == "storage_unavailable":
                self._storage.report("uploads", error.message, lambda: self._start_images.read_for(job))
            raise

    def _isolated(self, job: Job) -> AbstractContextManager[None]:
        """Let a suspect render alone, so that it cannot harm another job again."""
        return self._isolation.exclusive() if self._is_suspect(job) else self._isolation.shared()

    def _is_suspect(self, job: Job) -> bool:
        """Return whether the last attempt that counts ended the engine, or lost its worker and this one is the last."""
        if job.attempt == 1:
            return False
        before = [
            attempt
            for attempt in self._retry_until_available(lambda: attempts_of(self._database, job.id))
            if attempt.ended_at
        ]
        counted = [attempt.error_code for attempt in before if attempt.outcome != Outcome.RETURNED]
        last_chance = job.attempt - job.attempts_free >= job.max_attempts
        return counted[-1:] == ["engine_lost"] or (last_chance and counted[-1:] == ["worker_lost"])

    def _succeed(self, attempt: RunningAttempt, rendering: AttemptRendering, seconds: float) -> Job | None:
        job = attempt.job
        queued = queued_seconds(job, end=job.available_at)
        timings = {
            "queued_seconds": round(queued, 4),
            "loading_seconds": round(self._context.state.loading.within(queued, attempt.claimed_at), 4),
            "rendering_seconds": round(seconds - rendering.storing_seconds, 4),
            "storing_seconds": round(rendering.storing_seconds, 4),
        }
        success = Success(job.id, job.attempt, rendering.images, timings)
        tracing = self._context.tracing
        with nullcontext() if tracing is None else tracing.span("job.commit", job.id):
            finished = self._retry_until_available(lambda: self._jobs.succeed(success))
        if finished is None:
            self._writer.discard(rendering.images)
        elif self._outputs is not None:
            self._outputs.add(finished, [image.key for image in sorted(rendering.images, key=lambda image: image.index)])
        return finished

    def close(self) -> None:
        """Finish what may be done after the last job has ended."""
        if self._outputs is not None:
            self._outputs.close()
        for each in self._idle_workers.values():
            each.close()

    def _stop(self, attempt: RunningAttempt, stopped: AttemptStopped) -> Job | None:
        job = attempt.job
        match stopped.reason:
            case LeaseLost():
                return None
            case CancelRequested():
                return self._retry_until_available(lambda: finish_canceled(self._database, job.id, job.attempt))
            case Drained():
                return self._fail(attempt, "worker_drained", "The worker was stopped; another worker takes the job.")
            case _:
                return self._fail(attempt, "render_failed", "The engine dropped the request without a reason.")

    def _fail(self, attempt: RunningAttempt, code: str, message: str) -> Job | None:
        job = attempt.job
        return self._retry_until_available(lambda: finish_error(self._database, job.id, job.attempt, code, message))

    def _retry_until_available(self, query: Callable[[], T]) -> T:
        """Retry until the database answers: finished images are held through an outage, not discarded."""
        while True:
            try:
                return query()
            except Unavailable as error:
                logger.warning("holding a finished attempt until the database is back: %s", error.message)
                time.sleep(DATABASE_RETRY_SECONDS)

    def _report(self, attempt: RunningAttempt, job: Job | None, started: float) -> None:
        if job is None:
            logger.warning("refused: attempt %d no longer holds job %s", attempt.job.attempt, attempt.job.id)
            return
        seconds = time.monotonic() - started
        logger.info("job %s after %.2f s%s", job.status, seconds, f" ({job.error_code})" if job.error_code else "")
        self._context.flower.ended(job, seconds)
        self._context.events.job_changed(job)


class _Announcement:
    """Publishes to API and Flower, once, that an attempt has started: best while its engine renders, which does not wait."""

    def __init__(self, context: WorkerContext, job: Job) -> None:
        self._context = context
        self._job = job
        self._is_made = False

    def make(self) -> None:
        """Publish the start, unless that was done."""
        if not self._is_made:
            self._is_made = True
            self._context.flower.started(self._job)
            self._context.events.job_changed(self._job)


def _may_wait(job: Job) -> bool:
    """Return whether something else than the engine may take long before the job is in the engine."""
    return job.attempt > 1 or job.kind == JobKind.UPSCALE or bool(job.input.get("init_image"))
