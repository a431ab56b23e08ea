"""Reading images while they are deleted: each read is whole, or says that the image is gone."""

from __future__ import annotations

import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image as Pillow
from starlette.types import Receive, Scope, Send

from api.file_response import OpenFileResponse
from api.routes import images as image_routes
from core.imagefile import ImageMetadata, encode
from db.database import Database
from db.jobs.succeed import StoredImage
from db.retention import delete_image
from db.tables import Image, Job
from tests.integration.api.running import WorkerSide

SIDE = 256


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the files are the same with any database."""
    return fresh_sqlite


@pytest.fixture
def noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the worker store files of several chunks."""
    noise = Pillow.effect_noise((SIDE, SIDE), 90).convert("RGB")
    store = WorkerSide._store

    def store_noise(worker: WorkerSide, job: Job, index: int) -> StoredImage:
        stored = store(worker, job, index)
        metadata = ImageMetadata(
            prompt="x", seed=index, num_inference_steps=1, width=SIDE, height=SIDE, model="demo", random_weights=True
        )
        file = worker.store.put(stored.key, encode(noise, metadata))
        return StoredImage(**{**vars(stored), "bytes": file.bytes, "sha256": file.sha256})

    monkeypatch.setattr(WorkerSide, "_store", store_noise)


def finished_batch(api: httpx.Client, worker: WorkerSide, jobs: int) -> tuple[str, list[str], list[str]]:
    """Return the ids of a finished batch, its jobs and its images."""
    body = {"prompts": ["x"], "seeds": list(range(jobs)), "base": {"width": SIDE, "height": SIDE, "num_images": 2}}
    batch = api.post("/v1/batches", json=body).json()["id"]
    for _ in range(jobs):
        while (job := worker.claim()) is None:
            pass
        worker.finish(job)
    found = api.get("/v1/jobs", params={"limit": jobs}).json()["items"]
    return batch, [job["id"] for job in found], [output["id"] for job in found for output in job["outputs"]]


@pytest.mark.usefixtures("noisy")
def test_reads_beside_deletions_are_whole_or_gone(api: httpx.Client, worker: WorkerSide) -> None:
    batch, jobs, images = finished_batch(api, worker, 12)
    reads: list[tuple[str, dict[str, str]]] = [
        ("content", {}),
        ("content", {"Range": "bytes=100-99999"}),
        ("content", {"Range": "bytes=0-9,70000-80000"}),
        ("content?format=webp", {}),
        ("thumbnail?size=64", {}),
    ]
    statuses: Counter[int] = Counter()
    started = threading.Barrier(9)

    def read(reader: int) -> None:
        started.wait(120)
        for number, image_id in itertools.product(range(3), images):
            path, headers = reads[(number + reader) % len(reads)]
            check(api.get(f"/v1/images/{image_id}/{path}", headers=headers), statuses)
            if number % 3 == reader % 3 and image_id.endswith(("0", "1")):
                check(api.get(f"/v1/batches/{batch}/contact-sheet", params={"side": 64}), statuses)

    def delete() -> None:
        started.wait(120)
        for image_id in images[::3]:
            assert api.delete(f"/v1/images/{image_id}").status_code == 204
        for job_id in jobs[: len(jobs) * 3 // 4]:
            assert api.delete(f"/v1/jobs/{job_id}").status_code == 204

    with ThreadPoolExecutor(9) as threads:
        calls = [threads.submit(read, reader) for reader in range(8)] + [threads.submit(delete)]
        for call in calls:
            call.result(120)
    check(api.get(f"/v1/images/{images[0]}/content"), statuses)  # also when all readers were faster than the deletions
    assert set(statuses) <= {200, 206, 404, 410}, statuses
    assert statuses[410] > 0
    assert statuses[200] > 0


def check(response: httpx.Response, statuses: Counter[int]) -> None:
    """Count the status; a body that is shorter than its head says raises an error of httpx before this."""
    statuses[response.status_code] += 1
    assert len(response.content) == int(response.headers["content-length"])
    kind = response.headers["content-type"]
    if response.status_code == 200:
        assert kind.startswith("image/")
        Pillow.open(io.BytesIO(response.content)).load()
    elif response.status_code != 206:
        assert kind == "application/problem+json"
        assert response.json()["code"] in ("image_gone", "image_file_missing")


def delete_now(database: Database, worker: WorkerSide, image_id: str) -> None:
    worker.store.delete(delete_image(database, image_id))


@pytest.mark.usefixtures("noisy")
@pytest.mark.parametrize("requested", ["", "bytes=100-", "bytes=0-9,70000-"])
def test_an_image_that_is_deleted_after_it_was_opened_is_sent_whole(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch, requested: str
) -> None:
    _, _, images = finished_batch(api, worker, 1)
    url, headers = f"/v1/images/{images[0]}/content", {"Range": requested} if requested else {}
    before = api.get(url, headers=headers)
    send = OpenFileResponse.__call__

    async def delete_and_send(self: OpenFileResponse, scope: Scope, receive: Receive, send_: Send) -> None:
        delete_now(worker.database, worker, images[0])
        await send(self, scope, receive, send_)

    monkeypatch.setattr(OpenFileResponse, "__call__", delete_and_send)
    after = api.get(url, headers=headers)
    assert after.status_code == before.status_code
    assert len(after.content) == int(after.headers["content-length"]) == len(before.content)
    if not requested.count(","):  # its boundary is random
        assert after.content == before.content
    monkeypatch.undo()
    assert api.get(url).status_code == 410


@pytest.mark.parametrize("path", ["content", "content?format=jpeg", "thumbnail"])
def test_an_image_that_is_deleted_after_its_row_was_read_is_gone(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    _, _, images = finished_batch(api, worker, 1)
    read: Callable[..., Image] = getattr(image_routes, "get_image")  # noqa: B009 -- not one of its exports

    def read_and_delete(database: Database, image_id: str, owner: str | None = None) -> Image:
        row = read(database, image_id, owner)
        delete_now(database, worker, image_id)
        return row

    monkeypatch.setattr(image_routes, "get_image", read_and_delete)
    response = api.get(f"/v1/images/{images[0]}/{path}")
    assert (response.status_code, response.json()["code"]) == (410, "image_gone")


def test_a_file_that_is_missing_from_the_store_is_reported(api: httpx.Client, worker: WorkerSide) -> None:
    _, _, images = finished_batch(api, worker, 1)
    for key in list(worker.store.iter_keys()):
        worker.store.delete(key)
    for path in ("content", "content?format=jpeg", "thumbnail"):
        response = api.get(f"/v1/images/{images[0]}/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "image_file_missing")


def test_a_damaged_file_is_reported(api: httpx.Client, worker: WorkerSide) -> None:
    _, _, images = finished_batch(api, worker, 1)
    stored = {key: worker.store.read(key) for key in worker.store.iter_keys()}
    for damage in (lambda _: b"", lambda data: data[: len(data) // 2], lambda _: b"not an image"):
        for key, data in stored.items():
            (worker.settings.images_dir / key).write_bytes(damage(data))
        for path in ("content?format=jpeg", "thumbnail?size=48"):
            response = api.get(f"/v1/images/{images[0]}/{path}")
            assert (response.status_code, response.json()["code"]) == (404, "image_damaged")
