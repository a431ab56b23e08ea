"""Server-sent events of jobs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from db.database import Database
from db.jobs.read import events_of
from db.tables import Job, JobEvent
from tests.integration.api.running import WorkerSide

BODY = {"prompt": "a red fox", "width": 64, "height": 64, "seed": 7}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@dataclass
class Event:
    name: str
    id: str | None
    data: dict[str, object]


def read_events(response: httpx.Response) -> Iterator[Event]:
    """Parse the stream as a browser's EventSource does."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Event(fields["event"], fields.get("id"), json.loads(fields["data"]))
            fields = {}


def until(events: Iterator[Event], name: str) -> Event:
    return next(event for event in events if event.name == name)


def test_a_stream_contains_all_events_of_a_job(api: httpx.Client, worker: WorkerSide) -> None:
    job = api.post("/v1/jobs", json=BODY).json()
    with api.stream("GET", f"/v1/jobs/{job['id']}/events?previews=true") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = read_events(response)
        assert next(events).data["to_status"] == "queued"
        running = worker.claim()
        assert running is not None
        assert until(events, "status").data["to_status"] == "running"
        worker.redis.set(worker.keys.preview(running.id, 0), b"\xff\xd8 an image")
        worker.progress(running, step=4, steps=8)
        progress = until(events, "progress")
        assert (progress.data["step"], progress.data["value"]) == (4, 0.5)
        assert until(events, "preview").data["media_type"] == "image/jpeg"
        assert api.get(f"/v1/jobs/{job['id']}/preview").content.endswith(b"an image")
        worker.finish(running)
        rest = list(events)
    assert [event.name for event in rest] == ["status", "output", "end"]
    assert rest[-1].data["status"] == "succeeded"


def test_a_change_during_a_read_is_sent_once(api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed: list[Job] = []

    def events_after_a_claim(database: Database, job_id: str) -> list[JobEvent]:
        if not claimed and (job := worker.claim()) is not None:
            claimed.append(job)
        return events_of(database, job_id)

    monkeypatch.setattr("api.routes.job_events.events_of", events_after_a_claim)
    job = api.post("/v1/jobs", json=BODY).json()
    with api.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        events = read_events(response)
        statuses = [until(events, "status").data["to_status"] for _ in range(2)]
        worker.finish(claimed[0])
        statuses += [event.data["to_status"] for event in events if event.name == "status"]
    assert statuses == ["queued", "running", "succeeded"]


def test_a_broken_stream_resumes_after_the_last_event(api: httpx.Client, worker: WorkerSide) -> None:
    job = api.post("/v1/jobs", json=BODY).json()
    url = f"/v1/jobs/{job['id']}/events"
    with api.stream("GET", url) as response:
        first = next(read_events(response))
    running = worker.claim()
    assert running is not None
    worker.finish(running)
    with api.stream("GET", url, headers={"Last-Event-ID": str(first.id)}) as response:
        missed = list(read_events(response))
    statuses = [event.data["to_status"] for event in missed if event.name == "status"]
    assert statuses == ["running", "succeeded"]
    assert api.get(url, headers={"Last-Event-ID": str(missed[-1].id)}).status_code == 204


def test_progress_of_an_earlier_attempt_is_not_shown(api: httpx.Client, worker: WorkerSide) -> None:
    job = api.post("/v1/jobs", json=BODY).json()
    running = worker.claim()
    assert running is not None
    with api.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
        events = read_events(response)
        assert until(events, "status").data["to_status"] == "queued"
        worker.progress(running, attempt=9, step=8, steps=8)
        worker.progress(running, step=1, steps=8)
        assert until(events, "progress").data["step"] == 1
    assert api.get(f"/v1/jobs/{job['id']}").json()["progress"]["step"] == 1


def test_many_listeners_of_one_job_all_receive_its_end(api: httpx.Client, worker: WorkerSide) -> None:
    job = api.post("/v1/jobs", json=BODY).json()
    received: list[list[str]] = []
    listening = threading.Semaphore(0)
    listeners = httpx.Client(base_url=api.base_url, timeout=60, limits=httpx.Limits(max_connections=None))

    def listen() -> None:
        with listeners.stream("GET", f"/v1/jobs/{job['id']}/events") as response:
            names = []
            for event in read_events(response):
                names.append(event.name)
                if len(names) == 1:
                    listening.release()
            received.append(names)

    threads = [threading.Thread(target=listen) for _ in range(100)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert listening.acquire(timeout=60)
    running = worker.claim()
    assert running is not None
    # The listeners hold neither a thread nor a connection: other requests are served.
    assert api.get(f"/v1/jobs/{job['id']}").json()["status"] == "running"
    worker.finish(running)
    for thread in threads:
        thread.join(120)
    listeners.close()
    assert len(received) == 100
    assert all(names[-1] == "end" and names.count("status") == 3 for names in received)


def test_presets_usage_and_queue(api: httpx.Client, worker: WorkerSide) -> None:
    presets = {row["id"]: row for row in api.get("/v1/presets").json()["items"]}
    assert presets["square-768"]["width"] == 768
    api.post("/v1/jobs", json=BODY | {"num_images": 2}, headers={"X-Client-Label": "studio"})
    running = worker.claim()
    assert running is not None
    worker.finish(running)
    api.post("/v1/jobs", json=BODY)
    usage = api.get("/v1/usage").json()
    assert (usage["jobs"], usage["images"], usage["pixels"]) == (1, 2, 2 * 64 * 64)
    assert usage["items"][0]["owner"] == "client:studio"
    queue = api.get("/v1/queue").json()
    assert queue["queued"] == 1
    assert queue["models"][0]["model"] == "demo"
    waiting = api.get("/v1/jobs?status=queued").json()["items"][0]
    assert api.get(f"/v1/jobs/{waiting['id']}").json()["queue"]["reason"] == "It is next."
    assert api.post("/v1/workers/box-cpu/pause").json()["state"] == "paused"
