"""Unchanged third-party clients against a whole farm: real worker, real engine, real images."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
import webuiapi
from PIL import Image as Pillow

from tests.e2e.waiting import submit, wait_settled, wait_started
from tests.servers.farm import FarmProcess


@pytest.fixture(scope="module")
def package(farm: FarmProcess) -> Iterator[openai.OpenAI]:
    """Provide a client of the official `openai` package."""
    with openai.OpenAI(base_url=f"{farm.api}/v1", api_key="none", max_retries=0, timeout=500) as client:
        yield client


@pytest.fixture(scope="module")
def webui(farm: FarmProcess) -> webuiapi.WebUIApi:
    """Return a client library of A1111's API."""
    return webuiapi.WebUIApi(baseurl=f"{farm.api}/sdapi/v1")


def opened(data: bytes) -> Pillow.Image:
    image = Pillow.open(io.BytesIO(data))
    image.load()
    return image


def test_openai_two_images_by_url(package: openai.OpenAI) -> None:
    answer = package.images.generate(prompt="a red fox, 一只红狐", n=2, size="128x192", model="demo", extra_body={"seed": 3})
    assert answer.data is not None
    images = [opened(httpx.get(each.url or "").content) for each in answer.data]
    assert [image.size for image in images] == [(128, 192)] * 2
    assert ["Seed: 3" in images[0].info["parameters"], "Seed: 4" in images[1].info["parameters"]] == [True, True]
    assert images[0].tobytes() != images[1].tobytes()


def test_openai_base64_is_the_same_image_as_from_the_native_api(package: openai.OpenAI, farm: FarmProcess) -> None:
    fields = {"seed": 11, "num_inference_steps": 4, "strict": True}
    answer = package.images.generate(
        prompt="a lighthouse", size="128x128", response_format="b64_json", extra_body=fields
    )  # fmt: skip
    assert answer.data is not None
    through_openai = opened(base64.b64decode(answer.data[0].b64_json or ""))
    job = wait_settled(farm.api, submit(farm.api, prompt="a lighthouse", size="128x128", **fields)["id"])
    native = opened(httpx.get(farm.api + job["outputs"][0]["content_url"]).content)
    assert through_openai.tobytes() == native.tobytes()


def test_openai_edit_keeps_what_is_opaque_in_the_mask(package: openai.OpenAI) -> None:
    start, mask = io.BytesIO(), io.BytesIO()
    Pillow.new("RGB", (64, 64), "red").save(start, "PNG")
    hole = Pillow.new("RGBA", (64, 64), "white")
    hole.paste((0, 0, 0, 0), (0, 0, 32, 32))
    hole.save(mask, "PNG")
    answer = package.images.edit(
        image=("a.png", start.getvalue(), "image/png"), mask=("m.png", mask.getvalue(), "image/png"), prompt="a hat",
        model="gpt-image-1", extra_body={"num_inference_steps": 2, "seed": 1},
    )  # fmt: skip
    assert answer.data is not None
    image = opened(base64.b64decode(answer.data[0].b64_json or "")).convert("RGB")
    assert image.crop((32, 32, 64, 64)).getextrema() == ((255, 255), (0, 0), (0, 0))
    assert image.crop((0, 0, 32, 32)).getextrema() != ((255, 255), (0, 0), (0, 0))


def test_openai_stream_sends_previews_of_the_engine(package: openai.OpenAI) -> None:
    for _ in range(5):  # On a busy machine, the image may be finished before its preview is read.
        stream = package.images.generate(
            prompt="a fox", model="gpt-image-1", size="256x256", stream=True, partial_images=1,
            extra_body={"num_inference_steps": 40},
        )  # fmt: skip
        if len(events := list(stream)) == 2:
            break
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert opened(base64.b64decode(events[0].b64_json)).size == (256, 256)


def test_a1111_hires_and_an_empty_prompt_at_an_odd_size(webui: webuiapi.WebUIApi) -> None:
    made = webui.txt2img(
        prompt="", width=100, height=100, steps=2, enable_hr=True, hr_scale=1.5, hr_upscaler="None", denoising_strength=0.5
    )
    assert [image.size for image in made.images] == [(150, 150)]


def test_openai_other_formats_and_errors(package: openai.OpenAI) -> None:
    answer = package.images.generate(prompt="x", size="64x64", response_format="b64_json", output_format="jpeg")
    assert answer.data is not None
    assert opened(base64.b64decode(answer.data[0].b64_json or "")).format == "JPEG"
    with pytest.raises(openai.BadRequestError, match="multiple of 16"):
        package.images.generate(prompt="x", size="100x64")
    with pytest.raises(openai.NotFoundError):
        package.images.generate(prompt="x", model="no-such-model")
    assert "demo" in [model.id for model in package.models.list()]


def test_a1111_text_to_image_and_reading_its_settings(webui: webuiapi.WebUIApi) -> None:
    made = webui.txt2img(prompt="a red fox", seed=5, steps=4, cfg_scale=1, width=64, height=96, batch_size=2)
    assert [image.size for image in made.images] == [(64, 96)] * 2
    assert made.info["all_seeds"] == [5, 6]
    info = webui.png_info(made.images[1])
    assert "a red fox" in info.info
    assert "Seed: 6" in info.info


def test_a1111_image_to_image(webui: webuiapi.WebUIApi) -> None:
    start = Pillow.new("RGB", (64, 64), "red")
    made = webui.img2img(images=[start], prompt="a rose", seed=1, steps=8, width=64, height=64, denoising_strength=0.5)
    again = webui.img2img(images=[start], prompt="a rose", seed=1, steps=8, width=64, height=64, denoising_strength=0.9)
    assert made.image.size == (64, 64)
    assert made.image.tobytes() != again.image.tobytes()


def test_a1111_progress_and_interrupt_of_a_running_job(webui: webuiapi.WebUIApi, farm: FarmProcess) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(webui.txt2img, prompt="a long one", steps=100, cfg_scale=1, width=512, height=512)
        job_id = ""
        while not job_id:
            assert not asked.done(), asked.result()
            job_id = webui.get_progress()["state"]["job"]
        wait_started(farm.api, job_id)
        webui.interrupt()
        assert asked.result(300).info["interrupted"] is True
    assert wait_settled(farm.api, job_id)["status"] == "canceled"


def test_a1111_lists_contain_what_the_farm_has(webui: webuiapi.WebUIApi) -> None:
    assert "demo" in [model["model_name"] for model in webui.get_sd_models()]
    assert webui.get_options()["sd_model_checkpoint"] == "demo"
    assert webui.get_samplers()[0]["name"]
    assert "Lanczos" in [row["name"] for row in webui.get_upscalers()]
    assert [style["name"] for style in webui.get_prompt_styles()] == ["standard-negative"]
