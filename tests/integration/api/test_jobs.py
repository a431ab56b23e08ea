"""The native API's calls for jobs."""

from __future__ import annotations

import base64
import json
import threading
import time

import httpx
import pytest
from redis import Redis

from core.settings import Settings
from db.tables import Job, JobExclusion
from db.workers import heartbeat
from tests.integration.api.conftest import BOTH, SettingsMaker
from tests.integration.api.running import WorkerSide, serving

BODY = {"prompt": "a red fox", "width": 64, "height": 64, "seed": 7}


def submit(api: httpx.Client, **changes: object) -> dict[str, object]:
    answer = api.post("/v1/jobs", json=BODY | changes)
    assert answer.status_code == 202, answer.text
    found: dict[str, object] = answer.json()
    return found


@BOTH
def test_submit_poll_and_fetch(api: httpx.Client, worker: WorkerSide) -> None:
    accepted = api.post("/v1/jobs", json=BODY | {"num_images": 2, "metadata": {"shot": "12"}})
    assert accepted.status_code == 202
    job = accepted.json()
    assert accepted.headers["location"] == f"/v1/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["input"]["num_inference_steps"] == 8
    assert "noise" in job["notice"]

    waiting = api.get(accepted.headers["location"]).json()
    assert waiting["queue"]["position"] == 1
    assert waiting["queue"]["capable_workers"] == ["box-cpu"]

    claimed = worker.claim()
    assert claimed is not None and claimed.id == job["id"]
    worker.progress(claimed, step=3, steps=8, seconds_per_step=0.1, eta_seconds=0.5)
    running = api.get(f"/v1/jobs/{job['id']}").json()
    assert running["status"] == "running"
    assert running["progress"]["step"] == 3
    assert running["worker"] == "box-cpu"

    worker.finish(claimed)
    done = api.get(f"/v1/jobs/{job['id']}?wait=10").json()
    assert done["status"] == "succeeded"
    assert done["metadata"] == {"shot": "12"}
    assert [output["seed"] for output in done["outputs"]] == [7, 8]
    assert done["timings"]["rendering_seconds"] == 0.5
    content = api.get(done["outputs"][1]["content_url"])
    assert content.headers["content-type"] == "image/png"
    assert content.content.startswith(b"\x89PNG")
    meta = api.get(done["outputs"][1]["url"]).json()
    assert meta["input"]["seed"] == 8
    assert meta["sha256"] == done["outputs"][1]["sha256"]
    history = api.get(f"/v1/jobs/{job['id']}/history").json()
    assert [event["to_status"] for event in history["events"]] == ["queued", "running", "succeeded"]
    assert history["attempts"][0]["outcome"] == "succeeded"


@BOTH
def test_a_waiting_job_names_the_workers_that_may_take_it(
    api: httpx.Client, worker: WorkerSide, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.overview.FRESH_SECONDS", 0.0)

    def place() -> tuple[list[str], str]:
        queue = api.get(f"/v1/jobs/{job['id']}").json()["queue"]
        return queue["capable_workers"], queue["reason"]

    def estimated() -> str | None:
        found: str | None = api.post("/v1/estimate", json={"prompt": "a red fox", "size": "64x64"}).json()["reason"]
        return found

    def fail(side: WorkerSide, code: str) -> None:
        claimed = side.claim()
        assert claimed is not None and claimed.id == job["id"]
        side.fail(claimed, code)
        with side.database.write() as session:
            session.get_one(Job, claimed.id).available_at = 0.0

    other = WorkerSide(settings, name="other-cpu")
    try:
        other.ready()
        job = submit(api)
        assert place() == (["box-cpu", "other-cpu"], "It is next.")
        fail(worker, "render_failed")
        assert place() == (["other-cpu"], "It is next."), "another worker is preferred for a minute"
        tag = api.get(f"/v1/jobs/{job['id']}").headers["etag"]
        with worker.database.write() as session:
            session.get_one(JobExclusion, (job["id"], worker.name)).created_at = 0.0
        changed = api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": tag})
        assert changed.json()["queue"]["capable_workers"] == ["box-cpu", "other-cpu"]

        fail(other, "out_of_memory")
        assert place() == (["box-cpu"], "It is next.")
        api.post(f"/v1/workers/{worker.name}/pause")
        assert place() == (
            [],
            "No worker of this model can take it now: box-cpu (paused), other-cpu (excluded after out_of_memory).",
        )
        assert estimated() is None, "the other one would take it"
        api.post(f"/v1/workers/{other.name}/drain")
        assert estimated() == "No worker of this model can take it now: box-cpu (paused), other-cpu (about to stop)."
        heartbeat(worker.database, worker.name, "run-1", state="stopped")
        names, reason = place()
        assert names == [] and "is excluded from it after an error: other-cpu (out_of_memory)." in reason
    finally:
        other.close()


def test_a_hint_reaches_the_broker_with_the_fields_of_flower(
    api: httpx.Client, worker: WorkerSide, settings: Settings
) -> None:
    job = submit(api, prompt="x" * 200)
    with Redis.from_url(settings.redis_url) as redis:
        found = redis.blpop([f"{settings.redis_prefix}render.demo\x06\x16{step}" for step in range(10)]
                            + [f"{settings.redis_prefix}render.demo"], timeout=120)  # fmt: skip
    assert found is not None
    message = json.loads(found[1])
    assert message["headers"]["task"] == "imagefarm.render"
    assert message["headers"]["id"] == job["id"]
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert args == [job["id"]]
    assert kwargs["size"] == "64x64"
    assert len(kwargs["prompt"]) == 80


def test_etag_gives_304_until_something_changes(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api)
    first = api.get(f"/v1/jobs/{job['id']}")
    again = api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    worker.claim()
    changed = api.get(f"/v1/jobs/{job['id']}", headers={"If-None-Match": first.headers["etag"]})
    assert changed.status_code == 200


def test_long_poll_answers_when_the_job_ends(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api)
    answers: list[tuple[float, httpx.Response]] = []
    waiter = threading.Thread(target=lambda: answers.append((time.monotonic(), api.get(f"/v1/jobs/{job['id']}?wait=120"))))
    waiter.start()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    waiter.join(120)
    assert answers[0][1].json()["status"] == "succeeded"


def test_long_poll_with_a_tag_answers_at_the_first_change(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api)
    tag = api.get(f"/v1/jobs/{job['id']}").headers["etag"]
    answers: list[httpx.Response] = []
    waiter = threading.Thread(
        target=lambda: answers.append(api.get(f"/v1/jobs/{job['id']}?wait=120", headers={"If-None-Match": tag}))
    )
    waiter.start()
    worker.claim()
    waiter.join(120)
    assert answers[0].json()["status"] == "running"


def test_long_poll_ends_after_its_time(api: httpx.Client) -> None:
    job = submit(api)
    answer = api.get(f"/v1/jobs/{job['id']}?wait=0.2")
    assert answer.json()["status"] == "queued"


def test_a_waiter_notices_the_end_without_an_event(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api)
    claimed = worker.claim()
    assert claimed is not None
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(api.get(f"/v1/jobs/{job['id']}?wait=120")))
    waiter.start()
    worker.finish(claimed, publish=False)
    waiter.join(120)
    assert answers[0].json()["status"] == "succeeded"


def test_prefer_wait_returns_the_finished_job(api: httpx.Client, worker: WorkerSide) -> None:
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(api.post("/v1/jobs", json=BODY, headers={"Prefer": "wait=120"})))
    waiter.start()
    claimed = _claim_soon(worker)
    worker.finish(claimed)
    waiter.join(120)
    assert answers[0].status_code == 200
    assert answers[0].json()["outputs"]


@BOTH
def test_prefer_wait_answers_409_for_a_failed_job(api: httpx.Client, worker: WorkerSide) -> None:
    answers: list[httpx.Response] = []
    waiter = threading.Thread(target=lambda: answers.append(api.post("/v1/jobs", json=BODY, headers={"Prefer": "wait=120"})))
    waiter.start()
    worker.fail(_claim_soon(worker))
    waiter.join(120)
    assert answers[0].status_code == 409
    assert answers[0].json()["code"] == "job_failed"
    assert "overflowed" in answers[0].json()["detail"]


def _claim_soon(worker: WorkerSide) -> Job:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (job := worker.claim()) is not None:
            return job
    raise AssertionError("no job was queued")


@BOTH
def test_a_repeated_key_gives_the_same_answer(api: httpx.Client) -> None:
    headers = {"Idempotency-Key": "order-1"}
    first = api.post("/v1/jobs", json=BODY | {"seed": -1}, headers=headers)
    second = api.post("/v1/jobs", json=BODY | {"seed": -1}, headers=headers)
    assert second.status_code == 202
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    other = api.post("/v1/jobs", json=BODY | {"seed": 8}, headers=headers)
    assert other.status_code == 422
    assert other.json()["code"] == "idempotency_mismatch"
    assert len(api.get("/v1/jobs").json()["items"]) == 1


@BOTH
def test_concurrent_submits_with_one_key_make_one_job(api: httpx.Client) -> None:
    ids: list[str] = []

    def go() -> None:
        ids.append(api.post("/v1/jobs", json=BODY, headers={"Idempotency-Key": "same"}).json()["id"])

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(ids) == 8
    assert len(set(ids)) == 1


@BOTH
def test_cancel_waiting_running_and_ended(api: httpx.Client, worker: WorkerSide) -> None:
    waiting = submit(api)
    assert api.post(f"/v1/jobs/{waiting['id']}/cancel").json()["status"] == "canceled"
    submit(api)
    running = worker.claim()
    assert running is not None
    asked = api.post(f"/v1/jobs/{running.id}/cancel").json()
    assert (asked["status"], asked["cancel_requested"]) == ("running", True)
    worker.finish(running)
    ended = api.post(f"/v1/jobs/{running.id}/cancel")
    assert (ended.status_code, ended.json()["status"]) == (200, "succeeded")


def test_cancel_is_published_to_the_worker_at_once(api: httpx.Client, worker: WorkerSide, settings: Settings) -> None:
    submit(api)
    running = worker.claim()
    assert running is not None
    with worker.redis.pubsub(ignore_subscribe_messages=True) as channel:  # type: ignore[no-untyped-call]
        channel.subscribe(worker.keys.cancels)
        channel.get_message(timeout=60)
        api.post(f"/v1/jobs/{running.id}/cancel")
        message = None
        while message is None:
            message = channel.get_message(timeout=120)
    assert message["data"].decode() == running.id


@BOTH
def test_retry_makes_a_new_job_and_refuses_a_running_one(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api)
    refused = api.post(f"/v1/jobs/{job['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    api.post(f"/v1/jobs/{job['id']}/cancel")
    again = api.post(f"/v1/jobs/{job['id']}/retry")
    assert again.status_code == 202
    assert again.json()["retried_from"] == job["id"]
    assert again.headers["location"] == f"/v1/jobs/{again.json()['id']}"


@BOTH
def test_the_list_has_filters_and_pages(api: httpx.Client) -> None:
    ids = [submit(api, prompt=f"cat number {number}")["id"] for number in range(5)]
    api.post(f"/v1/jobs/{ids[0]}/cancel")
    page = api.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in page["items"]] == [ids[4], ids[3]]
    rest = api.get("/v1/jobs", params={"limit": 10, "cursor": page["next_cursor"]}).json()
    assert [job["id"] for job in rest["items"]] == [ids[2], ids[1], ids[0]]
    assert rest["next_cursor"] is None
    assert [job["id"] for job in api.get("/v1/jobs?status=canceled").json()["items"]] == [ids[0]]
    assert [job["id"] for job in api.get("/v1/jobs", params={"q": "NUMBER 3"}).json()["items"]] == [ids[3]]
    assert api.get("/v1/jobs?cursor=nonsense").status_code == 422


def test_labels_are_owners(api: httpx.Client) -> None:
    mine = api.post("/v1/jobs", json=BODY, headers={"X-Client-Label": "studio"}).json()
    submit(api)
    assert mine["owner"] == "client:studio"
    listed = api.get("/v1/jobs?mine=true", headers={"X-Client-Label": "studio"}).json()["items"]
    assert [job["id"] for job in listed] == [mine["id"]]


@BOTH
def test_the_limit_of_queued_jobs_answers_429(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    with serving(make_settings(max_queued_per_owner=2)) as url, httpx.Client(base_url=url) as api:
        submit(api)
        submit(api)
        refused = api.post("/v1/jobs", json=BODY)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.json()["code"] == "queue_full"
        assert api.post("/v1/jobs", json=BODY, headers={"X-Client-Label": "other"}).status_code == 202
