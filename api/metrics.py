"""Prometheus metrics: the farm's state from the database, and this process's requests from counters."""

from __future__ import annotations

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.job_metrics import JobMetrics
from api.overview import Overview
from api.views.workers import state_of
from api.worker_metrics import WorkerMetrics
from core.lifecycle import JobStatus
from db.tables import Worker

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """All metrics, in one registry per application, so that one process can hold several applications."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "imagefarm_http_requests", "HTTP requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "imagefarm_http_request_seconds",
            "Time until the response started.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._jobs = self._gauge("imagefarm_jobs", "Jobs that are queued, running or held.", "model", "status")
        self._slots = self._gauge("imagefarm_worker_slots", "Jobs that a live worker can hold at once.", "worker", "model")
        self._workers = self._gauge("imagefarm_workers", "Registered workers.", "model", "state")
        self._loads = self._gauge(
            "imagefarm_worker_load_seconds", "How long a live worker's model took to load.", "worker", "model"
        )
        self._first_images = self._gauge(
            "imagefarm_worker_first_image_seconds",
            "Time of the first image after loading, from joining a micro-batch.",
            "worker",
            "model",
        )
        self._images = self._gauge(
            "imagefarm_worker_image_seconds", "Median of the latest images after the first.", "worker", "model"
        )
        self._oldest = self._gauge("imagefarm_queue_oldest_seconds", "How long the oldest queued job has waited.", "model")
        self._waiters = self._gauge("imagefarm_waiters", "Long polls and event streams of this process.")
        self._redis = self._gauge("imagefarm_redis_up", "Whether events arrive through Redis.")
        self.jobs = JobMetrics(self._registry)
        self._worker_reports = WorkerMetrics(self._registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self._registry)

    def farm(
        self, overview: Overview, counts: dict[str, dict[str, int]], oldest: dict[str, float], configured: Iterable[str]
    ) -> None:
        """Set the gauges of the farm's present state. `configured`: models that are shown without jobs or workers, too."""
        for gauge in (self._jobs, self._slots, self._workers, self._oldest, self._loads, self._first_images, self._images):
            gauge.clear()
        served = {model for worker in overview.workers for model in overview.listed(worker)}
        shown = served | set(counts) | set(configured)
        for model in shown:
            self._oldest.labels(model).set(0.0)
            for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD):
                self._jobs.labels(model, status).set(0)
        self.jobs.know(shown)
        self._worker_reports.show([worker for worker in overview.workers if worker.name in overview.live_names])
        for model, by_status in counts.items():
            for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.HELD):
                self._jobs.labels(model, status).set(by_status.get(status, 0))
        for model, seconds in oldest.items():
            self._oldest.labels(model).set(seconds)
        for worker in overview.workers:
            live = worker.name in overview.live_names
            self._workers.labels(worker.model, state_of(worker, live=live)).inc()
            if live:
                self._slots.labels(worker.name, worker.model).set(worker.capacity)
                self._times(worker)

    def _times(self, worker: Worker) -> None:
        """Set the times that a worker has reported about its engine."""
        first, later = worker.info.get("first_image") or {}, worker.info.get("later_images") or {}
        reported = {
            self._loads: worker.info.get("load_seconds"),
            self._first_images: first.get("seconds"),
            self._images: later.get("median_seconds"),
        }
        for gauge, seconds in reported.items():
            if seconds is not None:
                gauge.labels(worker.name, worker.model).set(seconds)

    def process(self, waiters: int, *, redis: bool) -> None:
        """Set the gauges of this process."""
        self._waiters.set(waiters)
        self._redis.set(redis)

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """ASGI middleware that counts responses by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()

        async def measured(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = _route(scope)
                self._metrics.requests.labels(scope["method"], route, message["status"]).inc()
                self._metrics.seconds.labels(route).observe(time.perf_counter() - start)
            await send(message)

        await self._app(scope, receive, measured)


def _route(scope: Scope) -> str:
    """Return the route's pattern; labels by path would be unbounded."""
    return str(getattr(scope.get("route"), "path", "page"))
