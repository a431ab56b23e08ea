"""Engines that take the time of a render and compute nothing; all engines of a process share one thread."""

from __future__ import annotations

import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable

from core.render import RenderRecord, RenderRequest, RenderTimings
from worker.engine.messages import EngineInfo, Rendered, Step

Deliver = Callable[[Step | Rendered], None]


class Clock:
    """Calls functions at their times, on one thread."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="engines", daemon=True).start()

    def call_at(self, at: float, action: Callable[[], None]) -> None:
        """Call it at this time of the monotonic clock."""
        with self._changed:
            heapq.heappush(self._due, (at, next(self._numbers), action))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                _, _, action = heapq.heappop(self._due)
            action()


class SimulatedEngine:
    """Renders one image at a time, `seconds` each, one after the other. Has what a runner uses of `EngineClient`."""

    def __init__(self, clock: Clock, seconds: float, deliver: Deliver) -> None:
        self._clock, self._seconds, self._deliver = clock, seconds, deliver
        self._free_at = 0.0
        self._lock = threading.Lock()
        self.state = "ready"

    def submit(self, request: RenderRequest, init_image: bytes | None = None, mask: bytes | None = None) -> None:
        """Render one image once those before it are done."""
        with self._lock:
            start = max(time.monotonic(), self._free_at)
            self._free_at = end = start + self._seconds
        steps = request.num_inference_steps
        self._clock.call_at(end, lambda: self._finish(request, steps))

    def cancel(self, request_id: str) -> None:
        """Do nothing: no job of a benchmark is canceled."""

    def _finish(self, request: RenderRequest, steps: int) -> None:
        self._deliver(Step(request.id, steps, steps, self._seconds / steps, 0.0))
        self._deliver(_image(request, self._seconds))


def engine_info(model: str, capacity: int) -> EngineInfo:
    """Return what an engine reports once its model is loaded."""
    return EngineInfo(
        model=model,
        family="synthetic",
        device="cpu",
        device_name="none: simulated",
        dtype="uint8",
        memory_policy="none",
        capacity=capacity,
        token_budget=0,
        attention_backend="none",
        load_seconds=0.0,
        process_id=os.getpid(),
    )


def _image(request: RenderRequest, seconds: float) -> Rendered:
    record = RenderRecord(
        family="synthetic",
        device="cpu",
        dtype="uint8",
        memory_policy="none",
        attention_backend="none",
        versions={},
        batch_sizes=[1] * request.num_inference_steps,
        pipeline_guidance_scale=0.0,
    )
    pixels = bytes((request.seed % 200 + 40, 90, 120)) * (request.width * request.height)
    return Rendered(request.id, request.width, request.height, pixels, record, RenderTimings(steps_seconds=seconds))
