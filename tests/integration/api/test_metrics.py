"""Prometheus metrics."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from db.jobs.reap import requeue_expired_leases
from db.metrics import changes_after, newest_event
from db.tables import Job
from db.workers import heartbeat
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving

DEMO = (("model", "demo"),)
REPORT = {
    "totals": {
        "demo": {
            "images": 7,
            "pixels": 28672,
            "step_seconds": {"sum": 1.5, "buckets": [[0.5, 2], ["+Inf", 3]]},
            "micro_batch": {"sum": 4, "buckets": [[1, 2], ["+Inf", 3]]},
        }
    },
    "cold_start_seconds": 12.5,
    "gpu": {"memory_used_bytes": 10, "utilization": 0.5, "temperature_celsius": 61, "energy_joules": 99.5},
}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def counting_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count events without waiting for others with an earlier id: there is one writer here."""
    monkeypatch.setattr("api.job_metrics.SETTLE_SECONDS", -1.0)


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


@pytest.mark.usefixtures("counting_at_once")
def test_every_change_of_a_job_is_counted_once(api: httpx.Client, worker: WorkerSide) -> None:
    body = {"prompt": "x", "width": 64, "height": 64}
    api.post("/v1/jobs", json=body)
    (before,) = [worker.claim()]
    assert before is not None
    worker.finish(before)
    assert samples(api)["imagefarm_jobs_submitted_total", DEMO] == 0, "what is older than the first scrape is not counted"
    for _ in range(4):
        api.post("/v1/jobs", json=body)
    jobs = [worker.claim() for _ in range(3)]
    assert all(jobs)
    worker.finish(jobs[0])  # type: ignore[arg-type]
    worker.fail(jobs[1])  # type: ignore[arg-type]
    with worker.database.write() as session:
        session.get_one(Job, jobs[2].id).lease_until = 1.0  # type: ignore[union-attr]
    assert [job.status for job in requeue_expired_leases(worker.database)] == ["queued"]
    for _ in range(2):
        reported = samples(api)
        assert reported["imagefarm_jobs_submitted_total", DEMO] == 4
        assert reported["imagefarm_attempts_total", DEMO] == 3
        assert reported["imagefarm_job_wait_seconds_count", DEMO] == 3
        assert reported["imagefarm_job_run_seconds_count", DEMO] == 1
        assert reported["imagefarm_lease_losses_total", DEMO] == 1
        finished = {labels: n for (name, labels), n in reported.items() if name == "imagefarm_jobs_finished_total" and n}
        assert finished == {
            (("code", ""), ("model", "demo"), ("status", "succeeded")): 1,
            (("code", "non_finite_latents"), ("model", "demo"), ("status", "failed")): 1,
        }
        lost = (("code", "worker_lost"), ("model", "demo"))
        assert reported["imagefarm_jobs_requeued_total", lost] == 1


def test_an_empty_queue_reports_zero(api: httpx.Client) -> None:
    reported = samples(api)
    for status in ("queued", "running", "held"):
        assert reported["imagefarm_jobs", (("model", "demo"), ("status", status))] == 0
    assert reported["imagefarm_queue_oldest_seconds", DEMO] == 0
    assert reported["imagefarm_jobs_held_total", (("code", ""), ("model", "demo"))] == 0
    assert reported["imagefarm_lease_losses_total", DEMO] == 0


def test_a_farm_without_workers_reports_zero_for_the_models_of_its_settings(
    make_settings: SettingsMaker,
) -> None:
    with serving(make_settings(model="demo,sd-turbo")) as url, httpx.Client(base_url=url, timeout=120) as api:
        reported = samples(api)
    for model in ("demo", "sd-turbo"):
        assert reported["imagefarm_jobs", (("model", model), ("status", "queued"))] == 0
        assert reported["imagefarm_queue_oldest_seconds", (("model", model),)] == 0
        assert reported["imagefarm_jobs_submitted_total", (("model", model),)] == 0


def test_figures_of_a_worker_and_its_gpu_are_reported(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.overview.FRESH_SECONDS", 0.0)
    assert heartbeat(worker.database, worker.name, "run-1", state="ready", info=REPORT) is not None
    reported = samples(api)
    of_model = (("model", "demo"), ("worker", "box-cpu"))
    of_gpu = (("device", "cpu"), ("worker", "box-cpu"))
    assert reported["imagefarm_worker_images_total", of_model] == 7
    assert reported["imagefarm_worker_step_seconds_sum", of_model] == 1.5
    assert reported["imagefarm_worker_step_seconds_count", of_model] == 3
    assert reported["imagefarm_worker_micro_batch_size_bucket", (("le", "1.0"), *of_model)] == 2
    assert reported["imagefarm_worker_cold_start_seconds", of_model] == 12.5
    assert reported["imagefarm_gpu_temperature_celsius", of_gpu] == 61
    assert reported["imagefarm_gpu_utilization_ratio", of_gpu] == 0.5
    assert reported["imagefarm_gpu_energy_joules_total", of_gpu] == 99.5
    assert ("imagefarm_gpu_power_watts", of_gpu) not in reported


def test_an_event_is_counted_when_no_earlier_one_can_appear(worker: WorkerSide, api: httpx.Client) -> None:
    api.post("/v1/jobs", json={"prompt": "x", "width": 64, "height": 64})
    assert newest_event(worker.database) > 0
    assert changes_after(worker.database, 0, settle_seconds=3600).changes == []
    assert [change.after for change in changes_after(worker.database, 0, settle_seconds=-1).changes] == ["queued"]
