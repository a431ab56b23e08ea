"""Image-to-image through the whole farm, with the real engine on the demo model."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from PIL import Image, ImageChops, ImageStat

from benchmarks.faults.parts import FarmParts
from core.imagefile import read_metadata
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import StartFarm


def plain_image(color: str) -> bytes:
    """Return a PNG of 64 px in one colour."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_uploaded_image_reaches_the_engine(start_farm: StartFarm, client_of: Callable[[FarmParts], Client]) -> None:
    client = client_of(start_farm(renderer="diffusers"))
    uploads = [
        client.http.post("/v1/uploads", content=plain_image(color), headers={"content-type": "image/png"})
        for color in ("red", "blue")
    ]
    assert all(upload.is_success for upload in uploads), uploads[0].text
    jobs = [client.submit(init_image=upload.json()["id"], strength=0.3, num_inference_steps=4) for upload in uploads]
    done = [client.wait(job["id"], "succeeded", seconds=90) for job in jobs]
    images = [Image.open(BytesIO(client.http.get(job["outputs"][0]["content_url"]).content)).convert("RGB") for job in done]
    difference = ImageStat.Stat(ImageChops.difference(*images)).mean
    assert max(difference) > 1, "seed and prompt are equal, only the uploads differ"


def test_a_start_sigma_is_applied_and_stored_in_the_file(
    start_farm: StartFarm, client_of: Callable[[FarmParts], Client]
) -> None:
    client = client_of(start_farm(renderer="diffusers"))
    upload = client.http.post("/v1/uploads", content=plain_image("red"), headers={"content-type": "image/png"}).json()
    job = client.submit(init_image=upload["id"], start_sigma=0.5, num_inference_steps=3)
    done = client.wait(job["id"], "succeeded", seconds=90)
    assert done["input"]["start_sigma"] == 0.5
    metadata = read_metadata(client.http.get(done["outputs"][0]["content_url"]).content).imagefarm
    assert metadata is not None
    assert (metadata.start_sigma, metadata.strength) == (0.5, None)
    assert metadata.record is not None
    assert metadata.record.sigmas_or_timesteps == pytest.approx([0.5, 0.375, 0.2142857, 0.0], abs=1e-6)
