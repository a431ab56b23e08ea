"""Every model of the catalogue through a farm: one worker, one engine process, tiny weights in the published layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from core.catalogue import CatalogueModel, load_catalogue
from tests.conftest import Migrate
from tests.integration.farm.client import Client, Job
from tests.integration.farm.conftest import sqlite_farm
from worker.models.tiny_models import TINY_MODELS, build_tiny_model

CATALOGUE = load_catalogue()
MODELS = tuple(name for name in TINY_MODELS if name not in ("sd15", "sdxl"))
"""Without two whose tiny weights and settings are those of tiny-sd and sdxl-turbo."""
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
SCHEDULERS = {
    "sd-turbo": "EulerDiscreteScheduler",
    "sdxl-turbo": "EulerAncestralDiscreteScheduler",
    "lcm-sd15": "LCMScheduler",
    "sd21": "DDIMScheduler",
    "z-image": "FlowMatchEulerDiscreteScheduler",
    "z-image-turbo": "FlowMatchEulerDiscreteScheduler",
}
FOLLOWED_JOBS = 5
"""Tried at most, each of more work: on a busy machine a job may end before its events are read."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("catalogue")
    folders = {model: str(build_tiny_model(model, folder / "weights" / model)) for model in MODELS if model != "demo"}
    with (
        sqlite_farm(
            folder,
            migrate,
            renderer="diffusers",
            model=",".join(MODELS),
            model_folders=json.dumps(folders),
            swap_after_seconds=0,
            preview_every=1,
        ) as farm,
        Client(farm.url) as client,
    ):
        yield client


def image_of(client: Client, job: Job) -> Image.Image:
    answer = client.http.get(job["outputs"][0]["content_url"])
    return Image.open(BytesIO(answer.content))


def rendered(client: Client, fields: dict[str, Any]) -> Job:
    job = client.wait(client.submit(**fields)["id"], "succeeded", "failed")
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job
    return job


@pytest.mark.parametrize("model_id", MODELS)
def test_a_model_renders_previews_and_follows_its_row(client: Client, model_id: str) -> None:
    model = CATALOGUE.get(model_id)
    guidance = model.defaults.guidance_scale
    # Long enough for the stream, which sends at most a preview in 0.4 s: the smallest tiny models are the fastest.
    most_steps = 100 if model.family == "z-image" else 50
    side, steps = 128, most_steps * 3 // 5
    for _ in range(FOLLOWED_JOBS):
        submitted = client.submit(
            model=model_id, num_inference_steps=steps, guidance_scale=guidance, width=side, height=side
        )
        with client.http.stream("GET", f"/v1/jobs/{submitted['id']}/events?previews=true", timeout=300) as events:
            names = [line.removeprefix("event:").strip() for line in events.iter_lines() if line.startswith("event:")]
        assert names[-1] == "end"
        if {"progress", "preview"} <= set(names):
            break
        side, steps = min(2 * side, 384), most_steps
    assert {"progress", "preview"} <= set(names)
    plain = image_of(client, client.wait(submitted["id"], "succeeded"))
    assert plain.size == (side, side)
    assert SCHEDULERS.get(model_id, "") in str(plain.info["imagefarm"])
    check_negative_prompt(client, model)
    check_start_image(client, model, plain)


def check_negative_prompt(client: Client, model: CatalogueModel) -> None:
    """Check that a negative prompt changes the image where guidance is above 1, and else has a warning."""
    fields: dict[str, Any] = {"model": model.id, "num_inference_steps": 4, "negative_prompt": "blurry, rain, a dog"}
    if model.cfg != "none":
        fields["guidance_scale"] = min(4.0, model.limits.max_guidance_scale)
    submitted = client.submit(**fields)
    warned = any("negative_prompt has no effect" in warning for warning in submitted["warnings"])
    assert warned == (model.negative_prompt == "none"), submitted["warnings"]
    first = client.wait(submitted["id"], "succeeded")
    without = rendered(client, {**fields, "negative_prompt": ""})
    same = image_of(client, first).tobytes() == image_of(client, without).tobytes()
    assert same == (model.negative_prompt == "none")


def check_start_image(client: Client, model: CatalogueModel, plain: Image.Image) -> None:
    """Check that a start image leads to another image, or is refused where the model takes none."""
    buffer = BytesIO()
    plain.save(buffer, "PNG")
    sent = client.http.post("/v1/uploads", content=buffer.getvalue(), headers={"content-type": "image/png"}).json()
    body: dict[str, Any] = {"model": model.id, "num_inference_steps": 4, "init_image": sent["id"], "seed": 5}
    if model.img2img == "none":
        refused = client.http.post("/v1/jobs", json={"prompt": "a cat", **body})
        assert refused.status_code == httpx.codes.UNPROCESSABLE_ENTITY and "image" in refused.json()["detail"]
        return
    if model.img2img == "strength":
        body["strength"] = 0.5
    started = image_of(client, rendered(client, body))
    body = {name: value for name, value in body.items() if name not in ("init_image", "strength")}
    assert started.size == (64, 64) and started.tobytes() != image_of(client, rendered(client, body)).tobytes()
