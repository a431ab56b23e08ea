"""Zips of images: which images, their names, formats and metadata, and what happens to missing files and lost clients."""

from __future__ import annotations

import csv
import io
import json
import threading
import tracemalloc
import zipfile
from datetime import datetime

import httpx
import pytest
from PIL import Image as Pillow

from core.api_keys import Scope
from core.imagefile import read_metadata
from core.settings import Settings
from core.storage import LocalImageStore
from core.storage.archive import ImageArchive
from db.api_keys import NewKey, create_key
from db.images import get_image
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide, serving


def submit(api: httpx.Client, prompt: str = "a cat", **fields: object) -> dict[str, object]:
    body = {"prompt": prompt, "width": 64, "height": 64, "num_inference_steps": 2, "seed": 1, **fields}
    answer = api.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job: dict[str, object] = answer.json()
    return job


def finish_all(worker: WorkerSide) -> None:
    while (job := worker.claim()) is not None:
        worker.finish(job)


def export(api: httpx.Client, **query: object) -> zipfile.ZipFile:
    answer = api.get("/v1/exports", params=query)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def rows_of(archive: zipfile.ZipFile) -> list[dict[str, object]]:
    return [json.loads(line) for line in archive.read("metadata.jsonl").splitlines()]


@BOTH
def test_an_export_holds_what_was_chosen(api: httpx.Client, worker: WorkerSide) -> None:
    first = submit(api, "a cat, 灯塔", num_images=3, seed=7)
    body = {"prompts": ["a dog", "a fox"], "seeds": [1], "base": {"width": 64, "height": 64, "num_inference_steps": 2}}
    batch = api.post("/v1/batches", json=body).json()
    finish_all(worker)
    waiting = submit(api, "not finished")
    done = api.get(f"/v1/jobs/{first['id']}").json()

    archive = export(api)
    rows = rows_of(archive)
    assert [row["input"]["prompt"] for row in rows] == ["a cat, 灯塔"] * 3 + ["a dog", "a fox"]  # type: ignore[index]
    assert [row["file"] for row in rows] == archive.namelist()[:-1]
    assert [row["seed"] for row in rows[:3]] == [7, 8, 9]
    stem = f"outputs_{datetime.fromisoformat(done['completed_at']).astimezone():%Y%m%d%H%M%S}"
    assert archive.namelist()[:3] == [f"{stem}.png", f"{stem}_01.png", f"{stem}_02.png"]
    assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist()[:-1])
    stored = api.get(done["outputs"][1]["content_url"]).content
    assert archive.read(f"{stem}_01.png") == stored

    assert [row["input"]["prompt"] for row in rows_of(export(api, batch=batch["id"]))] == ["a dog", "a fox"]  # type: ignore[index]
    chosen = [done["outputs"][2]["id"], done["outputs"][0]["id"]]
    assert [row["id"] for row in rows_of(export(api, image=chosen))] == chosen[::-1]
    assert len(rows_of(export(api, job=first["id"]))) == 3
    assert len(rows_of(export(api, q="fox"))) == 1
    assert len(rows_of(export(api, since="2020-01-01T00:00:00Z", model="demo"))) == 5
    api.patch(f"/v1/images/{chosen[0]}", json={"rating": 4})
    assert [row["rating"] for row in rows_of(export(api, min_rating=4))] == [4]
    for nothing in ({"q": "whale"}, {"job": waiting["id"]}, {"until": "2020-01-01"}, {"min_rating": 5}):
        answer = api.get("/v1/exports", params=nothing)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (404, "nothing_to_export")


def test_formats_layout_and_metadata_are_chosen(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api, '=a cat, "quoted"\nsecond line', negative_prompt="bad", num_images=2)
    finish_all(worker)
    day = datetime.fromisoformat(api.get(f"/v1/jobs/{job['id']}").json()["completed_at"]).astimezone().date().isoformat()
    for wanted, extension in (("jpeg", "jpg"), ("webp", "webp"), ("png", "png")):
        archive = export(api, format=wanted, layout="by-day", metadata="csv")
        names = archive.namelist()
        assert [name.endswith(f".{extension}") and name.startswith(f"{day}/outputs_") for name in names[:2]] == [True, True]
        with Pillow.open(io.BytesIO(archive.read(names[0]))) as image:
            assert image.format == wanted.upper()
        metadata = read_metadata(archive.read(names[0])).imagefarm
        assert metadata is not None and metadata.prompt.startswith("=a cat")
        (first, second) = csv.DictReader(io.StringIO(archive.read("metadata.csv").decode(), newline=""))
        assert (first["prompt"], first["seed"], second["seed"]) == ('\'=a cat, "quoted"\nsecond line', "1", "2")
        assert (first["file"], first["negative_prompt"], first["missing"]) == (names[0], "bad", "")
    assert len(export(api, metadata="none").namelist()) == 2


def test_a_missing_file_is_told_and_breaks_nothing(api: httpx.Client, worker: WorkerSide) -> None:
    job = submit(api, num_images=3)
    finish_all(worker)
    image_id = api.get(f"/v1/jobs/{job['id']}").json()["outputs"][1]["id"]
    worker.store.delete(get_image(worker.database, image_id).key)
    archive = export(api)
    assert len(archive.namelist()) == 3
    (missing,) = [row for row in rows_of(archive) if row["file"] is None]
    assert missing["id"] == image_id and "missing from the store" in str(missing["missing"])
    archive = export(api, metadata="none")
    assert json.loads(archive.read("missing.jsonl"))["id"] == image_id


def test_wrong_choices_are_refused(api: httpx.Client, worker: WorkerSide) -> None:
    unknown = "0199c0de-0000-7000-8000-000000000001"
    cases: list[tuple[dict[str, object], int, str]] = [
        ({"batch": unknown}, 404, "batch_not_found"),
        ({"image": unknown}, 404, "image_not_found"),
        ({"job": unknown}, 404, "job_not_found"),
        ({"job": "../etc"}, 422, "invalid_input"),
        ({"job": unknown, "batch": unknown}, 422, "invalid_input"),
        ({"format": "gif"}, 422, "invalid_parameters"),
        ({"since": "yesterday"}, 422, "invalid_parameters"),
        ({"min_rating": 9}, 422, "invalid_parameters"),
        ({"q": " ".join("abcdefghijklmnopqrstuvwxyz")}, 422, "invalid_input"),
    ]
    for query, status, code in cases:
        answer = api.get("/v1/exports", params=query)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (status, code), (query, answer.text)


@BOTH
def test_owners_export_their_own_images_alone(settings: Settings, worker: WorkerSide) -> None:
    keys = [create_key(worker.database, NewKey(name, scopes=(Scope.SUBMIT, Scope.READ_OWN)))[1] for name in ("ann", "ben")]
    with serving(settings) as url:
        ann, ben = (httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}) for key in keys)
        with ann, ben:
            jobs = [submit(ann, "ann's"), submit(ben, "ben's")]
            finish_all(worker)
            assert [row["job_id"] for row in rows_of(export(ann))] == [jobs[0]["id"]]
            assert ann.get("/v1/exports", params={"job": str(jobs[1]["id"])}).status_code == 404


def test_memory_is_bounded_by_one_image() -> None:
    """200 images of 1 MB pass through; what the archive keeps does not grow with them."""
    data, row = bytes(2**20), {"id": "x", "prompt": "y" * 10_000}
    archive = ImageArchive()
    archive.add(data, datetime.now().astimezone(), "png", row)
    tracemalloc.start()
    try:
        for _ in range(200):
            assert len(archive.add(data, datetime.now().astimezone(), "png", row)) > 2**20
        assert sum(map(len, archive.finish())) > 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        archive.close()
    assert peak < 6 * 2**20, peak


@BOTH
def test_a_client_that_leaves_stops_the_reading(
    settings: Settings, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, close = LocalImageStore.read, ImageArchive.close
    calls: list[str] = []
    closed = threading.Event()

    def large(store: LocalImageStore, key: str) -> bytes:
        calls.append(key)
        return read(store, key) + bytes(2**20)

    def noted(archive: ImageArchive) -> None:
        close(archive)
        closed.set()

    monkeypatch.setattr(LocalImageStore, "read", large)
    monkeypatch.setattr(ImageArchive, "close", noted)
    with serving(settings) as url, httpx.Client(base_url=url) as api:
        for _ in range(6):
            submit(api, num_images=16)
        finish_all(worker)
        with api.stream("GET", "/v1/exports") as answer:
            assert next(answer.iter_raw())
        assert closed.wait(120)
    assert 0 < len(calls) < 96
