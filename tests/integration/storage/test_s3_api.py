"""A farm whose images are in a bucket: files pass through the API, or clients get links; outages are shown and outlasted."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from core.errors import RenderError
from core.ids import new_id
from core.settings import Settings
from core.storage import image_key
from imagefarm import ImageFarm
from storage import s3_client
from storage.stores import open_images
from tests.conftest import Migrate
from tests.integration.api.running import WorkerSide, serving
from tests.servers.redis import RedisServer
from tests.servers.s3 import S3Server
from worker.runner import storage_gate
from worker.runner.attempts import InFlightAttempts, RunningAttempt, StorageBack
from worker.runner.storage_gate import StorageGate
from worker.runner.worker_state import WorkerState


@pytest.fixture(scope="module")
def bucket_settings(
    running: S3Server, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, migrate: Migrate
) -> Settings:
    directory = tmp_path_factory.mktemp("api")
    url = f"sqlite:///{directory / 'api.db'}"
    migrate(url)
    return Settings(
        _env_file=None,
        data_dir=directory / "data",
        database_url=url,
        redis_url=redis_server.url,
        storage_url=running.url("api"),
    )


@pytest.fixture(scope="module")
def image_id(bucket_settings: Settings, address: str) -> Iterator[str]:
    """Render one image by a simulated worker that stores in the bucket."""
    side = WorkerSide(bucket_settings)
    side.store = open_images(bucket_settings)
    side.ready()
    body = {"prompt": "a cat", "width": 64, "height": 64}
    job = httpx.post(f"{address}/v1/jobs", json=body).raise_for_status().json()
    claimed = side.claim()
    assert claimed is not None and claimed.id == job["id"]
    side.finish(claimed)
    yield httpx.get(f"{address}/v1/jobs/{job['id']}").json()["outputs"][0]["id"]
    side.close()


@pytest.fixture(scope="module")
def address(bucket_settings: Settings) -> Iterator[str]:
    with serving(bucket_settings) as url:
        yield url


@pytest.fixture
def api(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=120) as client:
        yield client


def test_a_file_and_its_ranges_pass_through_the_api(api: httpx.Client, image_id: str) -> None:
    path, any_format = f"/v1/images/{image_id}/content", {"Accept": "*/*"}
    whole = api.get(path, headers=any_format)
    assert whole.status_code == 200 and whole.headers["accept-ranges"] == "bytes"
    data = whole.content
    assert hashlib.sha256(data).hexdigest() == api.get(f"/v1/images/{image_id}").json()["sha256"]
    assert int(whole.headers["content-length"]) == len(data)
    one = api.get(path, headers=any_format | {"Range": "bytes=10-29"})
    assert (one.status_code, one.content) == (206, data[10:30])
    assert api.get(path, headers=any_format | {"Range": "bytes=-5"}).content == data[-5:]
    two = api.get(path, headers=any_format | {"Range": "bytes=0-3,20-29"})
    assert two.status_code == 206 and data[:4] in two.content and data[20:30] in two.content
    assert api.get(path, headers=any_format | {"Range": "bytes=99999999-"}).status_code == 416
    head = api.head(path, headers=any_format)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(data)))
    assert api.get(f"/v1/images/{image_id}/thumbnail").headers["content-type"] == "image/webp"


def test_an_upload_is_kept_in_the_bucket(api: httpx.Client, running: S3Server) -> None:
    buffer = io.BytesIO()
    Pillow.new("RGB", (64, 64), (200, 20, 20)).save(buffer, "PNG")
    upload = api.post("/v1/uploads", content=buffer.getvalue(), headers={"Content-Type": "image/png"})
    assert upload.status_code == 201
    assert len(running.keys("api/uploads/")) == 1
    body = {"prompt": "a dog", "init_image": upload.json()["id"], "width": 64, "height": 64}
    assert api.post("/v1/jobs", json=body).status_code == 202


def test_an_outage_makes_the_farm_unready(api: httpx.Client, s3: S3Server, bucket_settings: Settings, image_id: str) -> None:
    s3.refuse = lambda request: True
    assert api.get(f"/v1/images/{image_id}/content?format=webp").status_code == 503
    answer = api.get("/readyz")
    assert answer.status_code == 503
    assert not answer.json()["checks"]["images"]["ok"]


def test_links_lead_clients_and_pages_to_the_bucket(bucket_settings: Settings, s3: S3Server, image_id: str) -> None:
    settings = bucket_settings.model_copy(update={"storage_links": True})
    with serving(settings) as url, httpx.Client(base_url=url) as client:
        answer = client.get(f"/v1/images/{image_id}/content?download=true", headers={"Accept": "*/*"})
        assert answer.status_code == 307
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["location"].startswith(f"{s3.endpoint}/farm/api/images/")
        data = httpx.get(answer.headers["location"]).raise_for_status()
        assert data.content.startswith(b"\x89PNG")
        with ImageFarm(url) as farm:
            assert farm.content(image_id) == data.content
        assert f"img-src 'self' {s3.endpoint} data:" in client.get("/").headers["content-security-policy"]


def test_a_worker_is_blocked_through_an_outage_and_its_images_wait(
    s3: S3Server, bucket_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_client, "_TRIES", 1)
    monkeypatch.setattr(storage_gate, "FIRST_PROBE_SECONDS", 0.01)
    s3_client.open_client.cache_clear()
    store, key = open_images(bucket_settings), image_key(new_id(), 1, 0)
    state, attempts = WorkerState(), InFlightAttempts()
    job: Any = SimpleNamespace(id="job-1", attempt=1, input={})
    attempt = RunningAttempt(job)
    attempts.add(attempt)
    state.change("ready")
    gate = StorageGate(state, attempts)
    s3.refuse = lambda request: True
    with pytest.raises(RenderError) as caught:
        store.put(key, b"an image")
    gate.report("images", caught.value.message, store.check_writable)
    assert not gate.is_open
    assert (state.snapshot().state, str(state.snapshot().message)[:20]) == ("blocked", "storage unavailable:")
    s3.refuse = lambda request: False
    assert attempt.messages.get(timeout=120) == StorageBack()
    store.put(key, b"an image")
    assert store.read(key) == b"an image"
