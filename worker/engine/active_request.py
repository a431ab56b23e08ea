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
"""Least time between two step events of one request; the last step is always reported."""


@dataclass(eq=False)
class ActiveRequest:
    """A request with its state. Times are in seconds of the monotonic clock.

    `sample` is the family's state, set when the request joins the batch. `due` is its time on the
    `VirtualClock`. `run_alone`: admit it only to an empty engine, because it ran out of memory next to other requests.
    """

    request: RenderRequest
    init_image: bytes
    arrived_at: float
    mask: bytes = b""
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

    def start(self, encode_seconds: float) -> None:
        """Start timing its steps. Call once its sample is ready for the first one."""
        self._started_at = time.monotonic()
        waited = self._started_at - self.arrived_at - encode_seconds
        self.timings = RenderTimings(waited_seconds=waited, encode_seconds=encode_seconds)

    def note_pass_start(self) -> None:
        """Record that the next pass includes this request. The wait before its first pass does not count as step time."""
        self._stepped_at = self._stepped_at or time.monotonic()

    def note_step(self, batch_size: int, batch: str) -> Step | None:
        """Record a finished step of a pass described by `batch`; return its event, None soon after the previous event."""
        self.batch_sizes.append(batch_size)
        self.batches[batch] += 1
        now = time.monotonic()
        self.timings = self.timings.model_copy(update={"steps_seconds": now - self._started_at})
        if now - self._reported_at < STEP_EVENT_SECONDS and not self.is_done:
            return None
        self._reported_at = now
        return self._step_event(now, 0.0)

    def event_within_step(self, fraction: float) -> Step:
        """Return the event to send when `fraction` (0..1) of the running step is done."""
        return self._step_event(time.monotonic(), fraction)

    def _step_event(self, now: float, fraction: float) -> Step:
        step, steps = self.sample.step, self.sample.steps
        seconds_per_step = (now - self._stepped_at) / (step + fraction)
        eta_seconds = seconds_per_step * max(steps - step - fraction, 0.0)
        return Step(self.id, step, steps, seconds_per_step, eta_seconds, fraction)

    @property
    def wants_preview(self) -> bool:
        """Whether a preview is due after this step; never after the last, since the image itself follows."""
        every = self.request.preview_every
        return every > 0 and not self.is_done and self.sample.step % every == 0


def describe_batch(batch: Sequence[ActiveRequest]) -> str:
    """Return the sizes in a pass, such as `2x 64x64, 128x128 guided`."""
    images = Counter(_describe_request(each.request) for each in batch)
    return ", ".join(name if count == 1 else f"{count}x {name}" for name, count in sorted(images.items()))


def _describe_request(request: RenderRequest) -> str:
    return f"{request.width}x{request.height}" + (" guided" if request.guidance_scale > 1 else "")


@dataclass(frozen=True)
class Encoded:
    """The encoder thread's answer for one request: `conditioning`, which belongs to the family, or the `error`.

    Both are None when the request was canceled before its turn.
    """

    active: ActiveRequest
    conditioning: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Decoded:
    """The decoder thread has finished an image and freed its memory."""
