"""Images: formats, thumbnails, ratings, deletion; uploads for image-to-image."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import httpx
import pytest
from PIL import Image as Pillow

from core.storage import LocalImageStore
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving

BODY = {"prompt": "a red fox", "width": 64, "height": 96, "seed": 7}


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def finished(api: httpx.Client, worker: WorkerSide, **changes: object) -> dict[str, object]:
    """Submit a job and finish it."""
    job = api.post("/v1/jobs", json=BODY | changes).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    found: dict[str, object] = api.get(f"/v1/jobs/{job['id']}").json()
    return found


def first_output(job: dict[str, object]) -> dict[str, Any]:
    outputs = job["outputs"]
    assert isinstance(outputs, list)
    found: dict[str, Any] = outputs[0]
    return found


def image_file(kind: str, width: int = 80, height: int = 48) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (width, height), (200, 30, 30)).save(buffer, kind)
    return buffer.getvalue()


def opened(data: bytes) -> Pillow.Image:
    return Pillow.open(io.BytesIO(data))


def test_formats_by_accept_and_by_query(api: httpx.Client, worker: WorkerSide) -> None:
    url = first_output(finished(api, worker))["content_url"]
    assert opened(api.get(url).content).format == "PNG"
    assert opened(api.get(url, headers={"Accept": "image/webp"}).content).format == "WEBP"
    assert opened(api.get(url, headers={"Accept": "image/jpeg, image/png;q=0.5"}).content).format == "JPEG"
    browser = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
    assert opened(api.get(url, headers={"Accept": browser}).content).format == "PNG"
    by_query = api.get(url, params={"format": "webp", "download": True})
    assert by_query.headers["content-type"] == "image/webp"
    assert by_query.headers["content-disposition"].endswith('.webp"')
    saving = "text/html,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
    assert opened(api.get(url, headers={"Accept": saving}).content).format == "PNG"
    refused = api.get(url, headers={"Accept": "image/tiff"})
    assert (refused.status_code, refused.json()["code"]) == (406, "not_acceptable")


def test_content_supports_etags_and_ranges(api: httpx.Client, worker: WorkerSide) -> None:
    url = first_output(finished(api, worker))["content_url"]
    whole = api.get(url)
    assert api.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    part = api.get(url, headers={"Range": "bytes=0-7"})
    assert (part.status_code, part.content) == (206, b"\x89PNG\r\n\x1a\n")
    assert api.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416


def test_thumbnails_are_small_and_keep_the_shape(api: httpx.Client, worker: WorkerSide) -> None:
    url = first_output(finished(api, worker))["thumbnail_url"]
    small = opened(api.get(url, params={"size": 48}).content)
    assert (small.format, small.size) == ("WEBP", (32, 48))
    assert api.get(url, params={"size": 5000}).status_code == 422


def test_an_image_can_be_rated(api: httpx.Client, worker: WorkerSide) -> None:
    job = finished(api, worker)
    url = first_output(job)["url"]
    assert api.patch(url, json={"rating": 4}).json()["rating"] == 4
    assert first_output(api.get(f"/v1/jobs/{job['id']}").json())["rating"] == 4
    assert api.patch(url, json={"rating": None}).json()["rating"] is None
    assert api.patch(url, json={"rating": 6}).status_code == 422
    assert api.patch(url, json={}).status_code == 422


def test_deleted_images_and_jobs_answer_410_and_their_files_are_deleted(api: httpx.Client, worker: WorkerSide) -> None:
    job = finished(api, worker, num_images=2)
    url = first_output(job)["url"]
    assert len(list(worker.store.iter_keys())) == 2
    assert api.delete(url).status_code == 204
    assert api.get(url).status_code == 410
    assert api.get(f"{url}/content").json()["code"] == "image_gone"
    assert len(api.get(f"/v1/jobs/{job['id']}").json()["outputs"]) == 1
    assert api.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert api.get(f"/v1/jobs/{job['id']}").json()["code"] == "job_gone"
    assert list(worker.store.iter_keys()) == []
    waiting = api.post("/v1/jobs", json=BODY).json()
    assert api.delete(f"/v1/jobs/{waiting['id']}").json()["code"] == "job_not_settled"


def test_an_upload_starts_a_job(api: httpx.Client, worker: WorkerSide) -> None:
    sent = api.post("/v1/uploads", content=image_file("JPEG"), headers={"Content-Type": "image/jpeg"})
    assert sent.status_code == 201
    upload = sent.json()
    assert (upload["width"], upload["height"]) == (80, 48)
    assert api.get(sent.headers["location"]).json() == upload
    job = api.post("/v1/jobs", json={"prompt": "x", "init_image": upload["id"], "strength": 0.5}).json()
    assert (job["input"]["width"], job["input"]["height"]) == (80, 64)
    assert job["input"]["init_image"] == upload["id"]
    claimed = worker.claim()
    assert claimed is not None
    assert claimed.input["init_image"]["key"].endswith(".png")
    assert api.delete(sent.headers["location"]).status_code == 204
    refused = api.post("/v1/jobs", json={"prompt": "x", "init_image": upload["id"]})
    assert refused.json()["errors"][0]["field"] == "init_image"


def uploaded(api: httpx.Client, image: Pillow.Image) -> str:
    """Upload a picture and return its id."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    sent = api.post("/v1/uploads", content=buffer.getvalue(), headers={"Content-Type": "image/png"})
    assert sent.status_code == 201, sent.text
    return str(sent.json()["id"])


def test_an_upload_is_the_mask_of_a_job(api: httpx.Client, worker: WorkerSide) -> None:
    picture = Pillow.new("RGB", (96, 64), "green")
    half = Pillow.new("L", (96, 64))
    half.paste(255, (0, 0, 48, 64))
    image, mask, black, white = (
        uploaded(api, each) for each in (picture, half, Pillow.new("L", (96, 64)), Pillow.new("L", (48, 64), 255))
    )
    body = {"prompt": "x", "init_image": image}
    sent = api.post("/v1/jobs", json=body | {"mask": mask, "mask_feather": 4})
    assert sent.status_code == 202
    job = sent.json()
    assert (job["input"]["mask"], job["input"]["mask_feather"], job["input"]["strength"]) == (mask, 4, 1.0)
    assert job["warnings"] == []
    claimed = worker.claim()
    assert claimed is not None
    assert (claimed.mask_upload_id, claimed.input["mask"]["white_share"]) == (mask, 0.5)
    assert claimed.input["mask"]["key"].endswith(".png")

    refused = api.post("/v1/jobs", json=body | {"mask": black})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "mask")
    assert "nothing to repaint" in refused.json()["errors"][0]["message"]
    assert "send init_image" in api.post("/v1/jobs", json={"prompt": "x", "mask": mask}).json()["errors"][0]["message"]
    warned = api.post("/v1/jobs", json=body | {"mask": white}).json()["warnings"]
    assert ["the whole image" in warned[0], "another shape" in warned[1], len(warned)] == [True, True, 2]
    batch = {"prompts": ["a", "b"], "base": {"init_image": image, "mask": mask}, "seeds": [1, 2]}
    assert api.post("/v1/batches", json=batch).status_code == 202
    assert api.delete(f"/v1/uploads/{mask}").status_code == 204
    gone = api.post("/v1/jobs", json=body | {"mask": mask}).json()
    assert (gone["code"], gone["errors"][0]["field"]) == ("upload_not_found", "mask")
    models = {model["id"]: model["inpainting"] for model in api.get("/v1/models").json()["data"]}
    assert (models["demo"], models["sd-turbo"], models["flux2-klein-4b"]) == (True, True, False)


def test_a_deleted_upload_and_one_without_a_file_are_gone(api: httpx.Client, worker: WorkerSide) -> None:
    uploads = LocalImageStore(worker.settings.uploads_dir)
    first, second = (
        api.post("/v1/uploads", content=image_file("PNG"), headers={"Content-Type": "image/png"}).headers["location"]
        for _ in range(2)
    )
    assert api.delete(first).status_code == 204
    for key in list(uploads.iter_keys()):
        uploads.delete(key)
    for url in (first, second):
        assert (api.get(url).status_code, api.get(url).json()["code"]) == (410, "upload_gone")
        refused = api.post("/v1/jobs", json={"prompt": "x", "init_image": url.rpartition("/")[2]})
        assert (refused.status_code, refused.json()["code"]) == (422, "upload_not_found")


def test_uploads_over_the_owners_quota_are_refused(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    settings = make_settings(max_upload_bytes_per_owner=400)
    with serving(settings) as url, httpx.Client(base_url=url) as api:

        def send(label: str) -> httpx.Response:
            headers = {"Content-Type": "image/png", "X-Client-Label": label}
            return api.post("/v1/uploads", content=image_file("PNG"), headers=headers)

        sent = [send("a") for _ in range(5)]
        accepted = [each for each in sent if each.status_code == 201]
        assert 0 < len(accepted) < 5
        assert (sent[-1].status_code, sent[-1].json()["code"]) == (413, "upload_quota_exceeded")
        assert "DELETE /v1/uploads/{upload_id}" in sent[-1].json()["detail"]
        assert len(list(LocalImageStore(settings.uploads_dir).iter_keys())) == len(accepted)
        body = {"prompt": "x", "init_images": [base64.b64encode(image_file("PNG")).decode()]}
        refused = api.post("/sdapi/v1/img2img", json=body, headers={"X-Client-Label": "a"})
        assert (refused.status_code, refused.json()["code"]) == (413, "upload_quota_exceeded")
        assert send("b").status_code == 201
        assert api.delete(accepted[0].headers["location"], headers={"X-Client-Label": "a"}).status_code == 204
        assert send("a").status_code == 201


def bomb() -> bytes:
    """Return a PNG of few bytes whose header declares 65,000 x 65,000 pixels."""
    header = struct.pack(">IIBBBBB", 65_000, 65_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "kind", "status", "code"),
    [
        (bomb(), "image/png", 422, "image_too_large"),
        (b"GIF89a not an image", "image/png", 422, "image_format"),
        (image_file("PNG")[:60], "image/png", 422, "image_unreadable"),
        (b"", "image/png", 422, "image_format"),
        (image_file("PNG"), "text/plain", 415, "unsupported_media_type"),
    ],
    ids=["bomb", "another format", "cut off", "empty", "wrong type"],
)
def test_bad_uploads_are_refused(api: httpx.Client, data: bytes, kind: str, status: int, code: str) -> None:
    answer = api.post("/v1/uploads", content=data, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_upload_beyond_the_configured_limit_is_refused(make_settings: SettingsMaker, worker: WorkerSide) -> None:
    with serving(make_settings(max_upload_pixels=1000)) as url:
        answer = httpx.post(f"{url}/v1/uploads", content=image_file("PNG"), headers={"Content-Type": "image/png"})
        assert answer.json()["code"] == "image_too_large"
