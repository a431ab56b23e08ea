"""What Prometheus reads: the farm's state from the database, this process's requests from counters."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.overview import Overview
from api.views.workers import state_of
from core.lifecycle import JobStatus
from db.tables import Worker

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """One registry per application, so that several can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "imagefarm_http_requests", "Requests answered.", ["method", "route", "status"], registry=self._registry
        )
        self.seconds = Histogram(
            "imagefarm_http_request_seconds",
            "Time until the answer began.",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._jobs = self._gauge("imagefarm_jobs", "Jobs that are queued, running or held.", "model", "status")
        self._slots = self._gauge("imagefarm_worker_slots", "Jobs that a live worker can hold at once.", "worker", "model")
        self._workers = self._gauge("imagefarm_workers", "Workers the farm remembers.", "model", "state")
        self._loads = self._gauge(
            "imagefarm_worker_load_seconds", "How long a live worker's model took to load.", "worker", "model"
        )
        self._first_images = self._gauge(
            "imagefarm_worker_first_image_seconds", "The first image since then, from joining the batch.", "worker", "model"
        )
        self._images = self._gauge(
            "imagefarm_worker_image_seconds", "Median of the latest images after the first.", "worker", "model"
        )
        self._oldest = self._gauge("imagefarm_queue_oldest_seconds", "How long the oldest queued job has waited.", "model")
        self._waiters = self._gauge("imagefarm_waiters", "Long polls and event streams of this process.")
        self._redis = self._gauge("imagefarm_redis_up", "Whether news come over Redis.")

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self._registry)

    def farm(self, overview: Overview, counts: dict[str, dict[str, int]], oldest: dict[str, float]) -> None:
        """The state of the farm, as it is now."""
        for gauge in (self._jobs, self._slots, self._workers, self._oldest, self._loads, self._first_images, self._images):
            gauge.clear()
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
        """What it has told of its engine so far."""
        first, later = worker.info.get("first_image") or {}, worker.info.get("later_images") or {}
        told = {
            self._loads: worker.info.get("load_seconds"),
            self._first_images: first.get("seconds"),
            self._images: later.get("median_seconds"),
        }
        for gauge, seconds in told.items():
            if seconds is not None:
                gauge.labels(worker.name, worker.model).set(seconds)

    def process(self, waiters: int, *, redis: bool) -> None:
        """What this process holds."""
        self._waiters.set(waiters)
        self._redis.set(redis)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """ASGI middleware: counts answers by route."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
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
    """The route's pattern: paths themselves are without bound."""
    return str(getattr(scope.get("route"), "path", "page"))
