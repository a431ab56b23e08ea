"""An unchanged A1111 client library against the API."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any

import httpx
import pytest
import webuiapi
from PIL import Image as Pillow
from PIL import ImageStat
from PIL.PngImagePlugin import PngInfo

from api.a1111 import options, pictures, progress, response
from api.openai import routes as openai_routes
from db.jobs.finish import finish_canceled
from db.tables import Job
from tests.integration.api.running import WorkerSide


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


@pytest.fixture
def client(api: httpx.Client) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{api.base_url}/sdapi/v1")


def test_txt2img(client: webuiapi.WebUIApi, worker: WorkerSide) -> None:
    with worker.working():
        result = client.txt2img(
            prompt="a red fox", seed=5, steps=4, cfg_scale=1, width=64, height=96, batch_size=2, sampler_name="DDIM",
            alwayson_scripts={"Nothing": {"args": [{"enabled": True}]}},
        )  # fmt: skip
    assert [image.size for image in result.images] == [(64, 96), (64, 96)]
    assert result.info["all_seeds"] == [5, 6]
    assert result.info["sd_model_name"] == "demo"
    assert "Steps: 4" in result.info["infotexts"][0]
    assert any("DDIM" in warning for warning in result.info["warnings"])
    assert any("no script 'Nothing'" in warning for warning in result.info["warnings"])
    assert result.parameters["prompt"] == "a red fox"


def test_img2img(client: webuiapi.WebUIApi, worker: WorkerSide) -> None:
    start = Pillow.new("RGB", (64, 64), "red")
    with worker.working():
        result = client.img2img(images=[start], prompt="x", steps=4, width=64, height=64, denoising_strength=0.5)
    assert result.image.size == (64, 64)
    assert result.info["denoising_strength"] == 0.5


@pytest.mark.parametrize("form", ["{}", "DATA:image/png;name=a.png;BASE64,{}"])
def test_base64_in_lines_and_data_urls_of_any_form_are_taken(api: httpx.Client, worker: WorkerSide, form: str) -> None:
    info, file = PngInfo(), io.BytesIO()
    info.add_text("parameters", "a dog")
    info.add_text("workflow", "x" * 2_000_000)
    Pillow.new("RGB", (64, 64), "red").save(file, "PNG", pnginfo=info)
    image = form.format(base64.encodebytes(file.getvalue()).decode().rstrip("=\n"))
    assert api.post("/sdapi/v1/png-info", json={"image": image}).json()["info"] == "a dog"
    with worker.working():
        body = {"prompt": "x", "width": 64, "height": 64, "init_images": [image]}
        assert api.post("/sdapi/v1/img2img", json=body).status_code == 200


def test_models_and_options_are_listed_and_missing_features_are_empty(client: webuiapi.WebUIApi) -> None:
    assert [model["model_name"] for model in client.get_sd_models()] == ["demo"]
    assert client.get_samplers()[0]["name"] == "Euler"
    assert client.get_schedulers()[0]["name"] == "automatic"
    assert client.get_upscalers()[0]["name"] == "None"
    assert [style["name"] for style in client.get_prompt_styles()] == ["standard-negative"]
    assert client.get_loras() == []  # None is on this machine.
    assert client.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert client.get_options()["sd_model_checkpoint"] == "demo"
    assert client.util_get_current_model() == "demo"
    client.util_set_model("demo")
    client.refresh_checkpoints()


def test_png_info_reads_images_of_this_farm(client: webuiapi.WebUIApi, api: httpx.Client, worker: WorkerSide) -> None:
    with worker.working():
        result = client.txt2img(prompt="a red fox", steps=4, cfg_scale=1, width=64, height=64)
    info = client.png_info(result.image)
    assert "a red fox" in info.info


class Asking:
    """Calls of txt2img in threads of their own, and their responses."""

    def __init__(self, api: httpx.Client, label: str = "studio") -> None:
        self.headers = {"X-Client-Label": label}
        self._api = api
        self._threads = ThreadPoolExecutor(8)

    def txt2img(self, **fields: object) -> Future[httpx.Response]:
        body = {"prompt": "mine", "width": 64, "height": 96, "seed": 5} | fields
        return self._threads.submit(self._api.post, "/sdapi/v1/txt2img", json=body, headers=self.headers)

    def interrupt(self) -> None:
        self._api.post("/sdapi/v1/interrupt", headers=self.headers).raise_for_status()

    def progress(self) -> dict[str, Any]:
        found: dict[str, Any] = self._api.get("/sdapi/v1/progress", headers=self.headers).json()
        return found

    def close(self) -> None:
        self._threads.shutdown()


@pytest.fixture
def asking(api: httpx.Client) -> Iterator[Asking]:
    calls = Asking(api)
    yield calls
    calls.close()


def claimed_next(worker: WorkerSide) -> Job:
    while (job := worker.claim()) is None:
        pass
    return job


def end_canceled(worker: WorkerSide, job: Job) -> None:
    canceled = finish_canceled(worker.database, job.id, job.attempt)
    assert canceled is not None
    worker.publish(canceled)


def preview_file(color: str) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 12), color).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_interrupt_ends_the_running_generation_with_its_last_previews(
    api: httpx.Client, worker: WorkerSide, asking: Asking
) -> None:
    call = asking.txt2img(batch_size=2)
    mine = claimed_next(worker)
    worker.progress(mine, step=2, steps=8, eta_seconds=3)
    for index, color in enumerate(("red", "blue")):
        worker.redis.set(worker.keys.preview(mine.id, index), preview_file(color))
    seen = asking.progress()
    assert (seen["state"]["job"], seen["progress"], seen["state"]["interrupted"]) == (mine.id, 0.25, False)
    asking.interrupt()
    assert asking.progress()["state"]["interrupted"] is True
    assert api.get(f"/v1/jobs/{mine.id}").json()["cancel_requested"] is True
    end_canceled(worker, mine)
    response = call.result(120)
    assert response.status_code == 200, response.text
    images = [Pillow.open(io.BytesIO(base64.b64decode(text))) for text in response.json()["images"]]
    assert [(image.format, image.size) for image in images] == [("PNG", (64, 96))] * 2
    red, blue = (ImageStat.Stat(image.convert("RGB")).mean for image in images)
    assert red[0] - red[2] > 150 < blue[2] - blue[0]
    info = json.loads(response.json()["info"])
    assert info["interrupted"] is True
    assert (info["all_seeds"], info["job_id"]) == ([5, 6], mine.id)
    assert [f"Seed: {seed}" in text for seed, text in zip((5, 6), info["infotexts"], strict=True)] == [True, True]
    assert any("Interrupted" in warning for warning in info["warnings"])


def test_interrupt_before_the_first_preview_gives_no_image(worker: WorkerSide, asking: Asking) -> None:
    call = asking.txt2img()
    mine = claimed_next(worker)
    asking.interrupt()
    end_canceled(worker, mine)
    response = call.result(120)
    assert (response.status_code, response.json()["images"]) == (200, [])
    assert json.loads(response.json()["info"])["interrupted"] is True


def test_interrupt_touches_no_other_job(api: httpx.Client, worker: WorkerSide, asking: Asking) -> None:
    """Neither native jobs of the same caller, nor waiting jobs, nor jobs of another caller's A1111 client."""
    body = {"prompt": "x", "width": 64, "height": 64}
    native = api.post("/v1/jobs", json=body, headers=asking.headers).json()["id"]
    assert claimed_next(worker).id == native
    other = Asking(api, "other")
    others_call = other.txt2img()
    theirs = claimed_next(worker)
    assert asking.progress()["state"]["job_count"] == 0
    asking.interrupt()
    call = asking.txt2img()
    mine = claimed_next(worker)
    waiting = asking.txt2img(prompt="later")
    while asking.progress()["state"]["job_count"] < 2:
        pass
    asking.interrupt()
    jobs = api.get("/v1/jobs").json()["items"]
    assert {job["id"] for job in jobs if job["cancel_requested"]} == {mine.id}
    assert sorted(job["status"] for job in jobs) == ["queued", "running", "running", "running"]
    end_canceled(worker, mine)
    assert json.loads(call.result(120).json()["info"])["interrupted"] is True
    worker.finish(theirs)
    later = claimed_next(worker)
    assert later.prompt == "later"
    worker.finish(later)
    for finished in (others_call, waiting):
        response = finished.result(120)
        assert (response.status_code, len(response.json()["images"])) == (200, 1)
        assert json.loads(response.json()["info"])["interrupted"] is False
    other.close()


def test_a_task_id_names_one_job(api: httpx.Client, worker: WorkerSide) -> None:
    body = {"prompt": "x", "width": 64, "height": 64, "force_task_id": "task(1)"}
    with worker.working():
        first = api.post("/sdapi/v1/txt2img", json=body)
    assert first.status_code == 200
    seen = api.post("/internal/progress", json={"id_task": "task(1)"}).json()
    assert (seen["completed"], seen["active"], seen["queued"]) == (True, False, False)
    assert api.post("/sdapi/v1/txt2img", json=body).json()["images"] == first.json()["images"]
    unknown = api.post("/internal/progress", json={"id_task": "task(2)"}).json()
    assert (unknown["completed"], unknown["active"], unknown["queued"]) == (False, False, False)


def square(box: tuple[int, int, int, int]) -> str:
    """Return a picture with a white box on black, as base64."""
    buffer, image = io.BytesIO(), Pillow.new("L", (64, 64))
    image.paste(255, box)
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize(("invert", "share"), [(0, 0.25), (1, 0.75)])
def test_a_mask_becomes_the_jobs_mask(api: httpx.Client, worker: WorkerSide, invert: int, share: float) -> None:
    picture, mask = square((0, 0, 64, 64)), square((0, 0, 32, 32))
    body = {"prompt": "x", "init_images": [picture], "mask": mask, "mask_blur": 4}
    with worker.working():
        answer = api.post("/sdapi/v1/img2img", json=body | {"inpainting_mask_invert": invert})
    assert answer.status_code == 200, answer.text
    assert "mask" not in answer.json()["parameters"]
    (job,) = api.get("/v1/jobs").json()["items"]
    assert job["input"]["mask_feather"] == 4
    with worker.database.read() as session:
        assert session.get_one(Job, job["id"]).input["mask"]["white_share"] == share


@pytest.mark.parametrize("change", [{"mask": "%%"}, {"mask": "aGk="}, {"mask": "aGk=", "inpainting_mask_invert": 1}])
def test_a_bad_mask_is_named(api: httpx.Client, change: dict[str, object]) -> None:
    refused = api.post("/sdapi/v1/img2img", json={"prompt": "x", "init_images": [square((0, 0, 9, 9))]} | change)
    assert (refused.status_code, refused.json()["detail"][:24]) == (422, "The mask cannot be used:")


def test_errors_have_the_shape_of_a1111(api: httpx.Client) -> None:
    wrong = api.post("/sdapi/v1/txt2img", json={"prompt": "x", "width": 6500})
    assert wrong.status_code == 422
    assert "64 to 2048 pixels" in wrong.json()["detail"]
    assert set(wrong.json()) == {"error", "detail", "body", "errors", "code"}
    assert api.post("/sdapi/v1/img2img", json={"prompt": "x"}).json()["detail"].startswith("Send an image")
    assert api.post("/sdapi/v1/img2img", json={"prompt": "x", "init_images": ["%%"]}).status_code == 422
    assert api.get("/sdapi/v1/nothing").json()["code"] == "not_found"


def test_interrupt_ends_more_running_jobs_than_one_page_of_the_list(
    api: httpx.Client, worker: WorkerSide, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_PAGE", 2)
    calls = [asking.txt2img() for _ in range(5)]
    running = [claimed_next(worker) for _ in calls]
    asking.interrupt()
    assert all(job["cancel_requested"] for job in api.get("/v1/jobs").json()["items"])
    for job in running:
        end_canceled(worker, job)
    assert [call.result(120).status_code for call in calls] == [200] * 5


def test_images_are_decoded_and_encoded_off_the_event_loop(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: dict[str, str] = {}

    def spy(module: ModuleType, name: str) -> None:
        call = getattr(module, name)

        def spied(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 -- passes everything through
            threads[f"{module.__name__}.{name}"] = threading.current_thread().name
            return call(*args, **kwargs)

        monkeypatch.setattr(module, name, spied)

    for name in ("read_metadata", "json_response"):
        spy(response, name)
    spy(options, "read_metadata")
    spy(options, "decode_base64_image")
    spy(pictures, "decode_base64_image")
    spy(openai_routes, "_json")
    body = {"prompt": "x", "width": 64, "height": 64}
    with worker.working():
        made = api.post("/sdapi/v1/txt2img", json=body).json()["images"][0]
        api.post("/sdapi/v1/png-info", json={"image": made}).raise_for_status()
        api.post("/sdapi/v1/img2img", json=body | {"init_images": [made]}).raise_for_status()
        generate = {"prompt": "x", "size": "64x64", "response_format": "b64_json"}
        api.post("/v1/images/generations", json=generate).raise_for_status()
    assert len(threads) == 6
    assert all(name.startswith("api") for name in threads.values()), threads


def test_a_batch_of_large_results_is_refused_before_any_job(api: httpx.Client, worker: WorkerSide) -> None:
    file = io.BytesIO()
    Pillow.new("RGB", (32, 32)).save(file, "PNG")
    image = {"data": base64.b64encode(file.getvalue()).decode()}
    body = {
        "imageList": [image, image],
        "resize_mode": 1,
        "upscaling_resize_w": 16384,
        "upscaling_resize_h": 16384,
        "upscaler_1": "Lanczos",
    }
    answer = api.post("/sdapi/v1/extra-batch-images", json=body)
    assert (answer.status_code, "send several requests" in answer.json()["detail"]) == (422, True), answer.text
    assert worker.claim() is None
