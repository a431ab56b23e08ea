"""A1111's face: the client library webuiapi, and requests as other clients send them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import webuiapi
from PIL import Image, ImageStat

from db.jobs.read import read_snapshot
from db.tables import Job
from tests.integration.api.running import WorkerSide
from tests.integration.clients.conftest import ClientFarm, encoded, opened, png


@pytest.fixture(scope="module")
def webui(farm: ClientFarm) -> webuiapi.WebUIApi:
    """Return the library as its users make it; the key is the password."""
    host, port = farm.url.removeprefix("http://").split(":")
    return webuiapi.WebUIApi(host=host, port=int(port), username="me", password=farm.key)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def info_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = json.loads(answer.json()["info"])
    return found


def stored(farm: ClientFarm, job_id: str) -> Job:
    return read_snapshot(farm.worker.database, job_id).job


def txt2img(farm: ClientFarm, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON value
    """Render, with `images` added to the info."""
    with farm.worker.working():
        answer = farm.http.post("/sdapi/v1/txt2img", json=fields)
    return info_of(answer) | {"images": [opened(text) for text in answer.json()["images"]]}


def test_any_size_is_rendered_at_the_next_one_and_cut(farm: ClientFarm) -> None:
    info = txt2img(farm, prompt="a fox", width=500, height=500)
    assert [image.size for image in info["images"]] == [(500, 500)]
    assert (info["width"], info["height"]) == (500, 500)
    assert "demo does not render 500x500: it was rendered at 512x512 and cut to 500x500." in info["warnings"]
    assert stored(farm, info["job_id"]).input["width"] == 512
    assert "Size: 512x512" in info["infotexts"][0]


def test_empty_prompts_large_seeds_and_many_steps_are_taken(farm: ClientFarm) -> None:
    info = txt2img(farm, prompt="", width=64, height=64, seed=2**63 - 1, steps=150, cfg_scale=40)
    job = stored(farm, info["job_id"])
    assert (job.input["prompt"], job.input["num_inference_steps"], job.input["guidance_scale"]) == ("", 100, 30)
    assert 0 <= info["seed"] < 2**32
    assert any(f"seed {2**63 - 1} is outside of" in text and str(info["seed"]) in text for text in info["warnings"])
    assert any("at most 100 steps" in text for text in info["warnings"])
    hires = txt2img(farm, prompt="", width=64, height=64, seed=2**63 - 1, enable_hr=True)
    assert hires["seed"] == info["seed"]
    image = farm.job(info["job_id"])["outputs"][0]["id"]
    again = farm.http.post(f"/v1/images/{image}/rerun")
    assert again.status_code == 202, again.text
    farm.worker.finish(farm.claimed())


def test_more_images_than_a_job_may_have_are_one_batch(farm: ClientFarm) -> None:
    fields = {"prompt": "a fox", "width": 64, "height": 64, "n_iter": 5, "batch_size": 2, "seed": 100}
    info = txt2img(farm, **fields, force_task_id="task(ten)")
    assert len(info["images"]) == 10
    assert info["all_seeds"] == list(range(100, 110))
    batch = farm.http.get("/v1/batches").json()["items"][0]
    assert (batch["total"], stored(farm, info["job_id"]).face) == (3, "a1111")
    assert txt2img(farm, **fields, force_task_id="task(ten)")["job_id"] == info["job_id"], "it was rendered twice"
    varied = txt2img(farm, **fields | {"n_iter": 3, "subseed": 7, "subseed_strength": 0.5})
    assert (varied["all_seeds"], varied["all_subseeds"]) == ([100] * 6, list(range(7, 13)))


def test_enable_hr_enlarges_by_a_refinement(farm: ClientFarm) -> None:
    hires = {"enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent", "hr_second_pass_steps": 6}
    info = txt2img(farm, prompt="a fox", width=64, height=96, n_iter=2, seed=3, steps=8, denoising_strength=0.5, **hires)
    assert [image.size for image in info["images"]] == [(96, 144)] * 2
    assert info["all_seeds"] == [3, 4]
    job = farm.job(info["job_id"])
    assert (job["input"]["refine_mode"], job["input"]["strength"], job["input"]["upscaler"]) == ("hires", 0.5, "lanczos")
    assert job["input"]["num_inference_steps"] == 6
    assert job["parent"]["mode"] == "hires"
    assert "upscaler 'Latent' is Lanczos here, on pixels." in info["warnings"]
    assert info["extra_generation_params"]["Hires resize"] == "96x144"
    sized = txt2img(
        farm, prompt="a fox", width=64, height=64, enable_hr=True, hr_resize_x=100, hr_resize_y=80,
        hr_upscaler="R-ESRGAN 4x+", denoising_strength=0,
    )  # fmt: skip
    assert [image.size for image in sized["images"]] == [(100, 80)]
    job = farm.job(sized["job_id"])
    assert (job["input"]["upscaler"], job["input"]["width"], job["input"]["height"]) == ("realesrgan-x4plus", 112, 112)
    assert any("one step" in text for text in sized["warnings"])


def test_what_enable_hr_cannot_do_is_refused_before_anything_is_rendered(farm: ClientFarm) -> None:
    before = farm.newest()["id"]
    for fields in ({"hr_scale": 16}, {"hr_upscaler": "SwinIR_4x"}):
        body = {"prompt": "x", "width": 512, "height": 512, "enable_hr": True, **fields}
        refused = farm.http.post("/sdapi/v1/txt2img", json=body)
        assert refused.status_code == 422, refused.text
    assert farm.newest()["id"] == before


def masked(farm: ClientFarm, **fields: Any) -> dict[str, Any]:  # noqa: ANN401 -- any JSON value
    """Repaint the upper left quarter of a picture that is red in its left half and blue in its right half."""
    picture, mask = Image.new("RGB", (128, 128), "red"), Image.new("L", (128, 128))
    picture.paste("blue", (64, 0, 128, 128))
    mask.paste(255, (0, 0, 64, 64))
    files = []
    for image in (picture, mask):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files.append(encoded(buffer.getvalue()))
    body = {"prompt": "x", "init_images": files[:1], "mask": files[1], **fields}
    with farm.worker.working():
        answer = farm.http.post("/sdapi/v1/img2img", json=body)
    return info_of(answer) | {"images": [opened(text) for text in answer.json()["images"]]}


def start_image(farm: ClientFarm, job_id: str) -> Image.Image:
    path = farm.settings.uploads_dir / stored(farm, job_id).input["init_image"]["key"]
    return Image.open(path).convert("RGB")


@pytest.mark.parametrize(("fill", "color"), [(0, "neighbours"), (1, "red"), (2, "noise"), (3, "grey")])
def test_inpainting_fill_sets_what_masked_areas_start_from(farm: ClientFarm, fill: int, color: str) -> None:
    info = masked(farm, inpainting_fill=fill, mask_blur=4, denoising_strength=0.8)
    job = stored(farm, info["job_id"])
    assert (job.input["mask_feather"], job.input["strength"]) == (4, 0.8)
    area = start_image(farm, info["job_id"]).crop((8, 8, 48, 48))
    mean, spread = ImageStat.Stat(area).mean, ImageStat.Stat(area).stddev
    if color == "red":
        assert mean == [255, 0, 0]
    elif color == "neighbours":
        assert mean[0] > 60 < mean[2]
    else:
        assert (abs(mean[1] - 127) < 10) and ((spread[1] > 40) == (color == "noise"))
    assert any("fill pixels" in text for text in info["warnings"]) == (fill > 1)


def test_inpaint_full_res_renders_the_area_and_pastes_it_back(farm: ClientFarm) -> None:
    info = masked(farm, inpaint_full_res=True, inpaint_full_res_padding=8, width=256, height=256)
    (image,) = info["images"]
    rendered = (0, 90, 160)  # The color of the simulated worker's images.
    assert image.size == (128, 128)
    assert [image.convert("RGB").getpixel(at) for at in ((10, 10), (10, 100), (100, 10))] == [
        rendered,
        (255, 0, 0),
        (0, 0, 255),
    ]
    job = stored(farm, info["job_id"])
    assert (job.input["width"], job.input["height"], job.input["init_image"]["width"]) == (256, 256, 72)


def test_denoising_0_runs_one_step_and_resize_mode_keeps_the_shape(farm: ClientFarm) -> None:
    body = {"prompt": "x", "init_images": [encoded(png(64, 128))], "denoising_strength": 0, "steps": 8}
    with farm.worker.working():
        info = info_of(farm.http.post("/sdapi/v1/img2img", json=body | {"width": 64, "height": 64, "resize_mode": 1}))
    job = stored(farm, info["job_id"])
    assert 1 <= job.input["strength"] * 8 < 1.1
    assert (job.input["init_image"]["width"], job.input["init_image"]["height"]) == (64, 64)
    assert any("one step" in text for text in info["warnings"])


def test_what_has_no_effect_is_named(farm: ClientFarm) -> None:
    info = txt2img(
        farm, prompt="(a fox:1.3) in snow BREAK night", width=64, height=64, clip_skip=2, refiner_checkpoint="xl",
        restore_faces=True, sampler_name="DPM++ 2M", scheduler="Karras", tiling=False,
        override_settings={"CLIP_stop_at_last_layers": 2, "sd_vae": "Automatic"},
    )  # fmt: skip
    named = ("(a:1.3)", "BREAK", "clip_skip", "refiner", "restore_faces", "DPM++ 2M", "Karras", "CLIP_stop")
    assert [any(word in text for text in info["warnings"]) for word in named] == [True] * len(named)
    assert not any("tiling" in text or "sd_vae" in text for text in info["warnings"])


def test_what_the_farm_does_not_have_is_left_out_and_named(farm: ClientFarm) -> None:
    info = txt2img(farm, prompt="a fox <lora:ink:0.8>", styles=["no", "standard-negative"], eta=0.5, width=64, height=64)
    assert (info["prompt"], info["styles"]) == ("a fox", ["standard-negative"])
    for text in ("There is no LoRA 'ink' here.", "There is no style 'no' here", "eta has no effect"):
        assert any(warning.startswith(text) for warning in info["warnings"]), info["warnings"]


INFO_TYPES: dict[str, type | tuple[type, ...]] = {
    "prompt": str, "all_prompts": list, "negative_prompt": str, "all_negative_prompts": list, "seed": int,
    "all_seeds": list, "subseed": int, "all_subseeds": list, "subseed_strength": (int, float), "width": int,
    "height": int, "sampler_name": str, "cfg_scale": (int, float), "steps": int, "batch_size": int,
    "restore_faces": bool, "face_restoration_model": type(None), "sd_model_name": str, "sd_model_hash": str,
    "sd_vae_name": type(None), "sd_vae_hash": type(None), "seed_resize_from_w": int, "seed_resize_from_h": int,
    "denoising_strength": (float, type(None)), "extra_generation_params": dict, "index_of_first_image": int,
    "infotexts": list, "styles": list, "job_timestamp": str, "clip_skip": int,
    "is_using_inpainting_conditioning": bool, "version": str,
}  # fmt: skip
"""Fields of A1111's `Processed.js` (modules/processing.py)."""


def test_info_and_state_have_the_fields_and_types_of_the_original(farm: ClientFarm) -> None:
    info = txt2img(farm, prompt="a fox", width=64, height=64)
    assert {name: isinstance(info[name], kind) for name, kind in INFO_TYPES.items()} == dict.fromkeys(INFO_TYPES, True)
    state = farm.http.get("/sdapi/v1/progress").json()["state"]
    expected = {"skipped": bool, "interrupted": bool, "stopping_generation": bool, "job": str, "job_count": int}
    expected |= {"job_timestamp": str, "job_no": int, "sampling_step": int, "sampling_steps": int}
    assert {name: type(state[name]) for name in expected} == expected


def test_live_previews_are_sent_once_each_and_an_interrupt_answers_the_last(
    farm: ClientFarm, webui: webuiapi.WebUIApi, pool: ThreadPoolExecutor
) -> None:
    call: Future[Any] = pool.submit(
        webui.custom_post,
        "sdapi/v1/txt2img",
        {"prompt": "a fox", "width": 64, "height": 64, "force_task_id": "task(live)", "batch_size": 2, "n_iter": 3},
    )
    first, second = farm.claimed(), farm.claimed()
    farm.preview(first, "green", step=2, steps=8)
    asked = {"id_task": "task(live)", "id_live_preview": -1}
    seen = farm.http.post("/internal/progress", json=asked).json()
    assert seen["active"] and seen["live_preview"].startswith("data:image/jpeg;base64,")
    again = farm.http.post("/internal/progress", json=asked | {"id_live_preview": seen["id_live_preview"]}).json()
    assert (again["live_preview"], again["id_live_preview"]) == (None, seen["id_live_preview"])
    assert farm.http.get("/sdapi/v1/progress").json()["state"]["job_count"] == 2
    webui.interrupt()
    for job in (first, second):
        farm.end_canceled(job)
    result = call.result(120)
    assert result.info["interrupted"] is True
    assert [image.size for image in result.images] == [(64, 64)]


def test_an_interrupted_second_pass_answers_the_image_of_the_first(farm: ClientFarm, pool: ThreadPoolExecutor) -> None:
    body = {"prompt": "a fox", "width": 64, "height": 64, "enable_hr": True, "force_task_id": "task(hr)"}
    call = pool.submit(farm.http.post, "/sdapi/v1/txt2img", json=body)
    farm.worker.finish(farm.claimed())
    second = farm.claimed()
    assert farm.http.post("/internal/progress", json={"id_task": "task(hr)"}).json()["active"] is True
    farm.http.post("/sdapi/v1/interrupt").raise_for_status()
    farm.end_canceled(second)
    answer = call.result(120)
    assert info_of(answer)["interrupted"] is True
    assert [opened(text).size for text in answer.json()["images"]] == [(128, 128)]


def working(side: WorkerSide, count: int) -> None:
    """Finish the next jobs of a worker."""
    for _ in range(count):
        while (job := side.claim()) is None:
            pass
        side.finish(job)


def test_extras_enlarge_one_image_or_many(farm: ClientFarm, webui: webuiapi.WebUIApi, pool: ThreadPoolExecutor) -> None:
    names = {row["name"]: row for row in webui.get_upscalers()}
    assert set(names) >= {"None", "Lanczos", "R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B"}
    image = Image.new("RGB", (20, 10), "red")
    done = pool.submit(working, farm.upscaler, 1)
    result = webui.extra_single_image(image, upscaler_1="R-ESRGAN 4x+", upscaling_resize=2.5, gfpgan_visibility=1)
    done.result(120)
    assert result.image.size == (50, 25)
    assert "faces are not restored" in result.info
    assert (farm.newest()["input"]["upscaler"], farm.newest()["input"]["scale"]) == ("realesrgan-x4plus", 3)
    done = pool.submit(working, farm.upscaler, 2)
    batch = webui.extra_batch_images(
        [image, image], resize_mode=1, upscaling_resize_w=40, upscaling_resize_h=40, upscaler_1="Lanczos"
    )
    done.result(120)
    assert [each.size for each in batch.images] == [(40, 40)] * 2
    kept = webui.extra_single_image(image, upscaler_1="None", upscaling_resize=2)
    assert kept.image.size == (20, 10) and "nothing was enlarged" in kept.info
    unknown = farm.http.post("/sdapi/v1/extra-single-image", json={"image": encoded(png()), "upscaler_1": "LDSR"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_upscaler")


def test_lists_and_calls_about_the_process(farm: ClientFarm, webui: webuiapi.WebUIApi) -> None:
    assert farm.http.get("/internal/ping").json() == {}
    assert webui.get_memory()["ram"]["total"] > 0
    for name in ("checkpoints", "loras", "vae", "embeddings"):
        assert farm.http.post(f"/sdapi/v1/refresh-{name}").json() is None
    assert webui.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert webui.get_scripts() == {"txt2img": [], "img2img": []}
    assert webui.get_cmd_flags() == {}
    assert [style["name"] for style in webui.get_prompt_styles()] == ["standard-negative"]
    for call in ("unload-checkpoint", "reload-checkpoint"):
        assert farm.http.post(f"/sdapi/v1/{call}").json() == {}
    asked = farm.http.get("/v1/workers/box-cpu").json()
    assert asked["name"] == "box-cpu"


def test_open_webui_sends_the_options_back_whole(farm: ClientFarm) -> None:
    """As in its `set_image_model` and `image_generations`, with Basic authentication."""
    with httpx.Client(base_url=farm.url, auth=("user", farm.key), timeout=120) as client:
        options = client.get("/sdapi/v1/options").json()
        model = client.get("/sdapi/v1/sd-models").json()[0]
        options["sd_model_checkpoint"] = model["title"]
        client.post("/sdapi/v1/options", json=options).raise_for_status()
        body = {"prompt": "a fox", "batch_size": 1, "width": 500, "height": 500, "steps": 8, "negative_prompt": None}
        with farm.worker.working():
            answer = client.post("/sdapi/v1/txt2img", json=body)
    assert opened(answer.json()["images"][0]).size == (500, 500)
    assert info_of(answer)["sd_model_name"] == "demo"


def test_sillytavern_reads_its_lists_and_renders_with_its_fields(farm: ClientFarm) -> None:
    lists = ("sd-models", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "sd-vae")
    assert all(isinstance(farm.http.get(f"/sdapi/v1/{name}").json(), list) for name in lists)
    info = txt2img(
        farm, prompt="a fox", negative_prompt="", sampler_name="Euler a", scheduler="Automatic", steps=20, cfg_scale=7,
        width=64, height=64, restore_faces=False, enable_hr=True, hr_upscaler="Latent", hr_scale=2,
        hr_additional_modules=[], denoising_strength=0.7, hr_second_pass_steps=0, seed=-1, clip_skip=1,
        override_settings={"CLIP_stop_at_last_layers": 1, "sd_vae": "Automatic"},
        override_settings_restore_afterwards=True, save_images=True, send_images=True, do_not_save_grid=False,
        do_not_save_samples=False,
    )  # fmt: skip
    assert [image.size for image in info["images"]] == [(128, 128)]


def test_librechats_tool_reads_the_first_infotext(farm: ClientFarm) -> None:
    info = txt2img(
        farm, prompt="a fox", negative_prompt="blurry", cfg_scale=4.5, steps=22, width=64, height=64,
        sampler_index="DPM++ 2M Karras",
    )  # fmt: skip
    assert "Steps: 22" in info["infotexts"][0] and "CFG scale: 4.5" in info["infotexts"][0]


def test_webuiapi_renders_and_reads_its_own_result(farm: ClientFarm, webui: webuiapi.WebUIApi) -> None:
    with farm.worker.working():
        made = webui.txt2img(prompt="a fox", seed=5, width=64, height=96, batch_size=2)
        again = webui.img2img(images=[made.images[0]], prompt="a hat", width=64, height=96, denoising_strength=0.4)
    assert [image.size for image in made.images] == [(64, 96)] * 2
    assert made.info["all_seeds"] == [5, 6]
    assert again.info["denoising_strength"] == 0.4
    assert "a fox" in webui.png_info(made.images[0]).info
