"""From a request's arrival to its place in the batch: room, conditioning, first latents."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from core.render import RenderRequest
from worker.engine.active import Active, Encoded
from worker.engine.admission import Admission
from worker.engine.encoding import Encoder
from worker.engine.faults import is_out_of_memory
from worker.engine.stepping import free_cached_memory
from worker.pipelines.family import AnyFamily


class Entrance:
    """Admits in order of arrival. An admitted request has its place from then on, and joins `active` once it is encoded:

    at once, or beside the steps of the others by `encoder`. `decoding`: those whose pictures still take memory.
    `on_joined` and `on_failed` hear what became of each.
    """

    def __init__(
        self,
        family: AnyFamily,
        capacity: int,
        admission: Admission,
        active: list[Active],
        decoding: Callable[[], Sequence[RenderRequest]],
        on_joined: Callable[[Active], None],
        on_failed: Callable[[Active, BaseException], None],
        encoder: Encoder | None = None,
    ) -> None:
        self._family = family
        self._limit = min(capacity, family.concurrent or capacity)
        self._admission = admission
        self._active = active
        self._decoding = decoding
        self._on_joined = on_joined
        self._on_failed = on_failed
        self._encoder = encoder
        self._waiting: deque[Active] = deque()
        self._encoding: list[Active] = []

    @property
    def is_empty(self) -> bool:
        return not self._waiting and not self._encoding

    @property
    def can_admit(self) -> bool:
        """Whether the first one may come in now."""
        return bool(self._waiting) and self._has_room(self._waiting[0])

    def arrive(self, new: Active) -> None:
        self._waiting.append(new)

    def everyone(self) -> list[Active]:
        """Who is not in the batch yet."""
        return [*self._waiting, *self._encoding]

    def drop(self, gone: Active) -> None:
        """Does nothing for one that is not here. An encode under way goes on; what it makes is for nobody."""
        gone.canceled = True
        for place in (self._waiting, self._encoding):
            if gone in place:
                place.remove(gone)

    def admit(self) -> None:
        """Let the first ones in, as long as there is room."""
        while self.can_admit:
            self._prepare(self._waiting.popleft())

    def encoded(self, told: Encoded) -> None:
        """The encoder has done one; the request joins unless it has gone meanwhile."""
        if self._encoder is not None:
            self._encoder.was_told()
        if told.each not in self._encoding:
            return
        self._encoding.remove(told.each)
        if told.error is not None:
            self._not_prepared(told.each, told.error)
        else:
            self._join(told.each, told.conditioning, told.seconds)

    def _has_room(self, candidate: Active) -> bool:
        if candidate.request.loras and self._encoder is not None and self._encoder.is_busy:
            return False  # Adapters reach into the text encoder, which is at work.
        held = [each.request for each in (*self._encoding, *self._active)]
        if len(held) >= self._limit:
            return False
        company = [*held, *self._decoding()]
        return not company or (not candidate.apart and self._admission.admits(candidate.request, company))

    def _prepare(self, new: Active) -> None:
        started = time.monotonic()
        try:
            self._family.check(new.request, bool(new.init_image))
            conditioning = self._family.recall(new.request)
            if conditioning is None and self._encoder is not None and self._may_encode_beside(new):
                self._encoding.append(new)
                self._encoder.begin(new)
                return
            conditioning = self._family.encode(new.request) if conditioning is None else conditioning
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is this request's alone
            self._not_prepared(new, error)
            return
        self._join(new, conditioning, time.monotonic() - started)

    def _may_encode_beside(self, new: Active) -> bool:
        """Not while the steps of anybody switch adapters."""
        return not any(each.request.loras for each in (new, *self._active))

    def _join(self, new: Active, conditioning: Any, encode_seconds: float) -> None:  # noqa: ANN401 - the family's
        started = time.monotonic()
        try:
            new.sample = self._family.start(new.request, conditioning, new.init_image)
        except BaseException as error:  # noqa: BLE001 - likewise
            self._not_prepared(new, error)
            return
        new.init_image = b""
        new.begin(encode_seconds + time.monotonic() - started)
        self._active.append(new)
        self._on_joined(new)

    def _not_prepared(self, new: Active, error: BaseException) -> None:
        if is_out_of_memory(error) and (self._active or self._encoding or self._decoding()):
            # Not beside the others: again when they are done.
            free_cached_memory()
            new.apart = True
            self._waiting.appendleft(new)
            return
        self._on_failed(new, error)
