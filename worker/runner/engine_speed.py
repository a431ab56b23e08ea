"""How fast this worker's engine is, from its latest images: with the images that share it, and for one that is alone."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from core.work import megapixel_steps

RECENT_IMAGES = 32
RECENT_ALONE = 8
OVERLAP = 0.02
"""Share of an image's time by which it may overlap the one before and still count as alone: messages come late."""


@dataclass(frozen=True)
class _Image:
    """When it joined the batch and when it was finished, in seconds of the clock; its work in megapixels times steps."""

    started_at: float
    ended_at: float
    work: float


class EngineSpeed:
    """Two figures, both in seconds for a megapixel and a step, since the engine was loaded.

    Throughput counts times in which several images share the engine once, so it is right for single images, for shared
    passes, and for passes that take turns. The speed of an image alone does not depend on the load: workers compare that.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[_Image] = deque(maxlen=RECENT_IMAGES)
        self._alone: deque[float] = deque(maxlen=RECENT_ALONE)
        self._images = 0
        self._ended_at = float("-inf")

    def record(self, seconds: float, width: int, height: int, batch_sizes: Sequence[int]) -> None:
        """Count an image that has just been finished, `seconds` after it joined; `batch_sizes`: of each of its steps."""
        now = self._clock()
        image = _Image(now - seconds, now, megapixel_steps(width, height, len(batch_sizes)))
        self._images += 1
        self._recent.append(image)
        if max(batch_sizes, default=1) == 1 and image.started_at >= self._ended_at - seconds * OVERLAP:
            self._alone.append(seconds / image.work)
        self._ended_at = now

    def report(self) -> Mapping[str, Any]:
        """Return the key `speed` of a worker's `info`; nothing before the first image."""
        seconds, work = self._busy()
        if seconds <= 0:
            return {}
        figures: dict[str, Any] = {"images": self._images, "seconds_per_megapixel_step": _rounded(seconds / work)}
        if self._alone:
            figures["alone_seconds_per_megapixel_step"] = _rounded(median(self._alone))
        return {"speed": figures}

    def _busy(self) -> tuple[float, float]:
        """Return busy seconds and the work finished in them: since the end of the oldest image, if there are more."""
        if not self._recent:
            return 0.0, 0.0
        oldest, *later = self._recent
        if not later:
            return oldest.ended_at - oldest.started_at, oldest.work
        seconds, until = 0.0, oldest.ended_at
        for image in sorted(later, key=lambda each: each.started_at):
            seconds += max(image.ended_at - max(image.started_at, until), 0.0)
            until = max(until, image.ended_at)
        return seconds, sum(image.work for image in later)


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")
