"""A model that a user adds is known to the running API at once, and a worker started for it renders its jobs."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import httpx
import pytest

from benchmarks.faults.parts import FarmParts, Part
from core.catalogue.add_model import AddOptions, add_model, remove_model
from core.imagefile import read_metadata
from core.settings import Settings
from tests.integration.farm.client import Client, wait_until
from tests.integration.farm.conftest import StartFarm
from tests.servers.forked_parts import fork_part
from worker.models.tiny_models import build_tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def start_worker(farm: FarmParts, model: str) -> None:
    api = farm.parts["api"]
    farm.parts["own"] = Part("own", ["worker", "--model", model], api.environment, farm.directory, fork_part)
    farm.parts["own"].start()


def answers(client: Client) -> bool:
    try:
        return client.http.get("/v1/models").is_success
    except httpx.TransportError:
        return False


def serves(client: Client, model: str) -> bool:
    workers = client.http.get("/v1/workers").json()["items"]
    return any(row["state"] == "ready" and row["model"] == model for row in workers)


def submit_when_known(client: Client, body: dict[str, object]) -> str:
    """Submit once the API's snapshot of the workers, which is up to a second old, has the one that serves the model."""
    answers = []

    def is_accepted() -> bool:
        answers.append(client.http.post("/v1/jobs", json=body))
        return bool(answers[-1].status_code == HTTPStatus.ACCEPTED)

    wait_until(is_accepted)
    return str(answers[-1].json()["id"])


def test_added_models_render_without_a_restart_and_damage_is_named(
    start_farm: StartFarm, client_of: Callable[[FarmParts], Client], tmp_path: Path
) -> None:
    folder = build_tiny_model("sd15", tmp_path / "weights")
    farm = start_farm(workers=0, renderer="diffusers")
    client = client_of(farm)
    settings = Settings(data_dir=farm.directory / "data")
    body = {"prompt": "a cat", "model": "mine", "width": 64, "height": 64, "num_inference_steps": 2}
    wait_until(lambda: answers(client))
    unknown = client.http.post("/v1/jobs", json=body)
    assert (unknown.status_code, unknown.json()["code"]) == (HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_model")

    add_model(settings, str(folder), AddOptions("mine"))
    shown = client.http.get("/v1/models/mine")
    assert shown.status_code == HTTPStatus.OK, shown.text
    assert shown.json()["defaults"]["num_inference_steps"] == 25
    assert "imagefarm worker --model mine" in client.http.post("/v1/jobs", json=body).json()["detail"]

    start_worker(farm, "mine")
    wait_until(lambda: serves(client, "mine"))
    accepted = submit_when_known(client, body)
    done = client.wait(accepted, "succeeded")
    metadata = read_metadata(client.http.get(done["outputs"][0]["content_url"]).content).imagefarm
    assert metadata is not None
    assert (metadata.model, metadata.random_weights) == ("mine", False)
    assert done["notice"] is None

    remove_model(settings, "mine")
    assert client.http.get("/v1/models/mine").status_code == HTTPStatus.NOT_FOUND
    assert client.job(done["id"])["model"] == "mine"

    (settings.data_dir / "models.toml").write_text("[[model]]\nid =\n")
    assert client.http.get("/v1/models/z-image-turbo").status_code == HTTPStatus.OK
    answer = client.http.get("/v1/models/mine")
    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert "line 2" in answer.json()["detail"]
    wait_until(lambda: "line 2" in farm.parts["api"].log.read_text())
