"""The batching loop: requests join and leave between steps."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial

from worker.device.faults import BrokenDevice, code_and_message, is_broken_device
from worker.engine import spec
from worker.engine.active_request import ActiveRequest, Decoded, Encoded, describe_batch
from worker.engine.admission_queue import AdmissionQueue
from worker.engine.image_decoder import ImageDecoder, preview_message
from worker.engine.io_queues import EngineQueues, InputItem
from worker.engine.messages import Cancel, Canceled, Heartbeat, Load, Release, RequestFailed, Started, Stop, Submit
from worker.engine.parts import EngineParts
from worker.engine.prompt_encoder import PromptEncoder
from worker.engine.stepping import (
    DevicePacer,
    StepAborted,
    StepAborter,
    StepProgress,
    VirtualClock,
    choose_micro_batch,
    step_isolated,
)

log = logging.getLogger(__name__)


class EngineLoop:
    """Own the family and all samples; everything here runs on one thread. Without `encoder`, this thread encodes."""

    def __init__(
        self,
        parts: EngineParts,
        queues: EngineQueues,
        decoder: ImageDecoder,
        encoder: PromptEncoder | None = None,
        on_release: Callable[[str], object] = lambda model: None,
    ) -> None:
        self._on_release = on_release
        self._next: spec.EngineSpec | None = None
        self._family = parts.family
        self._peak_memory = parts.peaks
        self._on_idle = parts.on_idle
        self._input, self._output = queues.input, queues.output
        self._decoder = decoder
        self._pacer = DevicePacer(parts.device)
        self._aborter = StepAborter(parts.blocks if parts.aborts_steps else (), queues.input.all_canceled)
        self._step_progress = StepProgress(parts.blocks, once_each=parts.aborts_steps)
        self._clock = VirtualClock()
        self._budget = parts.info.token_budget
        self._active: list[ActiveRequest] = []
        self._admission_queue = AdmissionQueue(parts, self._active, decoder.decoding, self._on_joined, self._fail, encoder)
        self._stopping = False

    def run(self) -> spec.EngineSpec | None:
        """Run until Stop or Load has arrived and all requests have ended; return what to load next, None after Stop.

        Ends the process when the device is broken.
        """
        try:
            while not (self._stopping and self._is_idle):
                if self._is_idle:
                    self._on_idle()
                    if self._peak_memory is not None:
                        self._peak_memory.learn()
                for item in self._input.take(wait=self._must_wait):
                    self._handle_command(item)
                self._admission_queue.admit()
                self._advance(choose_micro_batch(self._active, self._budget))
        except BaseException as error:
            if not is_broken_device(error):  # Waiting for the device may raise the error that broke it, too.
                raise
            log.exception("the device is broken: ending this process, so that a new engine can replace it")
            os._exit(spec.EXIT_BROKEN_DEVICE)
        self._aborter.remove()
        self._step_progress.remove()
        return self._next

    @property
    def _is_idle(self) -> bool:
        return self._admission_queue.is_empty and not self._active

    @property
    def _must_wait(self) -> bool:
        """Whether only a message from the worker, the encoder or the decoder can create work."""
        return not self._active and not self._admission_queue.can_admit

    def _handle_command(self, item: InputItem) -> None:
        match item:
            case Submit(request) if self._stopping:
                self._output.put(RequestFailed(request.id, "worker_drained", "The engine is being stopped."))
            case Submit(request, init_image, mask):
                self._admission_queue.enqueue(ActiveRequest(request, init_image, time.monotonic(), mask))
            case Cancel(request_id):
                self._cancel(request_id)
            case Stop():
                self._stopping, self._next = True, None
            case Load(following):
                self._stopping, self._next = True, following
            case Release(model):
                self._on_release(model)
            case Encoded():
                self._admission_queue.handle_encoded(item)
                self._output.put(Heartbeat())
            case Decoded():
                pass  # Only wakes the loop: each admission asks the decoder which requests still take memory.
            case _:
                log.error("not a command: %s", type(item).__name__)

    def _cancel(self, request_id: str) -> None:
        for found in [each for each in (*self._admission_queue.pending(), *self._active) if each.id == request_id]:
            self._drop(found)
            self._output.put(Canceled(request_id))

    def _drop(self, dropped: ActiveRequest) -> None:
        """Remove a request from the queue and the batch, and free its tensors."""
        self._admission_queue.drop(dropped)
        if dropped in self._active:
            self._active.remove(dropped)
        if dropped.sample is not None:
            self._family.close(dropped.sample)
            dropped.sample = None

    def _fail(self, failed: ActiveRequest, error: BaseException) -> None:
        if is_broken_device(error):
            raise BrokenDevice(str(error)) from error
        code, message = code_and_message(error)
        if code == "render_failed":
            log.error("request %s failed", failed.id, exc_info=error, extra={"job_id": failed.id.partition("/")[0]})
        self._drop(failed)
        self._output.put(RequestFailed(failed.id, code, message))

    def _on_joined(self, new: ActiveRequest) -> None:
        new.due = self._clock.due(new.sample.tokens * new.sample.steps)
        self._output.put(Started(new.id))

    def _advance(self, batch: list[ActiveRequest]) -> None:
        if not batch:
            return
        by_sample = {each.sample: each for each in batch}
        self._clock.advance(sum(each.tokens for each in batch))
        decoding = self._decoder.decoding()
        for each in batch:
            each.note_pass_start()
        report_fraction = partial(self._report_fraction, [(each, each.sample.step) for each in batch])
        try:
            with self._aborter.when_canceled([each.id for each in batch]), self._step_progress.reporting_to(report_fraction):
                outcome = step_isolated(self._family, list(by_sample))
        except StepAborted:
            return  # The input queue holds their Cancel messages.
        self._pacer.after_step()
        ended = time.monotonic()
        if outcome.out_of_memory and len(batch) > 1:
            self._shrink_budget(batch)
        for sample, error in outcome.failed.items():
            self._fail(by_sample[sample], error)
        if self._peak_memory is not None:
            self._peak_memory.note_pass(sum(each.tokens for each in batch), decoding)
        description = describe_batch(batch)
        for sample, images in outcome.passes.items():
            each = by_sample[sample]
            self._after_step(each, images, description if images == len(batch) else describe_batch([each]))
        if self._output.last_event_at < ended:  # Each message wakes the worker; a step that was reported needs no other.
            self._output.put(Heartbeat())

    def _report_fraction(self, batch: list[tuple[ActiveRequest, int]], fraction: float) -> None:
        """Report progress within a step, except for requests that have already taken it in a pass of their own."""
        for active, step in batch:
            if active.sample.step == step:
                self._output.put(active.event_within_step(fraction))

    def _shrink_budget(self, batch: list[ActiveRequest]) -> None:
        """Limit passes to less than the one that ran out of memory, until this process ends."""
        self._budget = min(self._budget, sum(each.tokens for each in batch) - 1)
        log.warning("a pass of %d images ran out of memory: passes are limited to %d tokens", len(batch), self._budget)

    def _after_step(self, active: ActiveRequest, batch_size: int, batch: str) -> None:
        if (event := active.note_step(batch_size, batch)) is not None:
            self._output.put(event)
        if active.is_done:
            self._active.remove(active)
            if self._peak_memory is not None:
                self._peak_memory.note_decode(active.request.width, active.request.height)
            self._decoder.finish(active)
        elif active.wants_preview:
            self._preview(active)

    def _preview(self, active: ActiveRequest) -> None:
        try:
            pixels = self._family.preview(active.sample)
        except Exception:
            log.exception("could not make a preview of %s", active.id)  # The image itself is not affected.
            return
        if pixels is not None:
            self._output.put_lazy(partial(preview_message, active.id, active.sample.step, pixels))
