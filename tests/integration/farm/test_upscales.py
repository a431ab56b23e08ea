"""Upscale jobs through a farm of real processes: one synthetic worker that renders and one that enlarges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.faults.parts import FarmParts
from core.imagefile import read_metadata
from tests.conftest import Migrate
from tests.integration.farm.client import Client, Job
from tests.integration.farm.conftest import sqlite_farm
from tests.servers.forked_parts import forked_engine

FAST, SLOW = "realesr-animevideov3", "realesrgan-x4plus-anime"
SPOOL_SECONDS = 300


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    directory = tmp_path_factory.mktemp("farm")
    settings: dict[str, Any] = {"heartbeat_seconds": 0.5, "outputs_dir": directory / "outputs"}
    with sqlite_farm(directory, migrate, upscalers=1, **settings) as parts:
        yield parts


@pytest.fixture(scope="module")
def client(farm: FarmParts) -> Iterator[Client]:
    with Client(farm.url) as client:
        yield client


def noise(width: int, height: int, mode: str = "RGB") -> bytes:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8))
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize((width, height)))
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def upload(client: Client, data: bytes) -> str:
    answer = client.http.post("/v1/uploads", content=data, headers={"content-type": "image/png"})
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def upscale(client: Client, **fields: Any) -> Job:  # noqa: ANN401 -- JSON values
    answer = client.http.post("/v1/upscales", json={"upscaler": FAST, **fields})
    assert answer.status_code == 202, answer.text
    job: Job = answer.json()
    return job


def assert_spool_empties(farm: FarmParts) -> None:
    """Wait until nothing is left of results that were stored or given up."""
    spool = farm.directory / "data" / "spool"
    deadline = time.monotonic() + SPOOL_SECONDS
    while left := list(spool.iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def assert_in_outputs(farm: FarmParts, data: bytes) -> None:
    """Wait until the folder of outputs holds a file with this content."""
    deadline = time.monotonic() + SPOOL_SECONDS
    while data not in [file.read_bytes() for file in (farm.directory.parent / "outputs").glob("outputs_*.png")]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_upload_is_enlarged_and_keeps_its_alpha(farm: FarmParts, client: Client) -> None:
    data = noise(40, 30, "RGBA")
    source = upload(client, data)
    job = upscale(client, upload=source, scale=4, metadata={"for": "print"})
    assert (job["kind"], job["model"], job["parent"]) == (
        "upscale",
        "upscale",
        {"image": None, "upload": source, "mode": None},
    )
    assert "source" not in job["input"]
    done = client.wait(job["id"], "succeeded", "failed", "held")
    assert done["status"] == "succeeded", done["error"]
    assert (done["metadata"], done["worker"]) == ({"for": "print"}, "upscaler0")
    (output,) = done["outputs"]
    stored = client.http.get(output["content_url"]).content
    image = Image.open(BytesIO(stored))
    assert (image.format, image.size, image.mode) == ("PNG", (160, 120), "RGBA")
    expected = Image.open(BytesIO(data)).getchannel("A").resize((160, 120), Image.Resampling.LANCZOS)
    assert np.abs(np.asarray(image.getchannel("A"), int) - np.asarray(expected, int)).max() <= 1
    assert len(stored) == output["bytes"]
    assert_in_outputs(farm, stored)
    view = client.http.get(output["url"]).json()
    assert (view["kind"], view["parent"]["upload"]) == ("upscale", source)
    assert view["record"]["device"].startswith("CPU")
    assert {name: view["record"]["versions"][name] for name in ("upscaler", "tile", "halo", "scale")} == {
        "upscaler": FAST,
        "tile": "464",
        "halo": "24",
        "scale": "4",
    }
    small = Image.open(BytesIO(client.http.get(output["thumbnail_url"]).content))
    assert small.size == (160, 120)
    history = client.http.get(f"/v1/jobs/{job['id']}/history").json()
    assert [event["to_status"] for event in history["events"]] == ["queued", "running", "succeeded"]
    assert [each["id"] for each in client.http.get("/v1/jobs?kind=upscale").json()["items"]] == [job["id"]]
    assert_spool_empties(farm)


def test_a_render_is_enlarged_with_its_settings_and_link(client: Client) -> None:
    render = client.wait(client.submit("a red fox", seed=7, width=64, height=96)["id"], "succeeded")
    parent = render["outputs"][0]["id"]
    job = upscale(client, image=parent, scale=2, upscaler="lanczos")
    done = client.wait(job["id"], "succeeded")
    assert done["notice"] == render["notice"]
    image = client.http.get(done["outputs"][0]["url"]).json()
    assert (image["width"], image["height"], image["seed"]) == (128, 192, 7)
    assert image["parent"]["image"] == parent
    found = read_metadata(client.http.get(image["content_url"]).content)
    assert found.imagefarm is not None
    assert (found.imagefarm.parent, found.imagefarm.upscaler, found.imagefarm.upscale) == (parent, "lanczos", 2)
    assert (found.imagefarm.prompt, found.imagefarm.model, found.imagefarm.random_weights) == ("a red fox", "demo", True)
    assert found.parameters_text is not None and "Seed: 7, Size: 128x192, Model: demo" in found.parameters_text
    again = client.wait(upscale(client, image=image["id"], scale=2, upscaler="lanczos")["id"], "succeeded")
    assert again["parent"]["image"] == image["id"]
    assert again["input"]["prompt"] == "a red fox"
    assert [row["id"] for row in client.http.get("/v1/models").json()["data"]].count("upscale") == 0


def test_many_images_are_a_batch(client: Client) -> None:
    render = client.wait(client.submit(num_images=2)["id"], "succeeded")
    images = [output["id"] for output in render["outputs"]]
    body = {"images": images, "uploads": [upload(client, noise(16, 16))], "scale": 2, "upscaler": "lanczos"}
    answer = client.http.post("/v1/upscales", json=body)
    assert answer.status_code == 202, answer.text
    for job in answer.json()["jobs"]:
        client.wait(job["job_id"], "succeeded")
    batch = client.http.get(answer.json()["urls"]["self"]).json()
    assert batch["counts"] == {"succeeded": 3}
    assert [job["axes"] for job in batch["jobs"]][:2] == [{"image": image} for image in images]
    sheet = client.http.get(batch["urls"]["contact_sheet"])
    assert Image.open(BytesIO(sheet.content)).format == "PNG"


def test_a_job_is_canceled_between_tiles(farm: FarmParts, client: Client) -> None:
    job = upscale(client, upload=upload(client, noise(19200, 8)), upscaler=SLOW)
    running = client.wait_for(job["id"], lambda job: bool(job["progress"] and job["progress"]["step"]))
    assert running["progress"]["steps"] == 100
    assert running["progress"]["eta_seconds"] > 0
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.wait(job["id"], "canceled", "succeeded")["status"] == "canceled"
    assert_spool_empties(farm)


def test_a_killed_worker_costs_an_attempt_and_leaves_nothing(farm: FarmParts, client: Client) -> None:
    part = farm.parts["upscaler0"]
    for _ in range(5):  # On a busy machine a job may end before its progress is read.
        job = upscale(client, upload=upload(client, noise(800, 8)), upscaler=SLOW)
        client.wait_for(job["id"], lambda job: bool(job["progress"] and job["progress"]["step"]) or bool(job["outputs"]))
        engine = forked_engine(part.log)
        part.kill()
        engine.wait(300)
        is_interrupted = client.job(job["id"])["status"] == "running"
        part.start()
        if is_interrupted:
            break
    done = client.wait(job["id"], "succeeded", "failed", "held")
    assert (done["status"], done["attempt"]) == ("succeeded", 2), done["error"]
    assert done["outputs"][0]["width"] == 3200
    assert_spool_empties(farm)


def test_an_image_that_is_deleted_meanwhile_is_named(client: Client) -> None:
    render = client.wait(client.submit()["id"], "succeeded")
    client.post("/v1/workers/upscaler0/pause")
    job = upscale(client, image=render["outputs"][0]["id"])
    assert client.http.delete(f"/v1/images/{render['outputs'][0]['id']}").status_code == 204
    client.post("/v1/workers/upscaler0/resume")
    failed = client.wait(job["id"], "failed", "succeeded")
    assert failed["error"]["message"] == "The image that this job enlarges no longer exists."
    assert failed["error"]["code"] == "invalid_input"


def test_files_in_the_folder_of_upscalers_are_used(farm: FarmParts, client: Client, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from worker.pipelines.upscalers.compact import SRVGGNetCompact

    torch.manual_seed(0)
    folder = farm.directory / "data" / "models" / "upscalers"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(SRVGGNetCompact(2, 8, 2).state_dict(), folder / "tiny-x2.safetensors")
    rows = {row["id"]: row for row in client.http.get("/v1/upscalers").json()["items"]}
    assert (rows["tiny-x2"]["origin"], rows["tiny-x2"]["default"]) == ("file", False)
    done = client.wait(
        upscale(client, upload=upload(client, noise(16, 16)), upscaler="tiny-x2", scale=2)["id"], "succeeded", "failed"
    )
    assert done["status"] == "succeeded", done["error"]
    job = upscale(client, upload=upload(client, noise(16, 16)), upscaler="tiny-x2", scale=4)
    failed = client.wait(job["id"], "succeeded", "failed")
    assert failed["error"]["message"] == "tiny-x2 enlarges by 2; 4 is not one of them."
