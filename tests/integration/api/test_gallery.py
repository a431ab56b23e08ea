"""Gallery, collections, estimates, events of all jobs, history and choices over HTTP, on both databases."""

from __future__ import annotations

import json
from datetime import datetime

import httpx
import pytest

from core.settings import Settings
from db.database import Database
from db.gallery import GalleryChoice, count_gallery
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide

pytestmark = BOTH


def render(api: httpx.Client, worker: WorkerSide, prompt: str, owner: str = "ann", **fields: object) -> dict[str, object]:
    """Submit a job, finish it as a worker does, and return it."""
    body = {"prompt": prompt, "size": "64x64", **fields}
    job = api.post("/v1/jobs", json=body, headers={"X-Client-Label": owner}).json()
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    found: dict[str, object] = api.get(f"/v1/jobs/{job['id']}").json()
    return found


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_images_are_listed_by_position_and_filtered(api: httpx.Client, worker: WorkerSide) -> None:
    jobs = [render(api, worker, prompt) for prompt in ("a red fox", "a blue cat", "a red cat")]
    fox, blue, red = (job["outputs"][0]["id"] for job in jobs)  # type: ignore[index]
    first = api.get("/v1/images", params={"limit": 2, "count": True})
    assert ids(first) == [red, blue]
    assert (first.json()["total"], first.json()["anchor"]) == (3, red)
    late = render(api, worker, "a late one")["outputs"][0]["id"]  # type: ignore[index]
    assert ids(api.get("/v1/images", params={"offset": 1, "anchor": red})) == [blue, fox]
    assert ids(api.get("/v1/images", params={"q": "cat red"})) == [red]
    assert ids(api.get("/v1/images", params={"owner": "client:bob"})) == []
    assert ids(api.get("/v1/images", params={"model": "sd-turbo"})) == []
    assert ids(api.get("/v1/images", params={"lora": 'x"%'})) == []
    api.patch(f"/v1/images/{fox}", json={"rating": 4})
    assert ids(api.get("/v1/images", params={"min_rating": 4, "count": True})) == [fox]
    made = [datetime.fromisoformat(api.get(f"/v1/images/{each}").json()["created_at"]) for each in (fox, blue)]
    moment = (made[0] + (made[1] - made[0]) / 2).isoformat()
    assert ids(api.get("/v1/images", params={"until": moment})) == [fox]
    assert ids(api.get("/v1/images", params={"since": moment})) == [late, red, blue]
    assert api.get("/v1/images", params={"anchor": "x"}).json()["code"] == "invalid_input"
    assert api.get("/v1/images", params={"owner": "\x00"}).status_code == 422
    row = api.get("/v1/images", params={"limit": 1}).json()["items"][0]
    assert (row["prompt"], row["owner"], row["width"], row["kind"]) == ("a late one", "client:ann", 64, "render")


def test_images_are_counted_only_where_more_may_match(
    api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count searches all images, as the list of what matches rarely does."""
    counted: list[object] = []

    def count(database: Database, choice: GalleryChoice) -> int:
        counted.append(choice)
        return count_gallery(database, choice)

    monkeypatch.setattr("api.routes.gallery.count_gallery", count)
    for prompt in ("a fox", "a fox", "a cat"):
        render(api, worker, prompt)
    asked = [("fox", 0, 3), ("dog", 0, 3), ("fox", 1, 3), ("fox", 0, 2), ("fox", 0, 1), ("fox", 5, 3)]
    totals, counts = [], []
    for words, offset, limit in asked:
        params: dict[str, str | int] = {"q": words, "offset": offset, "limit": limit, "count": True}
        totals.append(api.get("/v1/images", params=params).json()["total"])
        counts.append(len(counted))
    assert totals == [2, 0, 2, 2, 2, 2]
    assert counts == [0, 0, 0, 1, 2, 3]


def test_collections_hold_images_until_these_are_deleted(api: httpx.Client, worker: WorkerSide) -> None:
    image = render(api, worker, "a fox")["outputs"][0]["id"]  # type: ignore[index]
    made = api.post("/v1/collections", json={"name": "foxes"})
    assert (made.status_code, made.json()["images"]) == (201, 0)
    path = f"/v1/collections/{made.json()['id']}"
    assert api.post("/v1/collections", json={"name": "foxes"}).json()["code"] == "collection_exists"
    assert api.post("/v1/collections", json={"name": " x"}).status_code == 422
    assert api.patch(path, json={"add": [image, image]}).json()["images"] == 1
    missing = "01900000-0000-7000-8000-000000000000"
    assert api.patch(path, json={"name": "others", "add": [missing]}).json()["code"] == "image_not_found"
    assert [row["name"] for row in api.get("/v1/collections").json()["items"]] == ["foxes"], "nothing was changed"
    assert api.patch(path, json={"add": ["x"]}).status_code == 422
    assert ids(api.get("/v1/images", params={"collection": made.json()["id"]})) == [image]
    bob = {"X-Client-Label": "bob"}
    assert api.patch(path, json={"name": "mine"}, headers=bob).json()["code"] == "collection_not_found"
    assert api.get("/v1/collections", headers=bob).json()["items"] == []
    assert api.patch(path, json={"name": "red foxes"}).json()["cover"] == image
    api.delete(f"/v1/images/{image}")
    [row] = api.get("/v1/collections").json()["items"]
    assert (row["name"], row["images"], row["cover"]) == ("red foxes", 0, None)
    assert api.delete(path).status_code == 204
    assert api.delete(path).json()["code"] == "collection_not_found"


def test_an_estimate_queues_nothing_and_learns_from_jobs(api: httpx.Client, worker: WorkerSide) -> None:
    body = {"prompt": "a fox", "size": "64x64", "steps": 40, "negative_prompt": "blur"}
    before = api.post("/v1/estimate", json=body).json()
    assert (before["seconds"], before["basis"], before["position"]) == (None, "none", 1)
    assert before["cost_factor"] < 1
    assert any("no effect" in warning for warning in before["warnings"])
    assert api.get("/v1/queue").json()["queued"] == 0
    render(api, worker, "a fox", steps=40)
    same = api.post("/v1/estimate", json=body).json()
    scaled = api.post("/v1/estimate", json=body | {"size": "128x128"}).json()
    assert (same["basis"], scaled["basis"]) == ("same-settings", "scaled")
    assert scaled["seconds"] == pytest.approx(4 * same["seconds"], rel=0.05, abs=0.02)
    api.post("/v1/jobs", json=body)
    assert api.post("/v1/estimate", json=body).json()["position"] == 2
    refused = api.post("/v1/estimate", json=body | {"width": 65, "height": 64})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_parameters")


def test_the_events_of_all_jobs_arrive_on_one_stream(api: httpx.Client, worker: WorkerSide) -> None:
    waiting = api.post("/v1/jobs", json={"prompt": "already here", "size": "64x64"}).json()
    seen: list[tuple[str, str]] = []
    with api.stream("GET", "/v1/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            if not line.startswith("data: "):
                continue
            data = json.loads(line.removeprefix("data: "))
            seen.append((name, data.get("status", "")))
            if seen == [("job", "queued")]:
                assert data["id"] == waiting["id"]
                claimed = worker.claim()
                assert claimed is not None
                worker.finish(claimed)
            if data.get("status") == "succeeded":
                assert len(data["outputs"]) == 1
                break
    assert ("job", "succeeded") in seen


def test_history_counts_ended_jobs_and_names_held_ones(api: httpx.Client, worker: WorkerSide, settings: Settings) -> None:
    render(api, worker, "a fox")
    api.post("/v1/jobs", json={"prompt": "waits", "size": "64x64"}, headers={"X-Client-Label": "bob"})
    found = api.get("/v1/statistics", params={"hours": 2}).json()
    assert sum(bucket["succeeded"] for bucket in found["buckets"]) == 1
    assert len(found["buckets"]) * found["bucket_seconds"] == 2 * 3600
    [ended] = [bucket for bucket in found["buckets"] if bucket["succeeded"]]
    assert ended["run_seconds"] >= 0
    assert [(row["owner"], row["queued"]) for row in found["queues"]] == [("client:bob", 1)]
    assert found["truncated"] is False


def test_choices_are_all_that_a_form_needs(api: httpx.Client) -> None:
    found = api.get("/v1/choices").json()
    assert found["session"]["signed_in"] is True
    assert found["models"] == api.get("/v1/models").json()["data"]
    for name in ("recipes", "styles", "loras", "upscalers", "wildcards"):
        assert found[name] == api.get(f"/v1/{name}").json()["items"], name
    assert api.get("/v1/keys").json() == {"items": []}
