"""The batching loop: requests join and leave between steps."""

from __future__ import annotations

import logging
import os
import time
from functools import partial

from worker.engine import exits
from worker.engine.abandon import Abandon, StepAbandoned
from worker.engine.active import Active, Decoded, Encoded, in_words
from worker.engine.admission import Admission
from worker.engine.encoding import Encoder
from worker.engine.entrance import Entrance
from worker.engine.events import Canceled, EngineInfo, RequestFailed, Started
from worker.engine.faults import BrokenDevice, code_and_message, is_broken_device
from worker.engine.finishing import Finisher
from worker.engine.inbox import Inbox, Mail
from worker.engine.messages import Beat, Cancel, Stop, Submit
from worker.engine.outbox import Outbox
from worker.engine.pacing import Pacer
from worker.engine.peaks import PeakWatch
from worker.engine.pictures import preview_message
from worker.engine.planner import VirtualClock, choose_batch
from worker.engine.step_parts import StepParts
from worker.engine.stepping import step_apart
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
        encoder: Encoder | None = None,
        abandon: Abandon | None = None,
        parts: StepParts | None = None,
    ) -> None:
        self._family = family
        self._info = info
        self._pacer = pacer
        self._finisher = finisher
        self._inbox = inbox
        self._outbox = outbox
        self._peaks = peaks
        self._abandon = abandon or Abandon((), inbox.all_canceled)
        self._parts = parts or StepParts(())
        self._clock = VirtualClock()
        self._budget = info.token_budget
        self._active: list[Active] = []
        self._entrance = Entrance(
            family,
            info.capacity,
            admission,
            self._active,
            finisher.decoding,
            self._joined,
            self._fail,
            encoder,
        )
        self._stopping = False

    def run(self) -> None:
        """Until told to stop and done with what is in flight."""
        try:
            while not (self._stopping and self._is_idle):
                if self._is_idle and self._peaks is not None:
                    self._peaks.learn()
                for mail in self._inbox.take(wait=self._has_nothing_to_do):
                    self._obey(mail)
                self._entrance.admit()
                self._advance(choose_batch(self._active, self._budget))
        except BaseException as error:
            if not is_broken_device(error):  # Waiting for the device may raise what broke it, too.
                raise
            log.exception("the device is beyond repair: ending, so that a new engine can take over")
            os._exit(exits.BROKEN_DEVICE)

    @property
    def _is_idle(self) -> bool:
        return self._entrance.is_empty and not self._active

    @property
    def _has_nothing_to_do(self) -> bool:
        """Until mail comes: from the worker, the encoder or the finisher."""
        return not self._active and not self._entrance.can_admit

    def _obey(self, mail: Mail) -> None:
        match mail:
            case Submit(request, init_image) if self._stopping:
                self._outbox.put(RequestFailed(request.id, "worker_drained", "The engine is being stopped."))
            case Submit(request, init_image):
                self._entrance.arrive(Active(request, init_image, time.monotonic()))
            case Cancel(request_id):
                self._cancel(request_id)
            case Stop():
                self._stopping = True
            case Encoded():
                self._entrance.encoded(mail)
                self._outbox.put(Beat())
            case Decoded():
                pass  # Its room is looked at with every admission; this only wakes the loop.
            case _:
                log.error("not a command: %s", type(mail).__name__)

    def _cancel(self, request_id: str) -> None:
        for found in [each for each in (*self._entrance.everyone(), *self._active) if each.id == request_id]:
            self._drop(found)
            self._outbox.put(Canceled(request_id))

    def _drop(self, gone: Active) -> None:
        """Out of the batch, its tensors freed."""
        self._entrance.drop(gone)
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

    def _joined(self, new: Active) -> None:
        new.due = self._clock.due(new.sample.tokens * new.sample.steps)
        self._outbox.put(Started(new.id))

    def _advance(self, batch: list[Active]) -> None:
        if not batch:
            return
        by_sample = {each.sample: each for each in batch}
        self._clock.advance(sum(each.tokens for each in batch))
        decoding = self._finisher.decoding()
        for each in batch:
            each.about_to_step()
        tell = partial(self._tell, [(each, each.sample.step) for each in batch])
        try:
            with self._abandon.when_canceled([each.id for each in batch]), self._parts.told_to(tell):
                outcome = step_apart(self._family, list(by_sample))
        except StepAbandoned:
            return  # Their cancels are in the mail.
        self._pacer.after_step()
        if outcome.out_of_memory and len(batch) > 1:
            self._shrink_budget(batch)
        for sample, error in outcome.failed.items():
            self._fail(by_sample[sample], error)
        if self._peaks is not None:
            self._peaks.note_pass(sum(each.tokens for each in batch), decoding)
        together = in_words(batch)
        for sample, images in outcome.passes.items():
            each = by_sample[sample]
            self._after_step(each, images, together if images == len(batch) else in_words([each]))
        self._outbox.put(Beat())

    def _tell(self, batch: list[tuple[Active, int]], part: float) -> None:
        """Not of those who have taken the step already, in a pass of their own."""
        for each, step in batch:
            if each.sample.step == step:
                self._outbox.put(each.note_part(part))

    def _shrink_budget(self, batch: list[Active]) -> None:
        """After a pass that did not fit, smaller ones, for the rest of this process's life."""
        self._budget = min(self._budget, sum(each.tokens for each in batch) - 1)
        log.warning("a pass of %d images did not fit: passes are cut to %d tokens", len(batch), self._budget)

    def _after_step(self, each: Active, batch_size: int, batch: str) -> None:
        if (event := each.note_step(batch_size, batch)) is not None:
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
