"""Inpainting through the whole farm: the kept pixels of the stored file are those of the uploaded image."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops

from benchmarks.faults.parts import FarmParts
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm

SIZE = (96, 64)
BOX = (16, 16, 56, 48)
ROUNDING = 2


def upload(client: Client, image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    sent = client.http.post("/v1/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"})
    assert sent.is_success, sent.text
    return str(sent.json()["id"])


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


def test_only_white_areas_are_repainted(start_farm: StartFarm, client_of: Callable[[FarmParts], Client]) -> None:
    client = client_of(start_farm(renderer="diffusers"))
    picture = Image.merge("RGB", [Image.effect_noise(SIZE, 60 + 20 * band) for band in range(3)])
    image, mask = upload(client, picture), upload(client, box_on_black(BOX).resize((48, 32), Image.Resampling.NEAREST))
    thin = upload(client, box_on_black((17, 17, 20, 20)))
    fields: dict[str, Any] = {"init_image": image, "width": SIZE[0], "height": SIZE[1], "num_inference_steps": 3}
    hard = client.submit(mask=mask, num_images=2, **fields)
    soft = client.submit(mask=mask, mask_feather=5, **fields)
    failing = client.submit(mask=thin, **fields)

    def images_of(job_id: str) -> list[Image.Image]:
        done = client.wait(job_id, "succeeded", seconds=90)
        urls = [output["content_url"] for output in done["outputs"]]
        return [Image.open(BytesIO(client.http.get(url).content)).convert("RGB") for url in urls]

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
    failed = client.wait(failing["id"], "failed", seconds=90)
    assert (failed["error"]["code"], "too thin" in failed["error"]["message"]) == ("invalid_input", True)
    retried = client.post(f"/v1/jobs/{hard['id']}/retry")
    again, _ = images_of(retried["id"])
    assert looks_like(first, again), "the copy keeps its mask"
    assert changed(picture, again) == BOX
