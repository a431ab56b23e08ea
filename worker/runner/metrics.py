"""What a worker reports about its work and its GPU, with each heartbeat; the API shows it as metrics."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from worker.device.nvml import GpuReader
from worker.engine.messages import EngineInfo, Rendered

STEP_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BOUNDS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)


class _Histogram:
    """Counts by upper bound. Weights are fractions: a step of a micro-batch is reported once by each of its images."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0.0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float, weight: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += weight
        self._sum += value * weight

    def report(self) -> dict[str, Any]:
        """Return `sum` and `buckets`, pairs of an upper bound and how many values are not above it."""
        buckets, so_far = [], 0.0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            so_far += count
            buckets.append([bound, round(so_far, 3)])
        return {"sum": round(self._sum, 6), "buckets": buckets}


class _ModelTotals:
    def __init__(self) -> None:
        self.images = 0
        self.pixels = 0
        self.steps = _Histogram(STEP_BOUNDS)
        self.batches = _Histogram(BATCH_BOUNDS)

    def report(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "pixels": self.pixels,
            "step_seconds": self.steps.report(),
            "micro_batch": self.batches.report(),
        }


class WorkerTotals:
    """Thread-safe totals since the worker's start, by model, and the latest figures of its GPU."""

    def __init__(self, gpus: GpuReader | None = None) -> None:
        self._gpus = gpus or GpuReader()
        self._lock = threading.Lock()
        self._models: dict[str, _ModelTotals] = {}
        self._started = time.monotonic()
        self._cold_start: float | None = None
        self._gpu_uuid = ""

    def note_ready(self, info: EngineInfo) -> None:
        """Note that the engine takes jobs; the first time ends the cold start."""
        self._gpu_uuid = info.device_uuid
        if self._cold_start is None:
            self._cold_start = round(time.monotonic() - self._started, 3)
        with self._lock:
            self._models.setdefault(info.model, _ModelTotals())

    def record_image(self, model: str, image: Rendered) -> None:
        """Count one finished image and its share of the steps that it took part in."""
        sizes = image.record.batch_sizes
        with self._lock:
            totals = self._models.setdefault(model, _ModelTotals())
            totals.images += 1
            totals.pixels += image.width * image.height
            for size in sizes:
                totals.steps.add(image.timings.steps_seconds / len(sizes), 1 / size)
                totals.batches.add(size, 1 / size)

    def report(self) -> Mapping[str, Any]:
        """Return the keys `totals`, `cold_start_seconds` and, where there is a GPU, `gpu` of a worker's `info`."""
        with self._lock:
            found: dict[str, Any] = {"totals": {model: totals.report() for model, totals in self._models.items()}}
        if self._cold_start is not None:
            found["cold_start_seconds"] = self._cold_start
        if self._gpu_uuid and (gpu := self._gpus.read(self._gpu_uuid)):
            found["gpu"] = gpu
        return found
