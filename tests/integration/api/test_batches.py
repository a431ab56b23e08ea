"""Batches: many jobs in one call."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from api.routes import batches
from api.submission import prepare_job
from db.batches import open_members
from db.database import Database
from db.jobs.cancel import request_cancel
from db.jobs.read import Snapshot, snapshots_of
from db.retention import delete_job
from db.tables import Job
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide

BASE = {"width": 64, "height": 64}


@BOTH
def test_a_grid_is_rendered_and_has_a_contact_sheet(api: httpx.Client, worker: WorkerSide) -> None:
    accepted = api.post(
        "/v1/batches",
        json={
            "name": "foxes",
            "prompts": ["fox by day", "fox by night"],
            "seeds": [1, 2],
            "axes": {"num_inference_steps": [4, 8]},
            "base": BASE,
            "jobs": [{"prompt": "one more", **BASE}],
        },
    )
    assert accepted.status_code == 202, accepted.text
    batch = accepted.json()
    assert (batch["total"], batch["status"], batch["value"]) == (9, "running", 0.0)
    assert batch["jobs"][1]["axes"] == {"prompt": "fox by day", "seed": 1, "num_inference_steps": 8}
    member = api.get(batch["jobs"][3]["url"]).json()
    assert (member["input"]["seed"], member["input"]["num_inference_steps"]) == (2, 8)
    assert member["batch_id"] == batch["id"]
    with worker.working():
        done = api.get(accepted.headers["location"], params={"wait": 120}).json()
    assert (done["status"], done["counts"], done["value"]) == ("finished", {"succeeded": 9}, 1.0)
    assert done["jobs"][0]["outputs"][0]["content_url"]
    sheet = api.get(done["urls"]["contact_sheet"], params={"columns": 4, "side": 64})
    assert Pillow.open(io.BytesIO(sheet.content)).size == (4 * 72 + 8, 3 * 90 + 8)
    assert api.get("/v1/batches").json()["items"][0]["id"] == batch["id"]


@BOTH
def test_counts_agree_with_the_jobs_though_one_ends_while_they_are_read(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = api.post("/v1/batches", json={"prompts": ["a"], "base": BASE}).json()

    def end_after_the_read(database: Database, jobs: Sequence[Job]) -> list[Snapshot]:
        found = snapshots_of(database, jobs)
        job = worker.claim()
        assert job is not None
        worker.finish(job)
        return found

    monkeypatch.setattr(batches, "snapshots_of", end_after_the_read)
    early = api.get(batch["urls"]["self"]).json()
    assert (early["status"], early["counts"], early["jobs"][0]["status"]) == ("running", {"queued": 1}, "queued")
    monkeypatch.undo()
    late = api.get(batch["urls"]["self"]).json()
    assert (late["status"], late["counts"], late["jobs"][0]["status"]) == ("finished", {"succeeded": 1}, "succeeded")


def test_one_seed_is_shared_unless_requested_otherwise(api: httpx.Client) -> None:
    body = {"prompts": ["a", "b", "c"], "base": BASE}

    def seeds(**changes: object) -> set[int]:
        batch = api.post("/v1/batches", json=body | changes).json()
        return {api.get(item["url"]).json()["input"]["seed"] for item in batch["jobs"]}

    assert len(seeds()) == 1
    assert len(seeds(shared_seed=False)) == 3


@BOTH
def test_a_batch_is_accepted_completely_or_not_at_all(api: httpx.Client) -> None:
    refused = api.post("/v1/batches", json={"prompts": ["a"], "axes": {"size": ["64x64", "65x64"]}})
    assert refused.status_code == 422
    error = refused.json()["errors"][0]
    assert "job 1" in error["field"] and "65x64" in error["message"]
    assert api.get("/v1/jobs").json()["items"] == []
    many = api.post("/v1/batches", json={"prompts": ["a"], "seeds": list(range(1001)), "base": BASE})
    assert "1001 jobs" in many.json()["errors"][0]["message"]
    assert api.post("/v1/batches", json={}).status_code == 422
    assert api.post("/v1/batches", json={"promts": ["a"]}).status_code == 422
    wild = api.post("/v1/batches", json={"prompts": ["a"], "axes": {"num_inference_steps": [10**30]}})
    assert wild.status_code == 422


@BOTH
def test_a_repeated_key_gives_the_same_batch(api: httpx.Client) -> None:
    body, headers = {"prompts": ["a", "b"], "base": BASE}, {"Idempotency-Key": "k"}
    first = api.post("/v1/batches", json=body, headers=headers).json()
    again = api.post("/v1/batches", json=body, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["id"] == first["id"]
    assert len(api.get("/v1/jobs").json()["items"]) == 2
    other = api.post("/v1/batches", json={"prompts": ["c"], "base": BASE}, headers=headers)
    assert other.json()["code"] == "idempotency_mismatch"


@BOTH
def test_canceling_a_batch_cancels_its_open_jobs(api: httpx.Client, worker: WorkerSide) -> None:
    batch = api.post("/v1/batches", json={"prompts": ["a", "b", "c"], "base": BASE}).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    running = worker.claim()
    canceled = api.post(batch["urls"]["cancel"]).json()
    assert canceled["counts"] == {"succeeded": 1, "running": 1, "canceled": 1}
    assert running is not None
    assert api.get(f"/v1/jobs/{running.id}").json()["cancel_requested"] is True
    empty = api.get(canceled["urls"]["contact_sheet"])
    assert empty.headers["content-type"] == "image/png"


@BOTH
def test_canceling_a_batch_skips_jobs_that_are_deleted_in_the_meantime(
    api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = api.post("/v1/batches", json={"prompts": ["a", "b", "c"], "base": BASE}).json()

    def delete_the_first(database: Database, batch_id: str) -> Sequence[str]:
        job_ids = open_members(database, batch_id)
        request_cancel(database, job_ids[0])
        delete_job(database, job_ids[0])
        return job_ids

    monkeypatch.setattr(batches, "open_members", delete_the_first)
    canceled = api.post(batch["urls"]["cancel"])
    assert canceled.status_code == 200, canceled.text
    assert canceled.json()["counts"] == {"canceled": 2}


@BOTH
def test_the_longest_key_works_for_a_batch(api: httpx.Client) -> None:
    longest, alike = "k" * 255, "k" * 254 + "j"
    body = {"prompts": ["a"], "base": BASE}
    first = api.post("/v1/batches", json=body, headers={"Idempotency-Key": longest})
    assert first.status_code == 202, first.text
    again = api.post("/v1/batches", json=body, headers={"Idempotency-Key": longest})
    assert again.json()["id"] == first.json()["id"]
    assert api.post("/v1/batches", json=body, headers={"Idempotency-Key": alike}).json()["id"] != first.json()["id"]
    assert api.post("/v1/batches", json=body, headers={"Idempotency-Key": "k" * 256}).status_code == 422


def test_a_contact_sheet_has_an_empty_cell_for_a_missing_file(api: httpx.Client, worker: WorkerSide) -> None:
    batch = api.post("/v1/batches", json={"prompts": ["a", "b"], "base": BASE}).json()
    with worker.working():
        done = api.get(f"/v1/batches/{batch['id']}", params={"wait": 120}).json()
    keys = sorted(worker.store.iter_keys())
    worker.store.delete(keys[0])
    sheet = api.get(done["urls"]["contact_sheet"], params={"columns": 2, "side": 64})
    assert sheet.status_code == 200
    colours = {Pillow.open(io.BytesIO(sheet.content)).getpixel((8 + cell * 72 + 32, 40)) for cell in range(2)}
    assert colours == {(63, 63, 70), (0, 90, 160)}
    worker.store.delete(keys[1])
    missing = api.get(done["urls"]["contact_sheet"])
    assert (missing.status_code, missing.json()["code"]) == (404, "image_file_missing")


@BOTH
def test_a_deleted_job_does_not_stop_the_cancel_of_its_batch(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = api.post("/v1/batches", json={"prompts": ["a", "b", "c"], "base": BASE}).json()

    def members_before_a_delete(database: Database, batch_id: str) -> Sequence[str]:
        found = open_members(database, batch_id)
        request_cancel(database, found[0], None)
        delete_job(database, found[0])
        return found

    monkeypatch.setattr("api.routes.batches.open_members", members_before_a_delete)
    canceled = api.post(batch["urls"]["cancel"])
    assert canceled.status_code == 200
    assert canceled.json()["counts"] == {"canceled": 2}


def test_a_batch_is_validated_off_the_event_loop(api: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []

    def spied(*args: Any) -> Any:  # noqa: ANN401 -- passes everything through
        threads.append(threading.current_thread().name)
        return prepare_job(*args)

    monkeypatch.setattr("api.batches.prepare_job", spied)
    assert api.post("/v1/batches", json={"prompts": ["a", "b"], "base": BASE}).status_code == 202
    assert len(threads) == 2
    assert all(name.startswith("api") for name in threads)


def test_a_batch_with_axes_has_a_labelled_sheet_as_png_and_webp(api: httpx.Client, worker: WorkerSide) -> None:
    body = {
        "name": "colours",
        "prompts": ["a red fox | at night"],
        "matrix": True,
        "seeds": [1],
        "axes": {"recipe": ["authors", "anime"], "prompt_sr": ["red", "蓝色"]},
        "base": BASE | {"num_images": 2},
    }
    batch = api.post("/v1/batches", json=body).json()
    assert batch["total"] == 8
    assert batch["jobs"][7]["axes"] == {
        "prompt": "a red fox", "matrix_1": "at night", "seed": 1, "recipe": "anime", "prompt_sr": "蓝色",
    }  # fmt: skip
    assert api.get(batch["jobs"][7]["url"]).json()["input"]["prompt"] == "a 蓝色 fox, at night"
    waiting = Pillow.open(io.BytesIO(api.get(batch["urls"]["contact_sheet"], params={"side": 64}).content))
    with worker.working():
        done = api.get(f"/v1/batches/{batch['id']}", params={"wait": 120}).json()
    for kind in ("png", "webp"):
        answer = api.get(done["urls"]["contact_sheet"], params={"side": 64, "format": kind})
        assert answer.headers["content-type"] == f"image/{kind}"
        sheet = Pillow.open(io.BytesIO(answer.content))
        assert sheet.size == waiting.size
        colours = {colour for _, colour in sheet.convert("RGB").getcolors(1_000_000) or ()}
        assert {(0, 90, 160), (20, 90, 160)} <= colours or kind == "webp"
    plain = api.get(done["urls"]["contact_sheet"], params={"side": 64, "columns": 4})
    assert Pillow.open(io.BytesIO(plain.content)).size == (4 * 72 + 8, 4 * 90 + 8)
    wrong = api.post("/v1/batches", json={"prompts": ["a"], "axes": {"prompt_sr": ["b"]}})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "axes.prompt_sr")
