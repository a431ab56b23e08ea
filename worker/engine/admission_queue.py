"""Queue requests until memory and capacity admit them, prepare their samples and add them to the batch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from core.render import RenderRequest
from worker.device.faults import is_out_of_memory
from worker.device.torch_device import free_cached_memory
from worker.engine.active_request import ActiveRequest, Encoded
from worker.engine.prompt_encoder import PromptEncoder
from worker.memory.batch_memory import ImageFootprint, fits
from worker.memory.plan import MemoryPlan
from worker.pipelines.family import AnyFamily


class AdmissionPolicy(Protocol):
    """Asked before a request joins others; an empty engine takes any."""

    def admits(self, request: RenderRequest, others: Sequence[RenderRequest]) -> bool:
        """Whether memory allows it beside those: encoded, stepped or decoded."""


class MemoryAdmissionPolicy:
    """By the memory plan, for passes of at most `token_budget`; `overlapped`: decodes run beside them."""

    def __init__(self, plan: MemoryPlan, token_budget: int, overlapped: bool) -> None:
        self._plan = plan
        self._token_budget = token_budget
        self._overlapped = overlapped

    def admits(self, request: RenderRequest, others: Sequence[RenderRequest]) -> bool:
        pictures = [_memory_need(each) for each in (request, *others)]
        return fits(self._plan, pictures, self._token_budget, self._overlapped)


def _memory_need(request: RenderRequest) -> ImageFootprint:
    return ImageFootprint(request.width, request.height, copies=2 if request.guidance_scale > 1.0 else 1)


class AdmissionQueue:
    """Admits in order of arrival. An admitted request has its place from then on, and joins `active` once it is encoded:

    at once, or beside the steps of the others by `encoder`. `decoding`: those whose pictures still take memory.
    `on_joined` and `on_failed` hear what became of each.
    """

    def __init__(
        self,
        family: AnyFamily,
        capacity: int,
        admission: AdmissionPolicy,
        active: list[ActiveRequest],
        decoding: Callable[[], Sequence[RenderRequest]],
        on_joined: Callable[[ActiveRequest], None],
        on_failed: Callable[[ActiveRequest, BaseException], None],
        encoder: PromptEncoder | None = None,
    ) -> None:
        self._family = family
        self._limit = min(capacity, family.concurrent or capacity)
        self._admission = admission
        self._active = active
        self._decoding = decoding
        self._on_joined = on_joined
        self._on_failed = on_failed
        self._encoder = encoder
        self._waiting: deque[ActiveRequest] = deque()
        self._encoding: list[ActiveRequest] = []

    @property
    def is_empty(self) -> bool:
        return not self._waiting and not self._encoding

    @property
    def can_admit(self) -> bool:
        """Whether the first one may come in now."""
        return bool(self._waiting) and self._has_room(self._waiting[0])

    def enqueue(self, new: ActiveRequest) -> None:
        self._waiting.append(new)

    def pending(self) -> list[ActiveRequest]:
        """Who is not in the batch yet."""
        return [*self._waiting, *self._encoding]

    def drop(self, gone: ActiveRequest) -> None:
        """Does nothing for one that is not here. An encode under way goes on; what it makes is for nobody."""
        gone.canceled = True
        for queue in (self._waiting, self._encoding):
            if gone in queue:
                queue.remove(gone)

    def admit(self) -> None:
        """Let the first ones in, as long as there is room."""
        while self.can_admit:
            self._prepare(self._waiting.popleft())

    def encoded(self, result: Encoded) -> None:
        """The encoder has done one; the request joins unless it has gone meanwhile."""
        if self._encoder is not None:
            self._encoder.answer_taken()
        if result.each not in self._encoding:
            return
        self._encoding.remove(result.each)
        if result.error is not None:
            self._preparation_failed(result.each, result.error)
        else:
            self._join(result.each, result.conditioning, result.seconds)

    def _has_room(self, candidate: ActiveRequest) -> bool:
        if candidate.request.loras and self._encoder is not None and self._encoder.is_busy:
            return False  # Adapters reach into the text encoder, which is at work.
        held = [each.request for each in (*self._encoding, *self._active)]
        if len(held) >= self._limit:
            return False
        others = [*held, *self._decoding()]
        return not others or (not candidate.run_alone and self._admission.admits(candidate.request, others))

    def _prepare(self, new: ActiveRequest) -> None:
        started = time.monotonic()
        try:
            self._family.check(new.request, bool(new.init_image))
            conditioning = self._family.cached_conditioning(new.request)
            if conditioning is None and self._encoder is not None and self._may_overlap_encoding(new):
                self._encoding.append(new)
                self._encoder.begin(new)
                return
            conditioning = self._family.encode(new.request) if conditioning is None else conditioning
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is this request's alone
            self._preparation_failed(new, error)
            return
        self._join(new, conditioning, time.monotonic() - started)

    def _may_overlap_encoding(self, new: ActiveRequest) -> bool:
        """Not while the steps of anybody switch adapters."""
        return not any(each.request.loras for each in (new, *self._active))

    def _join(self, new: ActiveRequest, conditioning: Any, encode_seconds: float) -> None:  # noqa: ANN401 - the family's
        started = time.monotonic()
        try:
            new.sample = self._family.start(new.request, conditioning, new.init_image)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._preparation_failed(new, error)
            return
        new.init_image = b""
        new.begin(encode_seconds + time.monotonic() - started)
        self._active.append(new)
        self._on_joined(new)

    def _preparation_failed(self, new: ActiveRequest, error: BaseException) -> None:
        if is_out_of_memory(error) and (self._active or self._encoding or self._decoding()):
            # Not beside the others: again when they are done.
            free_cached_memory()
            new.run_alone = True
            self._waiting.appendleft(new)
            return
        self._on_failed(new, error)
