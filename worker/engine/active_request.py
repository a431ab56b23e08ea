"""Track a request inside the engine, from its arrival to its image."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.render import RenderRequest, RenderTimings
from worker.engine.messages import Step

STEP_EVENT_SECONDS = 0.05
"""Step events of one request come no closer than this, but for the last."""


@dataclass(eq=False)
class ActiveRequest:
    """Times are of the monotonic clock, in seconds. `sample` is the family's; `due` is the planner's."""

    request: RenderRequest
    init_image: bytes
    arrived_at: float
    sample: Any = None
    due: int = 0
    run_alone: bool = False
    canceled: bool = False
    batch_sizes: list[int] = field(default_factory=list)
    batches: Counter[str] = field(default_factory=Counter)
    timings: RenderTimings = field(default_factory=RenderTimings)
    _started_at: float = 0.0
    _stepped_at: float = 0.0
    _reported_at: float = 0.0

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def group(self) -> Hashable:
        group: Hashable = self.sample.group
        return group

    @property
    def tokens(self) -> int:
        return int(self.sample.tokens)

    @property
    def is_done(self) -> bool:
        return bool(self.sample.step >= self.sample.steps)

    def begin(self, encode_seconds: float) -> None:
        """Its sample stands before the first step."""
        self._started_at = time.monotonic()
        waited = self._started_at - self.arrived_at - encode_seconds
        self.timings = RenderTimings(waited_seconds=waited, encode_seconds=encode_seconds)

    def about_to_step(self) -> None:
        """It is in the pass that comes. What it waited for its turn says nothing of how long its steps take."""
        self._stepped_at = self._stepped_at or time.monotonic()

    def note_step(self, batch_size: int, batch: str) -> Step | None:
        """Count a step that has been done, in a pass that held `batch`; the event to send, unless the last was just now."""
        self.batch_sizes.append(batch_size)
        self.batches[batch] += 1
        now = time.monotonic()
        self.timings = self.timings.model_copy(update={"steps_seconds": now - self._started_at})
        if now - self._reported_at < STEP_EVENT_SECONDS and not self.is_done:
            return None
        self._reported_at = now
        return self._progress(now, 0.0)

    def note_part(self, part: float) -> Step:
        """The event to send when the step at work has come that far, 0..1."""
        return self._progress(time.monotonic(), part)

    def _progress(self, now: float, part: float) -> Step:
        step, steps = self.sample.step, self.sample.steps
        each = (now - self._stepped_at) / (step + part)
        return Step(self.id, step, steps, each, each * max(steps - step - part, 0.0), part)

    @property
    def wants_preview(self) -> bool:
        """Not of the last step: the picture itself follows."""
        every = self.request.preview_every
        return every > 0 and not self.is_done and self.sample.step % every == 0


def describe_batch(batch: Sequence[ActiveRequest]) -> str:
    """What a pass holds."""
    pictures = Counter(_describe_request(each.request) for each in batch)
    return ", ".join(name if count == 1 else f"{count}x {name}" for name, count in sorted(pictures.items()))


def _describe_request(request: RenderRequest) -> str:
    return f"{request.width}x{request.height}" + (" guided" if request.guidance_scale > 1 else "")


@dataclass(frozen=True)
class Encoded:
    """A prompt has been encoded beside the loop, or could not be: then `error` says why. `conditioning` is the family's.

    Of a request that was canceled before its turn both are None.
    """

    each: ActiveRequest
    conditioning: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Decoded:
    """A picture has been decoded beside the loop, and its memory is free."""
