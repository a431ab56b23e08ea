"""A strict image that is rendered again by the real engine has the same pixels."""

from __future__ import annotations

import hashlib
import io

import httpx
from PIL import Image

from tests.e2e.waiting import submit, wait_settled
from tests.servers.farm import FarmProcess


def pixels_of(farm: FarmProcess, url: str) -> str:
    """Return the SHA-256 of an image's pixels."""
    with Image.open(io.BytesIO(httpx.get(farm.api + url).content)) as image:
        return hashlib.sha256(image.tobytes()).hexdigest()


def test_a_strict_rerun_has_the_same_pixels(farm: FarmProcess) -> None:
    fields = {"width": 128, "height": 128, "num_inference_steps": 3, "num_images": 2, "seed": 40, "strict": True}
    first = wait_settled(farm.api, submit(farm.api, prompt="a harbour in fog", **fields)["id"])
    image = first["outputs"][1]
    answer = httpx.post(f"{farm.api}/v1/images/{image['id']}/rerun")
    assert answer.status_code == 202, answer.text
    assert answer.json()["warnings"] == [], "nothing differs on the same worker"
    second = wait_settled(farm.api, answer.json()["id"])
    assert (second["status"], second["outputs"][0]["seed"]) == ("succeeded", 41)
    again = pixels_of(farm, second["outputs"][0]["content_url"])
    assert again == pixels_of(farm, image["content_url"])
    assert again != pixels_of(farm, first["outputs"][0]["content_url"])
