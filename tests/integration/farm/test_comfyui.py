"""A graph of ComfyUI through a whole farm with a real pipeline: its jobs run on while the API is killed and restarted."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import websocket
from PIL import Image
from sqlalchemy import select

from benchmarks.faults.parts import FarmParts
from core.imagefile import read_metadata
from db.database import Database
from db.tables import Job
from tests import comfyui_graphs as graphs
from tests.conftest import Migrate
from tests.integration.farm.client import Client
from tests.integration.farm.conftest import sqlite_farm

NETWORK = "realesr-animevideov3.pth"
SECONDS = 300.0


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory, migrate: Migrate) -> Iterator[FarmParts]:
    with sqlite_farm(tmp_path_factory.mktemp("farm"), migrate, renderer="diffusers", upscalers=1) as running:
        yield running


@pytest.fixture
def client(farm: FarmParts) -> Iterator[Client]:
    with Client(farm.url) as client:
        yield client


def both_ways() -> graphs.Graph:
    """Return a graph that renders, enlarges and renders again, and also saves what a network makes of the first image."""
    graph = graphs.network_hires_template()
    graph["14"]["inputs"]["model_name"] = NETWORK
    return graph | {"20": graphs.node("SaveImage", filename_prefix="big", images=["15", 0])}


def wait_for_jobs(database: Database, count: int, status: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        with database.read() as session:
            found = [job.status for job in session.scalars(select(Job))]
        if found.count(status) >= count:
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def history(client: Client, prompt_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while not (found := client.http.get(f"/history/{prompt_id}").json()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    entry: dict[str, Any] = found[prompt_id]
    return entry


def view(client: Client, image: dict[str, str]) -> bytes:
    answer = client.http.get("/view", params=image)
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_chain_survives_the_death_of_the_api_and_its_images_carry_the_graph(farm: FarmParts, client: Client) -> None:
    workflow = {"nodes": [{"id": 3, "type": "KSampler", "title": "雪"}], "version": 0.4}
    body = {"prompt": both_ways(), "prompt_id": "chain", "extra_data": {"extra_pnginfo": {"workflow": workflow}}}
    answer = client.http.post("/prompt", json=body)
    assert answer.status_code == 200, answer.text
    farm.parts["api"].kill()
    database = Database(farm.database_url)
    wait_for_jobs(database, 1, "succeeded")
    farm.parts["api"].start()
    farm.wait_ready()
    with Client(farm.url) as again:
        entry = history(again, "chain")
        assert entry["status"]["status_str"] == "success", entry["status"]
        sizes = {
            name: Image.open(io.BytesIO(view(again, output["images"][0]))).size for name, output in entry["outputs"].items()
        }
        assert sizes == {"9": (64, 64), "12": (128, 128), "20": (256, 256)}
        for output in entry["outputs"].values():
            data = view(again, output["images"][0])
            texts = Image.open(io.BytesIO(data)).text  # type: ignore[attr-defined]
            assert (json.loads(texts["prompt"]), json.loads(texts["workflow"])) == (both_ways(), workflow)
            assert read_metadata(data).imagefarm is not None
        first, second = (entry["outputs"][name]["images"][0]["filename"].split("_")[-2] for name in ("9", "12"))
        native = again.http.post(
            f"/v1/images/{first}/refine",
            json={
                "width": 128, "height": 128, "upscaler": "realesr-animevideov3", "strength": 0.5, "seed": 6,
                "num_inference_steps": 8,
            },
        )  # fmt: skip
        same = again.wait(native.json()["id"], "succeeded")["outputs"][0]["id"]
        pixels = [
            np.asarray(Image.open(io.BytesIO(again.http.get(f"/v1/images/{image}/content").content)), float)
            for image in (second, same)
        ]
        assert np.abs(pixels[0] - pixels[1]).mean() < 1, "the second step is the farm's own refinement"
        lineage = again.http.get(f"/v1/images/{second}/lineage").json()
        assert [each["id"] for each in lineage["ancestors"]] == [first]
    database.dispose()


def test_progress_and_previews_come_over_the_socket(farm: FarmParts, client: Client) -> None:
    ws = websocket.WebSocket()
    ws.connect(f"ws://127.0.0.1:{farm.port}/ws?clientId=me", timeout=SECONDS)
    graph = graphs.checkpoint_template("demo.safetensors", 512, seed=5, steps=60, cfg=1)
    prompt_id = client.http.post("/prompt", json={"prompt": graph, "client_id": "me"}).json()["prompt_id"]
    steps, previews = [], 0
    while True:
        message = ws.recv()
        if isinstance(message, bytes):
            previews += 1
            Image.open(io.BytesIO(message[8:])).load()
            continue
        event = json.loads(message)
        if event["type"] == "progress":
            steps.append(event["data"]["value"])
        if event["type"] == "executing" and event["data"] == {"node": None, "prompt_id": prompt_id}:
            break
    ws.close()
    assert steps == sorted(steps)
    assert steps[-1] <= 60
    assert previews
    assert history(client, prompt_id)["outputs"]["9"]["images"]
