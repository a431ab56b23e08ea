"""How long an engine took for its load, its first image and those after it: one life of it, as its worker tells the farm."""

from __future__ import annotations

import logging
import statistics
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any

from worker.engine.messages import EngineInfo, Rendered

logger = logging.getLogger(__name__)

RECENT_IMAGES = 32
"""Later images that the running figure is the median of."""
MAX_KINDS = 8
"""Sizes told apart; the one not seen for longest is forgotten first."""


@dataclass(frozen=True)
class ImageKind:
    """What makes images take equally long: pixels and steps."""

    width: int
    height: int
    num_inference_steps: int


class EngineTimes:
    """An image's seconds count from joining the batch to its decoded picture, with batch-mates' steps, without its prompt.

    The first one is told apart: it bears what is done once, such as kernels that are chosen and memory that is reserved.
    """

    def __init__(self, info: EngineInfo) -> None:
        self._info = {name: value for name, value in vars(info).items() if name != "process_id"}
        self._first: dict[str, Any] | None = None
        self._count = 0
        self._recent: deque[float] = deque(maxlen=RECENT_IMAGES)
        self._by_kind: OrderedDict[ImageKind, list[float]] = OrderedDict()
        logger.info("%s is ready on %s: loaded in %.1f s", info.model, info.device_name, info.load_seconds)

    def record_image(self, image: Rendered) -> None:
        """One more image."""
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
        """The worker's `info`: the engine's own, `first_image` and `later_images` once there are some."""
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
