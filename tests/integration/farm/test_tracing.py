"""A job's trace leads from submit to stored, through the API and a worker that share nothing but the job's id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from core.extras import MissingExtra
from core.settings import Settings
from core.tracing import Tracing, trace_ids, tracing_of
from db import workers
from db.database import Database
from tests.conftest import Migrate
from tests.integration.api.running import serving
from tests.integration.farm.test_drain import InstantEngine
from tests.servers.redis import RedisServer
from worker.runner.attempts import ClaimGate, InFlightAttempts
from worker.runner.context import WorkerContext
from worker.runner.runner import Runner
from worker.runner.worker_state import WorkerIdentity, WorkerState

BODY = {"prompt": "a red fox", "width": 64, "height": 64, "num_images": 2}


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, migrate: Migrate) -> Settings:
    folder = tmp_path_factory.mktemp("tracing")
    url = f"sqlite:///{folder / 'farm.db'}"
    migrate(url)
    return Settings(_env_file=None, data_dir=folder / "data", database_url=url, redis_url=redis_server.url)


@pytest.fixture(scope="module")
def runner(settings: Settings, exporter: InMemorySpanExporter) -> Iterator[Runner]:
    """Provide a worker's runner, whose engine answers at once."""
    database, identity, attempts = Database(settings.resolved_database_url), WorkerIdentity("w1"), InFlightAttempts()
    workers.register(database, workers.Registration(identity.name, identity.incarnation, "demo", "cpu", capacity=1))
    state = WorkerState()
    state.change("ready")
    fakes: dict[str, Any] = {"engine": InstantEngine(attempts), "events": Mock(), "flower": Mock()}
    context = WorkerContext(
        settings=settings,
        database=database,
        identity=identity,
        model="demo",
        state=state,
        attempts=attempts,
        tracing=Tracing(exporter, "worker", at_once=True),
        **fakes,
    )
    hints: Any = SimpleNamespace(request_refill=lambda: None, take=lambda: None, pass_on=lambda hint: None)
    yield Runner(context, {"demo": hints}, ClaimGate("demo"))
    database.dispose()


@pytest.fixture(scope="module")
def api(settings: Settings, exporter: InMemorySpanExporter, runner: Runner) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("api.farm.tracing_of", lambda settings, process: Tracing(exporter, process, at_once=True))
        with serving(settings) as url, httpx.Client(base_url=url, timeout=120) as client:
            yield client


@pytest.fixture(autouse=True)
def forget(exporter: InMemorySpanExporter) -> None:
    exporter.clear()


def spans_of(exporter: InMemorySpanExporter, job_id: str) -> list[ReadableSpan]:
    """Return the spans of a job's trace in the order of their starts."""
    spans = [span for span in exporter.get_finished_spans() if span.context.trace_id == trace_ids(job_id)[0]]
    return sorted(spans, key=lambda span: span.start_time or 0)


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent is not None else None


def test_one_trace_leads_from_submit_to_stored(api: httpx.Client, runner: Runner, exporter: InMemorySpanExporter) -> None:
    job_id = api.post("/v1/jobs", json=BODY).json()["id"]
    runner.on_hint(job_id, 0, "demo")
    assert api.get(f"/v1/jobs/{job_id}").json()["status"] == "succeeded"
    spans = spans_of(exporter, job_id)
    assert len(spans) == len(exporter.get_finished_spans()), "every span is one of this job's trace"
    by_name: dict[str, list[ReadableSpan]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    counts = {name: len(found) for name, found in by_name.items()}
    assert counts == {
        "job.submit": 1, "job.queued": 1, "job.attempt": 1, "image.render": 2, "image.store": 2, "job.commit": 1,
    }  # fmt: skip
    (submit,), (attempt,) = by_name["job.submit"], by_name["job.attempt"]
    assert submit.parent is None
    below_submit, below_attempt = ("job.queued", "job.attempt"), ("image.render", "image.store", "job.commit")
    assert {parent_of(span) for name in below_submit for span in by_name[name]} == {submit.context.span_id}
    assert {parent_of(span) for name in below_attempt for span in by_name[name]} == {attempt.context.span_id}
    values = dict(attempt.attributes or {})
    expected = {"job_id": job_id, "attempt": 1, "model": "demo", "worker": "w1", "status": "succeeded"}
    assert values == {f"imagefarm.{name}": value for name, value in expected.items()}
    assert all((span.end_time or 0) >= (span.start_time or 0) for span in spans)


def test_each_job_of_a_batch_has_a_trace(api: httpx.Client, exporter: InMemorySpanExporter) -> None:
    batch = api.post("/v1/batches", json={"base": BODY, "seeds": [1, 2]}).json()
    assert batch["total"] == 2
    started = [span for span in exporter.get_finished_spans() if span.name == "job.submit"]
    ids = {str((span.attributes or {})["imagefarm.job_id"]) for span in started}
    assert len(ids) == 2
    for job_id in ids:
        assert [span.name for span in spans_of(exporter, job_id)] == ["job.submit"]


def test_without_an_endpoint_nothing_is_recorded() -> None:
    assert tracing_of(Settings(_env_file=None), "api") is None


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(MissingExtra, match=r"imagefarm\[tracing\]"):
        tracing_of(Settings(_env_file=None, data_dir=tmp_path, otlp_endpoint="http://127.0.0.1:4318"), "api")
