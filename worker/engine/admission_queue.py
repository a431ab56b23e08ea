"""Queue requests until memory and capacity admit them, prepare their samples and add them to the batch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from core.render import RenderRequest
from worker.device.faults import is_out_of_memory, release_tensors
from worker.device.torch_device import free_cached_memory
from worker.engine.active_request import ActiveRequest, Encoded
from worker.engine.parts import EngineParts
from worker.engine.prompt_encoder import PromptEncoder


class AdmissionQueue:
    """Admit requests in order of arrival. An admitted request counts against the capacity at once.

    It joins `active` once its prompt is encoded: on the loop's thread, or by `encoder` in parallel to the steps of others.
    `decoding` returns the requests whose images still take memory. Each request ends in one call of `on_joined` or
    `on_failed`, unless it is dropped.
    """

    def __init__(
        self,
        parts: EngineParts,
        active: list[ActiveRequest],
        decoding: Callable[[], Sequence[RenderRequest]],
        on_joined: Callable[[ActiveRequest], None],
        on_failed: Callable[[ActiveRequest, BaseException], None],
        encoder: PromptEncoder | None,
    ) -> None:
        self._family = parts.family
        self._policy = parts.admission
        self._limit = min(parts.info.capacity, parts.family.max_samples or parts.info.capacity)
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
        """Whether there is room for the first waiting request."""
        return bool(self._waiting) and self._has_room(self._waiting[0])

    def enqueue(self, new: ActiveRequest) -> None:
        self._waiting.append(new)

    def pending(self) -> list[ActiveRequest]:
        """Return the requests that are not in the batch yet."""
        return [*self._waiting, *self._encoding]

    def drop(self, dropped: ActiveRequest) -> None:
        """Remove a request if it is here. A running encode continues and its result is discarded."""
        dropped.canceled = True
        for queue in (self._waiting, self._encoding):
            if dropped in queue:
                queue.remove(dropped)

    def admit(self) -> None:
        """Admit waiting requests, in order, as long as there is room."""
        while self.can_admit:
            self._prepare(self._waiting.popleft())

    def handle_encoded(self, result: Encoded) -> None:
        """Add an encoded request to the batch, unless it was dropped while it was encoded."""
        if self._encoder is not None:
            self._encoder.note_result_taken()
        if result.active not in self._encoding:
            return
        self._encoding.remove(result.active)
        if result.error is not None:
            self._handle_failure(result.active, result.error)
        else:
            self._join(result.active, result.conditioning, result.seconds)

    def _has_room(self, candidate: ActiveRequest) -> bool:
        if candidate.request.loras and self._encoder is not None and self._encoder.is_busy:
            return False  # Activating adapters may change the text encoder, which is running.
        held = [each.request for each in (*self._encoding, *self._active)]
        if len(held) >= self._limit:
            return False
        others = [*held, *self._decoding()]
        return not others or (not candidate.run_alone and self._policy.admits(candidate.request, others))

    def _prepare(self, new: ActiveRequest) -> None:
        started = time.monotonic()
        try:
            self._family.check(new.request, bool(new.init_image))
            conditioning = self._family.cached_conditioning(new.request)
            if conditioning is None:
                self._family.prepare_adapters(new.request)
                if self._encoder is not None and self._may_overlap_encoding(new):
                    self._encoding.append(new)
                    self._encoder.submit(new)
                    return
                conditioning = self._family.encode(new.request)
        except BaseException as error:  # noqa: BLE001 - any error concerns this request alone
            self._handle_failure(new, error)
            return
        self._join(new, conditioning, time.monotonic() - started)

    def _may_overlap_encoding(self, new: ActiveRequest) -> bool:
        """Return whether no step switches adapters while the prompt is encoded."""
        return not any(each.request.loras for each in (new, *self._active))

    def _join(self, new: ActiveRequest, conditioning: Any, encode_seconds: float) -> None:  # noqa: ANN401 - the family's
        started = time.monotonic()
        try:
            new.sample = self._family.start(new.request, conditioning, new.init_image, new.mask)
        except BaseException as error:  # noqa: BLE001 - any error concerns this request alone
            self._handle_failure(new, error)
            return
        new.init_image = new.mask = b""
        new.start(encode_seconds + time.monotonic() - started)
        self._active.append(new)
        self._on_joined(new)

    def _handle_failure(self, new: ActiveRequest, error: BaseException) -> None:
        if is_out_of_memory(error) and (self._active or self._encoding or self._decoding()):
            # It did not fit next to the others: admit it again once they are done.
            release_tensors(error)
            free_cached_memory()
            new.run_alone = True
            self._waiting.appendleft(new)
            return
        self._on_failed(new, error)
