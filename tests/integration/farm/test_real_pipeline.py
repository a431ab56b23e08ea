"""Image-to-image, inpainting, LoRAs and refine through a whole farm, with the real engine on the demo model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from core.imagefile import read_metadata
from tests.conftest import Migrate
from tests.integration.engine.lora_layouts import kohya
from tests.integration.farm.client import Client, Job
from tests.integration.farm.conftest import sqlite_farm
from worker.models.tiny_models.build import build_lora
from worker.models.tiny_models.z_image import tiny_z_image

SIZE = (96, 64)
BOX = (16, 16, 56, 48)
ROUNDING = 2
NETWORK = "realesr-animevideov3"
LARGE: dict[str, Any] = {"width": 128, "height": 128}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a ComfyUI folder with a LoRA for the demo model in kohya's layout."""
    directory = tmp_path_factory.mktemp("weights")
    folder = directory / "comfy"
    (folder / "loras").mkdir(parents=True)
    made = build_lora(tiny_z_image(), directory / "made", 3)
    kohya(made, folder / "loras" / "ink.safetensors")
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate, weights: Path) -> Iterator[Client]:
    """Yield a client of a farm with the real engine."""
    directory = tmp_path_factory.mktemp("farm")
    with sqlite_farm(directory, migrate, renderer="diffusers", weights_dirs=weights) as farm, Client(farm.url) as client:
        yield client


def upload(client: Client, image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    sent = client.http.post("/v1/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"})
    assert sent.is_success, sent.text
    return str(sent.json()["id"])


def content(client: Client, image_id: str) -> bytes:
    return client.http.get(f"/v1/images/{image_id}/content").content


def pixels(client: Client, image_id: str) -> Image.Image:
    return Image.open(BytesIO(content(client, image_id))).convert("RGB")


def images(client: Client, job_id: str) -> list[str]:
    return [output["id"] for output in client.wait(job_id, "succeeded")["outputs"]]


def test_the_uploaded_image_reaches_the_engine(client: Client) -> None:
    uploads = [upload(client, Image.new("RGB", (64, 64), color)) for color in ("red", "blue")]
    jobs = [client.submit(init_image=each, strength=0.3, num_inference_steps=4) for each in uploads]
    rendered = [pixels(client, images(client, job["id"])[0]) for job in jobs]
    difference = ImageStat.Stat(ImageChops.difference(*rendered)).mean
    assert max(difference) > 1, "seed and prompt are equal, only the uploads differ"


def test_a_start_sigma_is_applied_and_stored_in_the_file(client: Client) -> None:
    given = upload(client, Image.new("RGB", (64, 64), "red"))
    job = client.submit(init_image=given, start_sigma=0.5, num_inference_steps=3)
    done = client.wait(job["id"], "succeeded")
    assert done["input"]["start_sigma"] == 0.5
    metadata = read_metadata(client.http.get(done["outputs"][0]["content_url"]).content).imagefarm
    assert metadata is not None
    assert (metadata.start_sigma, metadata.strength) == (0.5, None)
    assert metadata.record is not None
    assert metadata.record.sigmas_or_timesteps == pytest.approx([0.5, 0.375, 0.2142857, 0.0], abs=1e-6)


def box_on_black(box: tuple[int, int, int, int]) -> Image.Image:
    mask = Image.new("L", SIZE)
    mask.paste(255, box)
    return mask


def changed(before: Image.Image, after: Image.Image) -> tuple[int, int, int, int] | None:
    """Return the smallest box that holds all pixels that differ."""
    return ImageChops.difference(before, after).getbbox()


def looks_like(one: Image.Image, other: Image.Image) -> bool:
    """Return whether no pixel differs by more than rounding: an image's last bit depends on its micro-batch."""
    return max(ImageChops.difference(one, other).tobytes()) <= ROUNDING


def test_only_white_areas_are_repainted(client: Client) -> None:
    picture = Image.merge("RGB", [Image.effect_noise(SIZE, 60 + 20 * band) for band in range(3)])
    image, mask = upload(client, picture), upload(client, box_on_black(BOX).resize((48, 32), Image.Resampling.NEAREST))
    thin = upload(client, box_on_black((17, 17, 20, 20)))
    fields: dict[str, Any] = {"init_image": image, "width": SIZE[0], "height": SIZE[1], "num_inference_steps": 3}
    hard = client.submit(mask=mask, num_images=2, **fields)
    soft = client.submit(mask=mask, mask_feather=5, **fields)
    failing = client.submit(mask=thin, **fields)

    def images_of(job_id: str) -> list[Image.Image]:
        return [pixels(client, image_id) for image_id in images(client, job_id)]

    first, second = images_of(hard["id"])
    (feathered,) = images_of(soft["id"])
    assert changed(picture, first) == changed(picture, second) == BOX, "outside of the box every pixel is the upload's"
    assert changed(first, second) is not None, "each image has its own seed"
    left, top, right, bottom = BOX
    assert looks_like(first.crop(BOX), feathered.crop(BOX)), "a soft edge changes nothing inside"
    around = changed(picture, feathered)
    assert around is not None
    assert (left - 5, top - 5) <= around[:2] < (left, top)
    assert (right, bottom) < around[2:] <= (right + 5, bottom + 5)
    failed = client.wait(failing["id"], "failed")
    assert (failed["error"]["code"], "too thin" in failed["error"]["message"]) == ("invalid_input", True)
    retried = client.post(f"/v1/jobs/{hard['id']}/retry")
    again, _ = images_of(retried["id"])
    assert looks_like(first, again), "the copy keeps its mask"
    assert changed(picture, again) == BOX


def pixels_of(client: Client, job: Job) -> bytes:
    return pixels(client, job["outputs"][0]["id"]).tobytes()


def test_jobs_before_and_after_one_with_a_lora_have_equal_bits(client: Client, weights: Path) -> None:
    (listed,) = client.http.get("/v1/loras").json()["items"]
    assert (listed["name"], listed["key_style"], listed["place"]) == ("ink", "kohya", "weights_dir")

    def rendered(prompt: str = "a cat", **fields: object) -> Job:
        return client.wait(client.submit(prompt, strict=True, **fields)["id"], "succeeded")

    before = rendered()
    inked = rendered(prompt="a cat <lora:ink:0.7>")
    after = rendered()
    again = rendered(loras=[{"name": "ink", "scale": 0.7}])
    assert pixels_of(client, before) == pixels_of(client, after)
    assert pixels_of(client, inked) == pixels_of(client, again) != pixels_of(client, before)
    assert inked["warnings"] == []
    together = [client.submit(loras=[{"name": "ink"}] if index % 2 else []) for index in range(4)]
    done = [client.wait(job["id"], "succeeded") for job in together]
    records = [client.http.get(job["outputs"][0]["url"]).json()["record"] for job in done]
    assert all(max(record["batch_sizes"]) <= 2 for record in records), "those with and without it never share a pass"

    metadata = read_metadata(client.http.get(inked["outputs"][0]["content_url"]).content)
    assert metadata.imagefarm is not None
    assert [(lora.name, lora.scale) for lora in metadata.imagefarm.loras] == [("ink", 0.7)]
    data = (weights / "loras/ink.safetensors").read_bytes()
    short = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little") :]).hexdigest()[:12]
    assert metadata.parameters_text is not None
    assert metadata.parameters_text.startswith("a cat <lora:ink:0.7>\n")
    assert f'Lora hashes: "ink: {short}"' in metadata.parameters_text
    assert client.http.get("/v1/loras/ink").json()["items"][0]["hash"] == short


def refine(client: Client, image_id: str, **fields: object) -> str:
    answer = client.http.post(f"/v1/images/{image_id}/refine", json=fields)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def test_drafts_are_refined_and_their_lineage_is_walked(client: Client) -> None:
    drafts = client.submit("a red fox", num_images=3, seed=5, num_inference_steps=4, strict=True)
    varied = client.submit(
        "a red fox", num_images=2, seed=5, num_inference_steps=4, variation_seed=6, variation_strength=1, strict=True
    )
    chosen = images(client, drafts["id"])[1]
    assert pixels(client, images(client, varied["id"])[0]).tobytes() == pixels(client, chosen).tobytes(), "5 becomes 6"

    jobs = {
        "hires": refine(client, chosen, **LARGE),
        "coherent": refine(client, chosen, mode="coherent", num_images=2),
        "again": refine(client, chosen, mode="coherent"),
        "same_seed": refine(client, chosen, mode="same_seed", **LARGE),
    }
    made = {name: images(client, job)[0] for name, job in jobs.items()}
    file = client.http.post("/v1/uploads", content=content(client, chosen), headers={"content-type": "image/png"}).json()
    by_hand = client.submit(
        "a red fox", init_image=file["id"], seed=6, num_inference_steps=4, start_sigma=0.5, strict=True, **LARGE
    )
    assert pixels(client, images(client, by_hand["id"])[0]).tobytes() == pixels(client, made["hires"]).tobytes()
    assert pixels(client, made["coherent"]).tobytes() == pixels(client, made["again"]).tobytes()
    assert pixels(client, made["coherent"]).tobytes() != pixels(client, made["same_seed"]).tobytes()
    retried = client.post(f"/v1/jobs/{jobs['again']}/retry")["id"]
    assert pixels(client, images(client, retried)[0]).tobytes() == pixels(client, made["again"]).tobytes()

    for name in ("hires", "coherent"):
        rerun = client.post(f"/v1/images/{made[name]}/rerun")["id"]
        assert pixels(client, images(client, rerun)[0]).tobytes() == pixels(client, made[name]).tobytes()

    known = read_metadata(content(client, made["coherent"])).imagefarm
    assert known is not None
    assert known.coherent is not None
    assert (known.parent, known.coherent.seed, known.coherent.width, known.seed) == (chosen, 6, 64, 6)
    text = read_metadata(content(client, images(client, varied["id"])[1])).parameters_text or ""
    assert "Seed: 5, Variation seed: 7, Variation seed strength: 1" in text

    enlarged = images(client, refine(client, chosen, upscaler=NETWORK, **LARGE))[0]
    assert pixels(client, enlarged).tobytes() != pixels(client, made["hires"]).tobytes()
    record = client.http.get(f"/v1/images/{enlarged}").json()
    assert (record["input"]["upscaler"], record["record"]["versions"]["upscaler"]) == (NETWORK, NETWORK)
    unknown = client.http.post(f"/v1/images/{chosen}/refine", json={"upscaler": "no-such-network"})
    assert (unknown.status_code, unknown.json()["code"], NETWORK in unknown.json()["detail"]) == (
        409,
        "upscaler_not_served",
        True,
    )

    leaf = images(client, refine(client, made["hires"], width=192, height=192))[0]
    up = client.http.get(f"/v1/images/{leaf}/lineage").json()["ancestors"]
    assert [each["id"] for each in up] == [made["hires"], chosen]
    down = client.http.get(f"/v1/images/{chosen}/lineage").json()["descendants"]
    assert {each["id"] for each in down} > {*made.values(), leaf}
    assert {each["mode"] for each in down} == {"hires", "coherent", "same_seed"}
