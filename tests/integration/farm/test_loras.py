"""LoRAs through the whole farm, with the real engine on the demo model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.faults.parts import FarmParts
from core.imagefile import read_metadata
from tests.integration.engine.lora_layouts import kohya
from tests.integration.farm.client import Client, Job
from tests.integration.farm.conftest import StartFarm
from worker.models.tiny_models.build import build_lora
from worker.models.tiny_models.z_image import tiny_z_image


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return a ComfyUI folder with a LoRA for the demo model in kohya's layout."""
    folder = tmp_path / "comfy"
    (folder / "loras").mkdir(parents=True)
    made = build_lora(tiny_z_image(), tmp_path / "made", 3)
    kohya(made, folder / "loras" / "ink.safetensors")
    return folder


def pixels_of(client: Client, job: Job) -> str:
    """Return a digest of the job's image."""
    data = client.http.get(job["outputs"][0]["content_url"]).content
    return hashlib.sha256(Image.open(BytesIO(data)).tobytes()).hexdigest()


def test_jobs_before_and_after_one_with_a_lora_have_equal_bits(
    start_farm: StartFarm, client_of: Callable[[FarmParts], Client], weights: Path
) -> None:
    client = client_of(start_farm(renderer="diffusers", weights_dirs=weights))
    (listed,) = client.http.get("/v1/loras").json()["items"]
    assert (listed["name"], listed["key_style"], listed["place"]) == ("ink", "kohya", "weights_dir")

    def rendered(prompt: str = "a cat", **fields: object) -> Job:
        return client.wait(client.submit(prompt, strict=True, **fields)["id"], "succeeded", seconds=90)

    before = rendered()
    inked = rendered(prompt="a cat <lora:ink:0.7>")
    after = rendered()
    again = rendered(loras=[{"name": "ink", "scale": 0.7}])
    assert pixels_of(client, before) == pixels_of(client, after)
    assert pixels_of(client, inked) == pixels_of(client, again) != pixels_of(client, before)
    assert inked["warnings"] == []
    together = [client.submit(loras=[{"name": "ink"}] if index % 2 else []) for index in range(4)]
    done = [client.wait(job["id"], "succeeded", seconds=90) for job in together]
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
