"""Every model of the catalogue through a farm: one worker, one engine process, tiny weights in the published layout."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from io import BytesIO
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from benchmarks.faults.parts import FarmParts
from core.catalogue import CatalogueModel, load_catalogue
from core.lifecycle import SETTLED
from tests.conftest import Migrate
from tests.integration.farm.client import Client, Job, wait_until
from tests.integration.farm.conftest import sqlite_farm
from tests.servers.forked_parts import forked_engine
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
"""Tried at most, each of more steps: on a busy machine a job may end before its engine is stopped."""
LONGEST_STOP_SECONDS = 60.0


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    folder = tmp_path_factory.mktemp("catalogue")
    folders = {model: str(build_tiny_model(model, folder / "weights" / model)) for model in MODELS if model != "demo"}
    settings: dict[str, Any] = {"swap_after_seconds": 0, "preview_every": 3, "model_folders": json.dumps(folders)}
    with sqlite_farm(folder, migrate, renderer="diffusers", model=",".join(MODELS), **settings) as parts:
        yield parts


@pytest.fixture(scope="module")
def client(farm: FarmParts) -> Iterator[Client]:
    with Client(farm.url) as client:
        yield client


def image_of(client: Client, job: Job) -> Image.Image:
    answer = client.http.get(job["outputs"][0]["content_url"])
    return Image.open(BytesIO(answer.content))


def rendered(client: Client, fields: dict[str, Any]) -> Job:
    job = client.wait(client.submit(**fields)["id"], "succeeded", "failed")
    assert (job["status"], job["attempt"]) == ("succeeded", 1), job
    return job


def followed(client: Client, engine: psutil.Process, fields: dict[str, Any]) -> tuple[Job, list[str]]:
    """Return a job and the names of its events; from its first preview on, its engine is stopped until that was sent."""
    job = client.submit(**fields)
    path = f"/v1/jobs/{job['id']}"
    with closing(event_names(client, f"{path}/events")) as events:
        next(name for name in events if name in ("progress", "end"))
    wait_until(
        lambda: client.http.get(f"{path}/preview").is_success or client.job(job["id"])["status"] in SETTLED, pause=0.01
    )
    engine.suspend()
    without_preview = threading.Timer(LONGEST_STOP_SECONDS, engine.resume)
    without_preview.start()
    names = []
    try:
        for name in event_names(client, f"{path}/events?previews=true"):
            names.append(name)
            if name == "preview":
                engine.resume()
    finally:
        without_preview.cancel()
        engine.resume()
    return client.wait(job["id"], "succeeded"), names


def event_names(client: Client, path: str) -> Generator[str]:
    with client.http.stream("GET", path, timeout=300) as events:
        for line in events.iter_lines():
            if line.startswith("event:"):
                yield line.removeprefix("event:").strip()


@pytest.mark.parametrize("model_id", MODELS)
def test_a_model_renders_previews_and_follows_its_row(farm: FarmParts, client: Client, model_id: str) -> None:
    model = CATALOGUE.get(model_id)
    fields = {"model": model_id, "guidance_scale": model.defaults.guidance_scale, "width": 96}
    for attempt in range(1, FOLLOWED_JOBS + 1):
        fields["num_inference_steps"] = 10 * attempt
        job, names = followed(client, forked_engine(farm.parts["worker0"].log), fields)
        assert names[-1] == "end"
        if {"progress", "preview"} <= set(names):
            break
    assert {"progress", "preview"} <= set(names)
    plain = image_of(client, job)
    assert plain.size == (96, 64)
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
