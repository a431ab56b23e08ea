"""Refinements over the API: what the job says, who may refine what, lineage, and images as start images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from core.storage import LocalImageStore
from db.tables import Job
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide

Body = dict[str, Any]
BODY: Body = {"prompt": "a red fox", "width": 64, "height": 96, "seed": 7, "num_inference_steps": 8}


def finished(api: httpx.Client, worker: WorkerSide, answer: httpx.Response) -> Body:
    """Finish the accepted job and return it."""
    assert answer.status_code == 202, answer.text
    claimed = worker.claim()
    assert claimed is not None
    worker.finish(claimed)
    found: Body = api.get(answer.headers["location"]).json()
    assert found["status"] == "succeeded"
    return found


def image_of(job: Body, index: int = 0) -> str:
    return str(job["outputs"][index]["id"])


@contextmanager
def claimed(worker: WorkerSide) -> Iterator[Job]:
    job = worker.claim()
    assert job is not None
    yield job
    worker.finish(job)


def refine(api: httpx.Client, image: str, **fields: object) -> httpx.Response:
    return api.post(f"/v1/images/{image}/refine", json=fields)


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


@BOTH
def test_hires_starts_from_the_image_itself(api: httpx.Client, worker: WorkerSide) -> None:
    draft = finished(api, worker, api.post("/v1/jobs", json=BODY | {"num_images": 2, "negative_prompt": "dog"}))
    image = image_of(draft, 1)
    job = refine(api, image, priority=7, metadata={"a": "b"}).json()
    given = job["input"]
    assert (given["width"], given["height"], given["seed"], given["num_images"]) == (128, 192, 8, 1)
    assert (given["prompt"], given["negative_prompt"], given["init_image"]) == ("a red fox", "dog", image)
    assert (given["start_sigma"], given["num_inference_steps"], given["upscaler"]) == (0.5, 4, "lanczos")
    assert job["parent"] == {"image": image, "upload": None, "mode": "hires"}
    assert (job["priority"], job["metadata"]) == (7, {"a": "b"})
    with claimed(worker) as row:
        assert row.input["init_image"] == api_image(worker, image)
        assert row.parent_image_id == image
    made = api.get(f"/v1/images/{image_of(api.get(job['urls']['self']).json())}").json()
    assert made["parent"]["image"] == image


def api_image(worker: WorkerSide, image_id: str) -> Body:
    """Return how a job's input names an image that it starts from."""
    from db.images import get_image

    image = get_image(worker.database, image_id)
    return {name: getattr(image, name) for name in ("key", "width", "height", "sha256")} | {"image_id": image_id}


@BOTH
def test_the_same_request_is_the_same_job(api: httpx.Client, worker: WorkerSide) -> None:
    image = image_of(finished(api, worker, api.post("/v1/jobs", json=BODY)))
    headers = {"Idempotency-Key": "once"}
    first = api.post(f"/v1/images/{image}/refine", json={}, headers=headers)
    again = api.post(f"/v1/images/{image}/refine", json={}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    other = api.post(f"/v1/images/{image}/refine", json={"mode": "same_seed"}, headers=headers)
    assert refused(other) == (422, "idempotency_mismatch")


def test_coherent_noise_and_new_compositions(api: httpx.Client, worker: WorkerSide) -> None:
    varied = {"variation_seed": 40, "variation_strength": 0.25, "num_images": 2}
    draft = finished(api, worker, api.post("/v1/jobs", json=BODY | varied))
    image = image_of(draft, 1)
    coherent = refine(api, image, mode="coherent", num_images=2).json()
    source = {"seed": 7, "width": 64, "height": 96, "variation_seed": 41, "variation_strength": 0.25}
    assert coherent["input"]["coherent"] == source
    assert "init_image" not in coherent["input"]
    same = refine(api, image, mode="same_seed", width=96, height=96).json()
    assert (same["input"]["seed"], same["input"]["variation_seed"]) == (7, 41)
    assert "new composition" in same["warnings"][0]
    with claimed(worker), claimed(worker):
        pass
    again = refine(api, image_of(api.get(coherent["urls"]["self"]).json()), mode="coherent").json()
    assert again["input"]["coherent"]["coherent"] == source
    assert again["input"]["coherent"]["seed"] == 7
    retried = api.post(f"/v1/jobs/{coherent['id']}/retry").json()
    assert retried["input"] == coherent["input"], "the copy renders the same bits"
    assert retried["parent"] == coherent["parent"]


def test_what_cannot_be_refined_is_refused(api: httpx.Client, worker: WorkerSide) -> None:
    image = image_of(finished(api, worker, api.post("/v1/jobs", json=BODY)))
    assert refused(refine(api, image, mode="sharper")) == (422, "invalid_parameters")
    assert refused(refine(api, image, width=100, height=128)) == (422, "invalid_parameters")
    assert refused(refine(api, image, width=64_000, height=64_000)) == (422, "invalid_parameters")
    assert refused(refine(api, image, mode="coherent", width=96, height=96)) == (422, "invalid_parameters")
    assert refused(refine(api, image, start_sigma=0.5, strength=0.4)) == (422, "invalid_parameters")
    assert refused(refine(api, image, num_images=99)) == (422, "invalid_parameters")
    assert refused(refine(api, image, upscaler="no-such-network")) == (409, "upscaler_not_served")
    assert refused(refine(api, "0199c0de-0000-7000-8000-000000000001")) == (404, "image_not_found")
    assert api.get("/v1/queue").json()["queued"] == 0
    assert api.delete(f"/v1/images/{image}").status_code == 204
    assert refused(refine(api, image)) == (410, "image_gone")
    assert refused(api.get(f"/v1/images/{image}/lineage")) == (410, "image_gone")


def test_an_image_whose_file_is_missing_is_refused(api: httpx.Client, worker: WorkerSide) -> None:
    image = image_of(finished(api, worker, api.post("/v1/jobs", json=BODY)))
    store = LocalImageStore(worker.settings.images_dir)
    for key in list(store.iter_keys()):
        store.delete(key)
    assert refused(refine(api, image)) == (422, "image_file_missing")
    assert refine(api, image, mode="coherent").status_code == 202, "noise needs no file"
    assert refused(api.post("/v1/jobs", json=BODY | {"init_image": image})) == (422, "image_file_missing")


@BOTH
def test_a_lineage_is_walked_both_ways(api: httpx.Client, worker: WorkerSide) -> None:
    root = image_of(finished(api, worker, api.post("/v1/jobs", json=BODY)))
    first = image_of(finished(api, worker, refine(api, root, mode="same_seed", width=96, height=96)))
    pair = finished(api, worker, refine(api, first, num_images=2))
    leaf = image_of(finished(api, worker, api.post("/v1/jobs", json=BODY | {"init_image": image_of(pair, 1)})))

    def lineage(image: str) -> Body:
        found: Body = api.get(f"/v1/images/{image}/lineage").json()
        return found

    whole = lineage(root)
    assert whole["ancestors"] == []
    assert [(each["id"], each["depth"], each["mode"]) for each in whole["descendants"]] == [
        (first, 1, "same_seed"),
        (image_of(pair), 2, "hires"),
        (image_of(pair, 1), 2, "hires"),
        (leaf, 3, None),
    ]
    assert whole["truncated"] is False
    up = lineage(leaf)["ancestors"]
    assert [(each["id"], each["parent"]) for each in up] == [(image_of(pair, 1), first), (first, root), (root, None)]
    assert api.delete(f"/v1/images/{first}").status_code == 204
    assert [(each["id"], each["gone"]) for each in lineage(leaf)["ancestors"]] == [(image_of(pair, 1), False), (first, True)]
    assert lineage(root)["descendants"] == []


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bound lineages at two generations and three descendants."""
    monkeypatch.setattr("db.lineage.MAX_DEPTH", 2)
    monkeypatch.setattr("db.lineage.MAX_DESCENDANTS", 3)


@BOTH
@pytest.mark.usefixtures("many")
def test_a_lineage_is_bounded(api: httpx.Client, worker: WorkerSide) -> None:
    chain = [image_of(finished(api, worker, api.post("/v1/jobs", json=BODY)))]
    for _ in range(3):
        chain.append(image_of(finished(api, worker, refine(api, chain[-1], width=64, height=96))))
    deepest, root = (api.get(f"/v1/images/{image}/lineage").json() for image in (chain[-1], chain[0]))
    assert (len(deepest["ancestors"]), deepest["truncated"]) == (2, True)
    assert (len(root["descendants"]), root["truncated"]) == (2, True)
    finished(api, worker, refine(api, chain[0], width=64, height=96, num_images=4))
    wide = api.get(f"/v1/images/{chain[0]}/lineage").json()
    assert (len(wide["descendants"]), wide["truncated"]) == (3, True)


def test_a_job_may_start_from_an_image_and_names_it_as_its_parent(api: httpx.Client, worker: WorkerSide) -> None:
    image = image_of(finished(api, worker, api.post("/v1/jobs", json=BODY)))
    job = api.post("/v1/jobs", json={"prompt": "x", "init_image": image, "strength": 0.5}).json()
    assert (job["input"]["init_image"], job["parent"]["image"]) == (image, image)
    assert (job["input"]["width"], job["input"]["height"]) == (64, 96)
    batch = api.post("/v1/batches", json={"prompts": ["y"], "base": {"init_image": image}})
    assert batch.status_code == 202, batch.text
    nobody = api.post("/v1/jobs", json={"prompt": "x", "init_image": "0199c0de-0000-7000-8000-000000000001"})
    assert refused(nobody) == (422, "upload_not_found")


def test_axes_of_a_batch_share_one_variation_seed(api: httpx.Client, worker: WorkerSide) -> None:
    axes = {"variation_strength": [0, 0.5, 1.0]}
    batch = api.post("/v1/batches", json={"prompts": ["x"], "axes": axes}).json()
    inputs = [api.get(f"/v1/jobs/{item['job_id']}").json()["input"] for item in batch["jobs"]]
    assert [each.get("variation_strength") for each in inputs] == [None, 0.5, 1.0]
    assert inputs[1]["variation_seed"] == inputs[2]["variation_seed"]
    assert len({each["seed"] for each in inputs}) == 1


def test_a1111s_subseed_is_a_variation(api: httpx.Client, worker: WorkerSide) -> None:
    import json

    with worker.working():
        sent = {"prompt": "x", "seed": 5, "subseed": 9, "subseed_strength": 0.3, "batch_size": 2, "width": 64, "height": 64}
        info = json.loads(api.post("/sdapi/v1/txt2img", json=sent).json()["info"])
        plain = json.loads(api.post("/sdapi/v1/txt2img", json=sent | {"subseed_strength": 0}).json()["info"])
    assert (info["all_seeds"], info["all_subseeds"], info["subseed_strength"]) == ([5, 5], [9, 10], 0.3)
    assert (plain["all_seeds"], plain["subseed_strength"]) == ([5, 6], 0)
    assert not any("subseed" in warning for warning in info["warnings"])
