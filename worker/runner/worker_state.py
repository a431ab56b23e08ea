"""What this worker reports about itself: state, capacity and times of its engine."""

from __future__ import annotations

import logging
import os
import re
import socket
import statistics
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.ids import new_id
from core.queue import UPSCALE
from core.settings import Settings
from db.workers import alone_seconds_of
from worker.engine.messages import EngineInfo, Rendered
from worker.runner.engine_speed import EngineSpeed

logger = logging.getLogger(__name__)

RECENT_IMAGES = 32
"""Number of latest images whose median is reported."""
MAX_KINDS = 8
"""Maximum number of kinds of images that are measured separately; the least recently seen is dropped first."""


@dataclass(frozen=True)
class ImageKind:
    """Images of one kind take equally long: equal size and number of steps."""

    width: int
    height: int
    num_inference_steps: int


class EngineTimes:
    """Seconds per image run from joining the batch to the decoded image: with others' steps, without prompt encoding.

    The first image is reported separately: it includes one-time work, such as choosing kernels and reserving memory.
    Thread-safe.
    """

    def __init__(self, info: EngineInfo) -> None:
        self.model = info.model
        self._lock = threading.Lock()
        self._info = {name: value for name, value in vars(info).items() if name != "process_id"}
        self._first: dict[str, Any] | None = None
        self._count = 0
        self._recent: deque[float] = deque(maxlen=RECENT_IMAGES)
        self._by_kind: OrderedDict[ImageKind, list[float]] = OrderedDict()
        self._speed = EngineSpeed()
        logger.info("%s is ready on %s: loaded in %.1f s", info.model, info.device_name, info.load_seconds)

    def record_image(self, image: Rendered) -> None:
        """Count one more image."""
        seconds = round(image.timings.steps_seconds + image.timings.decode_seconds, 4)
        kind = ImageKind(image.width, image.height, len(image.record.batch_sizes))
        job = {"job_id": image.request_id.partition("/")[0]}
        which = "an image" if self._first else "the first image"
        logger.info("%s, %dx%d in %d steps, took %.2f s", which, *vars(kind).values(), seconds, extra=job)
        with self._lock:
            if self._first is None:
                self._first = {**vars(kind), "seconds": seconds}
                return
            self._count += 1
            self._recent.append(seconds)
            self._note_kind(kind, seconds)
            if self.model != UPSCALE:  # Upscalers differ too much from each other.
                self._speed.record(seconds, image.width, image.height, image.record.batch_sizes)

    def _note_kind(self, kind: ImageKind, seconds: float) -> None:
        count, total = self._by_kind.pop(kind, [0, 0.0])
        self._by_kind[kind] = [count + 1, total + seconds]
        while len(self._by_kind) > MAX_KINDS:
            self._by_kind.popitem(last=False)

    def info(self) -> dict[str, Any]:
        """Return the worker's `info`: the engine's, plus `first_image`, `later_images` and `speed` once there are any."""
        info = dict(self._info)
        if self._first is not None or not info.get("expected"):
            info.pop("expected", None)  # What was seen replaces it.
        with self._lock:
            if self._first is not None:
                info["first_image"] = self._first
            if self._recent:
                info |= {"later_images": self._later(), **self._speed.report()}
        return info

    def _later(self) -> dict[str, Any]:
        by_size = [
            {**vars(kind), "count": int(count), "mean_seconds": round(total / count, 4)}
            for kind, (count, total) in self._by_kind.items()
        ]
        return {"count": self._count, "median_seconds": statistics.median(self._recent), "by_size": by_size}


@dataclass(frozen=True)
class OwnSpeed:
    """`seconds`: for a megapixel and a step of an image alone. `image_seconds`: what an image took lately."""

    seconds: float
    image_seconds: float


def own_speed(info: Mapping[str, Any] | None) -> OwnSpeed | None:
    """Return the speed that a worker's `info` reports; None before an image was rendered alone."""
    found = info or {}
    alone = alone_seconds_of(found)
    return OwnSpeed(alone, found["later_images"]["median_seconds"]) if alone else None


@dataclass(frozen=True)
class WorkerIdentity:
    """`name` survives restarts; `incarnation` is new for each process."""

    name: str
    incarnation: str = field(default_factory=new_id)


def worker_name(settings: Settings) -> str:
    """Return the configured name, else host and device; `CUDA_VISIBLE_DEVICES` distinguishes the GPUs of one host."""
    device = settings.device
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None and device != "cpu":
        device = f"gpu{visible}"
    name = settings.worker_name or f"{socket.gethostname()}-{device}"
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:100]


MAX_SPANS = 16
"""Number of latest loads kept; a job that still waits hardly ever overlaps an older one."""


class LoadingSpans:
    """When the engine was loading, in seconds of `clock`, by default the monotonic one. A new worker starts as loading."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: float | None = clock()
        self._spans: deque[tuple[float, float]] = deque(maxlen=MAX_SPANS)

    def note(self, state: str) -> None:
        """Record a state change; the engine counts as loading from `loading` to `ready`."""
        if state == "loading" and self._since is None:
            self._since = self._clock()
        if state == "ready" and self._since is not None:
            self._spans.append((self._since, self._clock()))
            self._since = None

    def within(self, seconds: float, until: float) -> float:
        """Return how many of the `seconds` before `until` the engine was loading."""
        since = until - seconds
        return sum(max(min(end, until) - max(start, since), 0.0) for start, end in tuple(self._spans))


@dataclass(frozen=True)
class WorkerSnapshot:
    """The arguments of `db.workers.heartbeat`; None leaves a column unchanged."""

    state: str = "loading"
    message: str | None = None
    capacity: int | None = None
    info: Mapping[str, Any] | None = None
    model: str | None = None


class WorkerState:
    """Thread-safe holder of the latest snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot = WorkerSnapshot()
        self._blocked: str | None = None
        self._note: str | None = None
        self.loading = LoadingSpans()
        self.engine_info: Callable[[], Mapping[str, Any]] | None = None
        """Returns the engine's information, once there is any. Asked for each snapshot: that is rarer than images are."""

    def snapshot(self) -> WorkerSnapshot:
        """Return the latest state; a worker that would be ready but is blocked is `blocked`."""
        snapshot, blocked = self._snapshot, self._blocked
        if self.engine_info is not None:
            snapshot = replace(snapshot, info=self.engine_info())
        if blocked is not None and snapshot.state == "ready":
            return replace(snapshot, state="blocked", message=blocked)
        if self._note is not None and snapshot.state == "ready" and snapshot.message is None:
            return replace(snapshot, message=self._note)
        return snapshot

    def note(self, text: str | None) -> None:
        """Report something that does not keep the worker from rendering, while it is ready; None: nothing any more."""
        self._note = text

    def block(self, reason: str | None) -> None:
        """Report that something around the worker keeps it from claiming jobs; None: nothing does any more."""
        self._blocked = reason

    def change(self, state: str, message: str | None = None, **details: Any) -> None:  # noqa: ANN401 -- capacity, info
        """Change the state; a draining worker stays draining until it has stopped, also while its engine reloads."""
        with self._lock:
            self.loading.note(state)
            if self._snapshot.state == "draining" and state != "stopped":
                state = "draining"
            self._snapshot = replace(self._snapshot, state=state, message=message, **details)

    @property
    def is_blocked(self) -> bool:
        return self._blocked is not None

    @property
    def draining(self) -> bool:
        """Whether the worker is stopping or has stopped."""
        return self._snapshot.state in ("draining", "stopped")
