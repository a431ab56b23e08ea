"""The batching loop: requests join and leave between steps."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from functools import partial

from worker.engine.active import Active
from worker.engine.admission import Admission
from worker.engine.events import Canceled, EngineInfo, RequestFailed, Started
from worker.engine.faults import BrokenDevice, code_and_message, is_broken_device, is_out_of_memory
from worker.engine.finishing import Finisher
from worker.engine.inbox import Inbox
from worker.engine.messages import Beat, Cancel, Message, Stop, Submit
from worker.engine.outbox import EXIT_BROKEN_DEVICE, Outbox
from worker.engine.pacing import Pacer
from worker.engine.peaks import PeakWatch
from worker.engine.pictures import preview_message
from worker.engine.planner import VirtualClock, choose_batch
from worker.engine.stepping import free_cached_memory, step_apart
from worker.pipelines.family import AnyFamily

log = logging.getLogger(__name__)


class Loop:
    """Owns the family and all samples; everything here runs on one thread."""

    def __init__(
        self,
        family: AnyFamily,
        info: EngineInfo,
        admission: Admission,
        pacer: Pacer,
        finisher: Finisher,
        inbox: Inbox,
        outbox: Outbox,
        peaks: PeakWatch | None = None,
    ) -> None:
        self._family = family
        self._info = info
        self._admission = admission
        self._pacer = pacer
        self._finisher = finisher
        self._inbox = inbox
        self._outbox = outbox
        self._peaks = peaks
        self._clock = VirtualClock()
        self._budget = info.token_budget
        self._waiting: deque[Active] = deque()
        self._active: list[Active] = []
        self._stopping = False

    def run(self) -> None:
        """Until told to stop and done with what is in flight."""
        try:
            while not (self._stopping and self._is_idle):
                if self._is_idle and self._peaks is not None:
                    self._peaks.learn()
                for command in self._inbox.take(wait=self._is_idle):
                    self._obey(command)
                self._admit()
                self._advance(choose_batch(self._active, self._budget))
        except BrokenDevice:
            log.exception("the device is beyond repair: ending, so that a new engine can take over")
            os._exit(EXIT_BROKEN_DEVICE)

    @property
    def _is_idle(self) -> bool:
        return not self._waiting and not self._active

    def _obey(self, command: Message) -> None:
        match command:
            case Submit(request, init_image) if self._stopping:
                self._outbox.put(RequestFailed(request.id, "worker_drained", "The engine is being stopped."))
            case Submit(request, init_image):
                self._waiting.append(Active(request, init_image, time.monotonic()))
            case Cancel(request_id):
                self._cancel(request_id)
            case Stop():
                self._stopping = True
            case _:
                log.error("not a command: %s", type(command).__name__)

    def _cancel(self, request_id: str) -> None:
        for found in [each for each in (*self._waiting, *self._active) if each.id == request_id]:
            self._drop(found)
            self._outbox.put(Canceled(request_id))

    def _drop(self, gone: Active) -> None:
        """Out of the batch, its tensors freed."""
        if gone in self._waiting:
            self._waiting.remove(gone)
        if gone in self._active:
            self._active.remove(gone)
        if gone.sample is not None:
            self._family.close(gone.sample)
            gone.sample = None

    def _fail(self, failed: Active, error: BaseException) -> None:
        if is_broken_device(error):
            raise BrokenDevice(str(error)) from error
        code, message = code_and_message(error)
        if code == "render_failed":
            log.error("request %s failed", failed.id, exc_info=error)
        self._drop(failed)
        self._outbox.put(RequestFailed(failed.id, code, message))

    def _admit(self) -> None:
        """Let the first ones join, in order of arrival, as long as there is room."""
        while self._waiting and self._has_room(self._waiting[0]):
            self._prepare(self._waiting.popleft())

    def _has_room(self, candidate: Active) -> bool:
        if not self._active:
            return True
        limit = min(self._info.capacity, self._family.concurrent or self._info.capacity)
        if candidate.apart or len(self._active) >= limit:
            return False
        return self._admission.admits(candidate.request, [each.request for each in self._active])

    def _prepare(self, new: Active) -> None:
        started = time.monotonic()
        try:
            self._family.check(new.request, bool(new.init_image))
            conditioning = self._family.encode(new.request)
            new.sample = self._family.start(new.request, conditioning, new.init_image)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is this request's alone
            self._failed_to_prepare(new, error)
            return
        new.init_image = b""
        new.begin(time.monotonic() - started)
        new.due = self._clock.due(new.sample.tokens * new.sample.steps)
        self._active.append(new)
        self._outbox.put(Started(new.id))

    def _failed_to_prepare(self, new: Active, error: BaseException) -> None:
        if is_out_of_memory(error) and self._active:
            # Not beside the others: again when they are done.
            free_cached_memory()
            new.apart = True
            self._waiting.appendleft(new)
            return
        self._fail(new, error)

    def _advance(self, batch: list[Active]) -> None:
        if not batch:
            return
        by_sample = {each.sample: each for each in batch}
        self._clock.advance(sum(each.tokens for each in batch))
        outcome = step_apart(self._family, list(by_sample))
        self._pacer.after_step()
        if outcome.out_of_memory and len(batch) > 1:
            self._shrink_budget(batch)
        for sample, error in outcome.failed.items():
            self._fail(by_sample[sample], error)
        if self._peaks is not None:
            self._peaks.note_pass(sum(each.tokens for each in batch))
        for sample, images in outcome.passes.items():
            self._after_step(by_sample[sample], images)
        self._outbox.put(Beat())

    def _shrink_budget(self, batch: list[Active]) -> None:
        """After a pass that did not fit, smaller ones, for the rest of this process's life."""
        self._budget = min(self._budget, sum(each.tokens for each in batch) - 1)
        log.warning("a pass of %d images did not fit: passes are cut to %d tokens", len(batch), self._budget)

    def _after_step(self, each: Active, batch_size: int) -> None:
        if (event := each.note_step(batch_size)) is not None:
            self._outbox.put(event)
        if each.is_done:
            self._active.remove(each)
            if self._peaks is not None:
                self._peaks.note_decode(each.request.width, each.request.height)
            self._finisher.finish(each)
        elif each.wants_preview:
            self._preview(each)

    def _preview(self, each: Active) -> None:
        try:
            pixels = self._family.preview(each.sample)
        except Exception:
            log.exception("no preview of %s", each.id)  # A nicety: never a reason to lose the picture.
            return
        if pixels is not None:
            self._outbox.put_made(partial(preview_message, each.id, each.sample.step, pixels))
