"""Recipes over HTTP, and sizes that no worker's memory holds."""

from __future__ import annotations

import httpx
import pytest

from db.workers import heartbeat
from tests.integration.api.running import WorkerSide


@pytest.fixture
def database_url(fresh_sqlite: str) -> str:
    """Use SQLite only: the behaviour does not depend on the database."""
    return fresh_sqlite


def test_recipes_are_listed_with_their_cost_for_each_model(api: httpx.Client) -> None:
    recipes = {item["id"]: item for item in api.get("/v1/recipes").json()["items"]}
    assert list(recipes) == ["authors", "anime", "photo", "art", "concept"]
    assert recipes["anime"]["guidance_scale"] == {"min": 6.5, "max": 7.5}
    assert recipes["concept"]["num_inference_steps"] == {"min": 60, "max": None}
    anime = {row["model"]: row for row in recipes["anime"]["models"]}
    assert (anime["z-image-turbo"]["fits"], anime["z-image-turbo"]["cost_factor"]) == (False, 8.75)
    assert (anime["z-image"]["fits"], anime["z-image"]["warning"]) == (True, None)
    one = api.get("/v1/recipes", params={"model": "z-image"}).json()["items"][1]
    assert [row["model"] for row in one["models"]] == ["z-image"]
    assert api.get("/v1/recipes", params={"model": "nothing"}).json()["code"] == "unknown_model"


def test_a_job_with_a_recipe_is_accepted_with_its_warning(api: httpx.Client) -> None:
    job = api.post("/v1/jobs", json={"prompt": "a", "recipe": "art"}).json()
    assert (job["input"]["num_inference_steps"], job["input"]["recipe"]) == (55, "art")
    assert "13.8x what the authors of demo recommend" in job["warnings"][0]
    wrong = api.post("/v1/jobs", json={"prompt": "a", "recipe": "arts"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "unknown_recipe")


def test_a_size_that_no_worker_holds_is_refused_with_the_largest_that_fits(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.overview.FRESH_SECONDS", 0.0)

    def reports(**info: object) -> None:
        assert heartbeat(worker.database, worker.name, "run-1", state="ready", info={"model": "demo", **info}) is not None

    reports(max_pixels=1024 * 1024, max_pixels_guided=768 * 768)
    small, large = {"prompt": "a", "size": "1024x1024"}, {"prompt": "a", "size": "2048x1024"}
    refused = api.post("/v1/jobs", json=large).json()
    assert refused["code"] == "size_too_large"
    assert "The largest that fits is 1440x720 (on box-cpu)" in refused["detail"]
    assert refused["errors"][0]["field"] == "size"
    assert api.post("/v1/jobs", json=small).status_code == 202
    guided = api.post("/v1/jobs", json=small | {"guidance_scale": 4})
    assert "1024x1024 with guidance" in guided.json()["detail"]
    batch = api.post("/v1/batches", json={"prompts": ["a"], "axes": {"size": ["64x64", "2048x1024"]}})
    assert (batch.status_code, batch.json()["code"]) == (422, "size_too_large")
    reports(model="another", max_pixels=1024 * 1024)
    assert api.post("/v1/jobs", json=large).json()["input"]["width"] == 2048, "no worker has reported what this model takes"
