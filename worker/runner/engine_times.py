"""Measure how long one engine process takes to load and to render its first and later images, for the worker's row."""

from __future__ import annotations

import logging
import statistics
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from worker.engine.messages import EngineInfo, Rendered

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
    """Seconds per image run from joining the batch to the decoded image: with batch-mates' steps, without prompt encoding.

    The first image is reported separately: it includes one-time work, such as choosing kernels and reserving memory.
    """

    def __init__(self, info: EngineInfo) -> None:
        self._info = {name: value for name, value in vars(info).items() if name != "process_id"}
        self._first: dict[str, Any] | None = None
        self._count = 0
        self._recent: deque[float] = deque(maxlen=RECENT_IMAGES)
        self._by_kind: OrderedDict[ImageKind, list[float]] = OrderedDict()
        logger.info("%s is ready on %s: loaded in %.1f s", info.model, info.device_name, info.load_seconds)

    def record_image(self, image: Rendered) -> None:
        """Count one more image."""
        seconds = round(image.timings.steps_seconds + image.timings.decode_seconds, 4)
        kind = ImageKind(image.width, image.height, len(image.record.batch_sizes))
        which = "an image" if self._first else "the first image"
        logger.info("%s, %dx%d in %d steps, took %.2f s", which, *vars(kind).values(), seconds)
        if self._first is None:
            self._first = {**vars(kind), "seconds": seconds}
            return
        self._count += 1
        self._recent.append(seconds)
        self._note_kind(kind, seconds)

    def _note_kind(self, kind: ImageKind, seconds: float) -> None:
        count, total = self._by_kind.pop(kind, [0, 0.0])
        self._by_kind[kind] = [count + 1, total + seconds]
        while len(self._by_kind) > MAX_KINDS:
            self._by_kind.popitem(last=False)

    def info(self) -> dict[str, Any]:
        """Return the worker's `info`: the engine's, plus `first_image` and `later_images` once there are any."""
        info = dict(self._info)
        if self._first is not None:
            info["first_image"] = self._first
        if self._recent:
            info["later_images"] = self._later()
        return info

    def _later(self) -> dict[str, Any]:
        by_size = [
            {**vars(kind), "count": int(count), "mean_seconds": round(total / count, 4)}
            for kind, (count, total) in self._by_kind.items()
        ]
        return {"count": self._count, "median_seconds": statistics.median(self._recent), "by_size": by_size}
