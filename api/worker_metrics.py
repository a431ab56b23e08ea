"""Metrics that the live workers report with their heartbeats: images, steps, micro-batches and their GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from db.tables import Worker

_TOTALS = {
    "images": ("imagefarm_worker_images", "Images that the worker's engine finished."),
    "pixels": ("imagefarm_worker_pixels", "Pixels of those images."),
}
_HISTOGRAMS = {
    "step_seconds": ("imagefarm_worker_step_seconds", "Duration of a step of a micro-batch."),
    "micro_batch": ("imagefarm_worker_micro_batch_size", "Images in a micro-batch, for each step."),
}
_GAUGES = {
    "memory_used_bytes": ("imagefarm_gpu_memory_used_bytes", "Memory in use on the worker's GPU, by any program."),
    "memory_total_bytes": ("imagefarm_gpu_memory_total_bytes", "Memory of the worker's GPU."),
    "utilization": ("imagefarm_gpu_utilization_ratio", "Share of time in which the GPU was busy, 0 to 1."),
    "temperature_celsius": ("imagefarm_gpu_temperature_celsius", "Temperature of the GPU."),
    "power_watts": ("imagefarm_gpu_power_watts", "Power that the GPU draws."),
}
_ENERGY = "energy_joules"


class WorkerMetrics(Collector):
    """Reports what `show` was given last. Counters start over when a worker's process does."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._live: Sequence[Worker] = ()
        registry.register(self)

    def show(self, live: Sequence[Worker]) -> None:
        """Take the rows of the live workers."""
        self._live = live

    def collect(self) -> Iterator[Metric]:
        """Return every metric, also those that no worker has a value for."""
        yield from self._rendered()
        yield from self._gpus()
        cold = GaugeMetricFamily(
            "imagefarm_worker_cold_start_seconds",
            "Time from the start of the worker's process until it could claim its first job.",
            labels=["worker", "model"],
        )
        for worker in self._live:
            if (seconds := worker.info.get("cold_start_seconds")) is not None:
                cold.add_metric([worker.name, worker.model], seconds)
        yield cold

    def describe(self) -> list[Metric]:
        """Return nothing: no name is claimed before the first scrape."""
        return []

    def _rendered(self) -> Iterator[Metric]:
        for key, (name, about) in _TOTALS.items():
            totals = CounterMetricFamily(name, about, labels=["worker", "model"])
            for worker, model, figures in self._by_model():
                totals.add_metric([worker, model], figures.get(key, 0))
            yield totals
        for key, (name, about) in _HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, about, labels=["worker", "model"])
            for worker, model, figures in self._by_model():
                if (found := figures.get(key)) is not None:
                    buckets = [(floatToGoString(bound), count) for bound, count in found["buckets"]]  # type: ignore[no-untyped-call]
                    histogram.add_metric([worker, model], buckets, found["sum"])
            yield histogram

    def _by_model(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        for worker in self._live:
            for model, figures in (worker.info.get("totals") or {}).items():
                yield worker.name, model, figures

    def _gpus(self) -> Iterator[Metric]:
        for key, (name, about) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, about, labels=["worker", "device"])
            for worker in self._live:
                if (value := _gpu(worker).get(key)) is not None:
                    gauge.add_metric([worker.name, worker.device], value)
            yield gauge
        energy = CounterMetricFamily(
            "imagefarm_gpu_energy_joules",
            "Energy that the GPU has used since its driver was loaded.",
            labels=["worker", "device"],
        )
        for worker in self._live:
            if (joules := _gpu(worker).get(_ENERGY)) is not None:
                energy.add_metric([worker.name, worker.device], joules)
        yield energy


def _gpu(worker: Worker) -> Mapping[str, Any]:
    return worker.info.get("gpu") or {}
