"""A worker with two models: jobs of both finish, whatever ends in between, and administrators load and unload models."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image

from benchmarks.faults.parts import FarmParts, Part
from tests.integration.farm.client import Client, wait_until
from tests.integration.farm.conftest import StartFarm
from worker.models.tiny_models import build_tiny_model

ClientOf = Callable[[FarmParts], Client]
MODELS = ("demo", "sd-turbo")
Row = dict[str, Any]


def states(row: Row) -> dict[str, str]:
    return {each["id"]: each["state"] for each in row["models"]}


def wait_worker(client: Client, reached: Callable[[Row], bool], name: str = "worker0", seconds: float = 300.0) -> Row:
    deadline = time.monotonic() + seconds
    while True:
        row: Row = client.http.get(f"/v1/workers/{name}").json()
        if reached(row):
            return row
        assert time.monotonic() < deadline, row
        time.sleep(0.02)


def models_of(client: Client) -> dict[str, Row]:
    return {row["id"]: row for row in client.http.get("/v1/models").json()["data"]}


def ask(client: Client, model: str, request: str, **body: str) -> httpx.Response:
    return client.http.post(f"/v1/models/{model}/{request}", json=body or None)


def test_jobs_of_two_models_take_turns_and_administrators_load_and_unload(
    start_farm: StartFarm, client_of: ClientOf
) -> None:
    client = client_of(start_farm(model=",".join(MODELS), synthetic_load_seconds=0.3, swap_after_seconds=1))
    wait_until(lambda: [row["id"] for row in models_of(client).values() if row["served"]] == list(MODELS))

    # An idle worker loads the second model for its first job.
    first = client.submit(model="sd-turbo")
    assert client.wait(first["id"], "succeeded")["attempt"] == 1
    row = wait_worker(client, lambda row: states(row)["sd-turbo"] == "loaded")
    assert row["model"] == "sd-turbo" and states(row) == {"demo": "host_memory", "sd-turbo": "loaded"}

    # Alternating jobs all finish at their first attempt.
    jobs = [client.submit(model=MODELS[number % 2])["id"] for number in range(12)]
    done = [client.wait(job_id, "succeeded") for job_id in jobs]
    assert [(job["attempt"], job["model"]) for job in done] == [(1, MODELS[number % 2]) for number in range(12)]

    # Load, twice, and unload, twice; a job then loads it again.
    answer = ask(client, "demo", "load", worker="worker0")
    assert answer.status_code == httpx.codes.ACCEPTED and answer.json()["workers"][0]["name"] == "worker0"
    wait_worker(client, lambda row: states(row)["demo"] == "loaded" and row["state"] == "ready")
    assert ask(client, "demo", "load").json()["workers"][0]["message"] == "It is loaded already."
    assert ask(client, "sd-turbo", "unload").json()["workers"][0]["state"] == "host_memory"
    wait_worker(client, lambda row: states(row)["sd-turbo"] == "on_disk")
    assert ask(client, "sd-turbo", "unload").json()["workers"] == []
    assert ask(client, "demo", "unload").status_code == httpx.codes.ACCEPTED
    wait_worker(client, lambda row: row["state"] == "unloaded" and states(row)["demo"] == "on_disk")
    wait_until(lambda: models_of(client)["demo"]["state"] == "unloaded")  # From a snapshot of the workers.
    model = models_of(client)["demo"]
    assert (model["served"], model["loaded_by"]) == (True, [])
    assert client.wait(client.submit(model="demo")["id"], "succeeded")["attempt"] == 1

    refused = ask(client, "z-image", "load")
    assert refused.status_code == httpx.codes.CONFLICT and "imagefarm worker --model z-image" in refused.json()["detail"]
    other = ask(client, "z-image", "load", worker="worker0")
    assert other.status_code == httpx.codes.CONFLICT and "--model demo,sd-turbo,z-image" in other.json()["detail"]
    assert ask(client, "demo", "load", worker="nobody").json()["code"] == "worker_not_found"
    assert ask(client, "nothing", "load").json()["code"] == "model_not_found"


def test_a_kill_in_the_middle_of_a_change_costs_no_attempt(start_farm: StartFarm, client_of: ClientOf) -> None:
    farm = start_farm(model=",".join(MODELS), synthetic_load_seconds=0.5, swap_after_seconds=1)
    client = client_of(farm)
    worker = farm.parts["worker0"]

    def wait_change(model: str) -> Row:
        """Wait until the frozen engine has been told to load the model."""
        return wait_worker(client, lambda row: row["state"] == states(row)[model] == "loading" and row["model"] == model)

    freeze(worker)
    job_id = client.submit(model="sd-turbo")["id"]
    message = wait_change("sd-turbo")["message"]
    assert message.startswith("sd-turbo: "), message
    for engine in worker.engines():
        engine.kill()
    assert client.wait(job_id, "succeeded")["attempt"] == 1

    freeze(worker)
    later = [client.submit(model="demo")["id"]]
    wait_change("demo")
    later.append(client.submit(model="sd-turbo")["id"])
    engines = worker.engines()
    worker.kill()
    for engine in engines:
        with suppress(psutil.NoSuchProcess):
            engine.resume()  # So that it notices the end of its worker.
    worker.start()
    assert [client.wait(each, "succeeded")["attempt"] for each in later] == [1, 1]


def freeze(worker: Part) -> None:
    """Stop the engine's process, so that a change of its model lasts as long as a test needs."""
    for engine in worker.engines():
        engine.suspend()


def test_two_workers_share_two_models(start_farm: StartFarm, client_of: ClientOf) -> None:
    farm = start_farm(
        workers=2, model=",".join(MODELS), synthetic_load_seconds=3, synthetic_step_seconds=0.1, swap_after_seconds=600
    )
    client = client_of(farm)
    assert client.wait(client.submit(model="sd-turbo")["id"], "succeeded")["attempt"] == 1
    # One worker has changed; from now on each model has a worker of its own, and nothing is loaded any more.
    rows = [client.http.get(f"/v1/workers/{name}").json() for name in ("worker0", "worker1")]
    assert sorted(row["model"] for row in rows) == sorted(MODELS)
    jobs = [client.submit(model=model, num_inference_steps=8)["id"] for model in MODELS * 2]
    ended = [client.wait(job_id, "succeeded") for job_id in jobs]
    assert {(job["model"], job["worker"]) for job in ended} == {(row["model"], row["name"]) for row in rows}


def test_real_pipelines_take_turns_and_one_without_weights_is_left_out(
    start_farm: StartFarm, client_of: ClientOf, tmp_path: Path
) -> None:
    folder = build_tiny_model("sd-turbo", tmp_path / "sd-turbo")
    farm = start_farm(
        renderer="diffusers", model="demo,sd-turbo,z-image", model_folders=json.dumps({"sd-turbo": str(folder)})
    )
    client = client_of(farm)
    stuck = client.submit(model="z-image")["id"]
    row = wait_worker(client, lambda row: states(row)["z-image"] == "unavailable")
    assert "imagefarm models pull z-image" in row["models"][2]["message"]
    client.wait_for(stuck, lambda job: "models pull z-image" in job["queue"]["reason"])
    refused = client.http.post("/v1/jobs", json={"prompt": "x", "model": "z-image"})
    assert refused.status_code == httpx.codes.CONFLICT and "tried again" in refused.json()["detail"]

    pixels: dict[str, set[bytes]] = {model: set() for model in MODELS}
    for model in MODELS * 2:
        job = client.wait(client.submit(model=model, num_inference_steps=2, seed=7)["id"], "succeeded")
        assert job["attempt"] == 1
        content = client.http.get(f"/v1/images/{job['outputs'][0]['id']}/content").content
        pixels[model].add(Image.open(io.BytesIO(content)).tobytes())
    assert [len(pixels[model]) for model in MODELS] == [1, 1], "a model renders the same after its turn"
    assert farm.parts["worker0"].log.read_text().count("forked engine") == 1, "one engine process renders all"
    assert client.job(stuck)["status"] == "queued" and client.job(stuck)["attempt"] == 0
