"""POST /v1/upscales and GET /v1/upscalers: what is accepted, refused and shown."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import httpx
import pytest
from PIL import Image

from core.catalogue.upscalers import list_upscalers
from core.queue import UPSCALE
from core.settings import Settings
from db.api_keys import NewKey, create_key
from db.workers import heartbeat
from tests.integration.api.conftest import SettingsMaker
from tests.integration.api.running import WorkerSide, serving

NAMES = ["realesrgan-x4plus", "realesrgan-x4plus-anime", "realesr-animevideov3", "lanczos"]


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def upscaler(settings: Settings) -> Iterator[WorkerSide]:
    side = WorkerSide(settings, UPSCALE, "box-upscale")
    ready(side)
    yield side
    side.close()


def ready(side: WorkerSide, **more: dict[str, Any]) -> None:
    """Report the packaged upscalers, and `more`."""
    own = {
        row.id: row.model_dump(mode="json", include={"title", "about", "licence", "origin", "scales"})
        for row in list_upscalers([])
    }
    assert heartbeat(side.database, side.name, "run-1", state="ready", info={"upscalers": own | more}) is not None


def upload(api: httpx.Client, width: int = 20, height: int = 10, mode: str = "RGB") -> str:
    buffer = BytesIO()
    Image.new(mode, (width, height)).save(buffer, "PNG")
    answer = api.post("/v1/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"})
    return str(answer.json()["id"])


def rendered_image(api: httpx.Client, worker: WorkerSide) -> str:
    job = api.post("/v1/jobs", json={"prompt": "a cat", "seed": 5, "width": 64, "height": 64, "strict": True}).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    return str(api.get(f"/v1/jobs/{job['id']}").json()["outputs"][0]["id"])


def test_a_job_names_its_parent_and_the_size_of_the_result(
    api: httpx.Client, worker: WorkerSide, upscaler: WorkerSide
) -> None:
    image = rendered_image(api, worker)
    answer = api.post("/v1/upscales", json={"image": image, "scale": 3, "priority": 8})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert answer.headers["location"] == job["urls"]["self"]
    assert (job["kind"], job["model"], job["priority"]) == ("upscale", "upscale", 8)
    expected = {"upscaler": "realesrgan-x4plus", "scale": 3, "width": 192, "height": 192, "prompt": "a cat", "seed": 5}
    assert {name: job["input"].get(name) for name in expected} == expected
    assert "source" not in job["input"]
    assert job["parent"] == {"image": image, "upload": None, "mode": None}
    assert job["notice"], "the parent is noise of the demo model"
    claimed = upscaler.claim()
    assert claimed is not None and claimed.id == job["id"] and claimed.kind == "upscale"
    assert worker.claim() is None
    kinds = {kind: [row["id"] for row in api.get(f"/v1/jobs?kind={kind}").json()["items"]] for kind in ("render", "upscale")}
    assert kinds["upscale"] == [job["id"]] and job["id"] not in kinds["render"]


def enlarged_image(api: httpx.Client, upscaler: WorkerSide, **source: str) -> str:
    job = api.post("/v1/upscales", json={**source, "scale": 2}).json()
    claimed = upscaler.claim()
    assert claimed is not None
    upscaler.finish(claimed)
    return str(api.get(f"/v1/jobs/{job['id']}").json()["outputs"][0]["id"])


def test_lineage_includes_enlarged_images(api: httpx.Client, worker: WorkerSide, upscaler: WorkerSide) -> None:
    rendered = rendered_image(api, worker)
    large = enlarged_image(api, upscaler, image=rendered)
    larger = enlarged_image(api, upscaler, image=large)
    answer = api.get(f"/v1/images/{large}/lineage").json()
    assert (answer["image"]["parent"], answer["image"]["model"]) == (rendered, "upscale")
    assert [row["id"] for row in answer["ancestors"]] == [rendered]
    assert [row["id"] for row in answer["descendants"]] == [larger]
    refined = api.post(f"/v1/images/{larger}/refine", json={"width": 128})
    assert refined.status_code == 202, refined.text
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    rows = api.get(f"/v1/images/{rendered}/lineage").json()["descendants"]
    assert [(row["id"], row["depth"]) for row in rows[:2]] == [(large, 1), (larger, 2)]
    assert (rows[2]["parent"], rows[2]["mode"]) == (larger, "hires")


def test_enlarged_images_are_not_rendered_again(api: httpx.Client, worker: WorkerSide, upscaler: WorkerSide) -> None:
    for source in ({"image": rendered_image(api, worker)}, {"upload": upload(api)}):
        answer = api.post(f"/v1/images/{enlarged_image(api, upscaler, **source)}/rerun")
        assert (answer.status_code, answer.json()["code"]) == (409, "not_rerunnable")


def test_exports_include_enlarged_images(api: httpx.Client, worker: WorkerSide, upscaler: WorkerSide) -> None:
    sources = ({"image": rendered_image(api, worker)}, {"upload": upload(api)})
    images = [enlarged_image(api, upscaler, **source) for source in sources]
    answer = api.get("/v1/exports", params={"image": images})
    assert answer.status_code == 200, answer.text
    with ZipFile(BytesIO(answer.content)) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 2


def test_a_sheet_of_an_enlarged_batch_has_captions(api: httpx.Client, worker: WorkerSide, upscaler: WorkerSide) -> None:
    images = [rendered_image(api, worker) for _ in range(2)]
    batch = api.post("/v1/upscales", json={"images": images, "scale": 2}).json()
    for _ in images:
        claimed = upscaler.claim()
        assert claimed is not None
        upscaler.finish(claimed)
    sheet = api.get(f"/v1/batches/{batch['id']}/contact-sheet")
    assert sheet.status_code == 200, sheet.text


def test_a_repeated_key_returns_the_same_job(api: httpx.Client, upscaler: WorkerSide) -> None:
    body, headers = {"upload": upload(api), "scale": 2}, {"Idempotency-Key": "k"}
    answers = [api.post("/v1/upscales", json=body, headers=headers) for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert answers[1].headers["idempotent-replayed"] == "true"
    batch = {"uploads": [body["upload"]]}
    ids = {api.post("/v1/upscales", json=batch, headers={"Idempotency-Key": "b"}).json()["id"] for _ in range(2)}
    assert len(ids) == 1


WRONG: list[tuple[dict[str, Any], str | None, str]] = [
    ({"upscaler": "x"}, "unknown_upscaler", "There is no upscaler called 'x'. Known upscalers: realesrgan-x4plus"),
    ({"scale": 5}, "invalid_parameters", "5 is not a factor of realesrgan-x4plus: send one of 2, 3, 4"),
    ({"scale": -1}, "invalid_parameters", "-1 is not a factor"),
    ({"image": "0199c0de-0000-7000-8000-000000000001"}, None, "names image and upload: send image or upload"),
    ({"upload": None}, None, "names no image: send image"),
    ({"upload": None, "images": []}, None, "names no image: send image"),
    ({"upload": "0199c0de-0000-7000-8000-000000000001"}, "upload_not_found", "There is no upload with this id"),
    ({"upload": "../../etc/passwd"}, "upload_not_found", "There is no upload with this id"),
    ({"upload": None, "image": "nope"}, "image_not_found", "There is no image with this id"),
    ({"upload": None, "images": ["nope"]}, "image_not_found", "Image 0 (nope): There is no image"),
    ({"width": 5}, None, "width"),
]


def test_wrong_requests_are_refused_with_a_sentence(api: httpx.Client, upscaler: WorkerSide) -> None:
    source = upload(api)
    for fields, code, words in WRONG:
        answer = api.post("/v1/upscales", json={"upload": source, **fields})
        assert answer.status_code == 422, answer.text
        assert words in answer.text
        assert code is None or answer.json()["code"] == code
    assert upscaler.claim() is None


def test_images_and_uploads_of_other_owners_are_not_found(
    api: httpx.Client, worker: WorkerSide, upscaler: WorkerSide
) -> None:
    image, source = rendered_image(api, worker), upload(api)
    key = create_key(worker.database, NewKey(name="ann", owner="ann"))[1]
    for body in ({"image": image}, {"upload": source}, {"images": [image]}):
        answer = api.post("/v1/upscales", json=body, headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] in ("image_not_found", "upload_not_found")
    assert upscaler.claim() is None


def test_results_above_the_limit_are_refused(make_settings: SettingsMaker) -> None:
    settings = make_settings(max_upscale_pixels=40 * 20)
    side = WorkerSide(settings, UPSCALE, "box-upscale")
    ready(side)
    with serving(settings) as url, httpx.Client(base_url=url, timeout=120) as api:
        source = upload(api)
        answer = api.post("/v1/upscales", json={"upload": source, "scale": 3})
        assert answer.status_code == 422
        assert "the result would be 60x30, 1800 pixels; this farm makes at most 800." in answer.text
        assert api.post("/v1/upscales", json={"upload": source, "scale": 2}).status_code == 202
        assert api.get("/v1/upscalers").json()["max_pixels"] == 800
    side.close()


def test_a_farm_without_upscaling_workers_says_how_to_start_one(make_settings: SettingsMaker) -> None:
    with serving(make_settings(upscale_workers=0)) as url, httpx.Client(base_url=url, timeout=120) as api:
        answer = api.post("/v1/upscales", json={"upload": upload(api)})
    assert (answer.status_code, answer.json()["code"]) == (409, "upscaler_not_served")
    assert "imagefarm worker --model upscale" in answer.json()["detail"]


def test_upscalers_are_listed_with_their_workers(
    api: httpx.Client, upscaler: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.overview.FRESH_SECONDS", 0.0)
    about = {"title": "Mine", "about": "A file.", "licence": "unknown", "origin": "file", "scales": [2, 3, 4]}
    ready(upscaler, mine=about)
    rows = api.get("/v1/upscalers").json()["items"]
    assert [row["id"] for row in rows] == [*NAMES, "mine"]
    assert [row["default"] for row in rows] == [True, *[False] * 4]
    assert all(row["workers"] == ["box-upscale"] and row["installed"] and row["licence"] for row in rows)


def test_upscaling_workers_are_no_models(api: httpx.Client, upscaler: WorkerSide) -> None:
    models = api.get("/v1/models").json()["data"]
    assert "upscale" not in {model["id"] for model in models}
    assert models[0]["id"] == "demo"
    refused = api.post("/v1/jobs", json={"prompt": "x", "model": "upscale"})
    assert refused.json()["code"] == "unknown_model"
    other = api.post("/v1/jobs", json={"prompt": "x", "model": "z-image-turbo"})
    assert "Served now: demo." in other.json()["detail"]


def test_uploads_keep_their_alpha_for_upscales(api: httpx.Client, upscaler: WorkerSide, settings: Settings) -> None:
    api.post("/v1/upscales", json={"upload": upload(api, mode="RGBA")})
    job = upscaler.claim()
    assert job is not None
    with Image.open(settings.uploads_dir / job.input["source"]["key"]) as stored:
        assert stored.mode == "RGBA"
