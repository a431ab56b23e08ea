"""Prometheus metrics."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.api.running import WorkerSide


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def samples(api: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(api.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_queue_workers_and_requests_are_reported(api: httpx.Client, worker: WorkerSide) -> None:
    for _ in range(3):
        api.post("/v1/jobs", json={"prompt": "x", "width": 64, "height": 64})
    assert worker.claim() is not None
    api.get("/v1/jobs/nonsense")
    reported = samples(api)
    assert reported["imagefarm_jobs", (("model", "demo"), ("status", "queued"))] == 2
    assert reported["imagefarm_jobs", (("model", "demo"), ("status", "running"))] == 1
    assert reported["imagefarm_workers", (("model", "demo"), ("state", "ready"))] == 1
    assert reported["imagefarm_worker_slots", (("model", "demo"), ("worker", "box-cpu"))] == 2
    assert reported["imagefarm_queue_oldest_seconds", (("model", "demo"),)] >= 0
    submits = ("imagefarm_http_requests_total", (("method", "POST"), ("route", "/v1/jobs"), ("status", "202")))
    assert reported[submits] == 3
    missing = ("method", "GET"), ("route", "/v1/jobs/{job_id}"), ("status", "404")
    assert reported["imagefarm_http_requests_total", missing] == 1
