"""An image is rendered again from its stored input, and what differs from then is said."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from db.workers import heartbeat
from tests.integration.api.conftest import BOTH
from tests.integration.api.running import WorkerSide
from tests.integration.api.test_exports import finish_all, submit
from tests.unit.imagefile import pictures

pytestmark = BOTH

RECORD = {
    "device": "cpu",
    "dtype": "float32",
    "memory_policy": "all",
    "attention_backend": "native",
    "versions": {"torch": "2.13.0", "diffusers": "0.40", "scheduler": "Euler", "compiled_blocks": "false"},
}


def report(worker: WorkerSide, **changes: object) -> None:
    info = {"model": "demo", "device_name": "cpu", **RECORD, **changes}
    assert heartbeat(worker.database, worker.name, "run-1", state="ready", info=info) is not None


def rendered(api: httpx.Client, worker: WorkerSide, **fields: Any) -> dict[str, object]:  # noqa: ANN401 -- fields of a job
    """Return a finished job whose images have RECORD."""
    job = submit(api, "a cat", **fields)
    finish_all(worker)
    done: dict[str, object] = api.get(f"/v1/jobs/{job['id']}").json()
    return done


def test_a_rerun_is_the_same_job_for_one_image(api: httpx.Client, worker: WorkerSide) -> None:
    upload = api.post("/v1/uploads", content=pictures.png(), headers={"Content-Type": "image/png"}).json()["id"]
    more = {"num_images": 3, "seed": 7, "strict": True, "negative_prompt": "bad", "guidance_scale": 2.0, "priority": 8}
    job = rendered(api, worker, init_image=upload, strength=0.5, **more)
    image = job["outputs"][1]  # type: ignore[index]
    answer = api.post(f"/v1/images/{image['id']}/rerun")
    assert answer.status_code == 202, answer.text
    again = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{again['id']}"
    assert again["input"] == job["input"] | {"seed": 8, "num_images": 1}  # type: ignore[operator]
    assert (again["priority"], again["metadata"]) == (8, {"rerun_of": image["id"]})
    finish_all(worker)
    assert api.get(f"/v1/jobs/{again['id']}").json()["status"] == "succeeded"

    # A job keeps its upload; a file that is lost is told before anything is queued.
    for path in worker.settings.uploads_dir.rglob("*.png"):
        path.unlink()
    answer = api.post(f"/v1/images/{image['id']}/rerun")
    assert (answer.status_code, answer.json()["code"]) == (410, "upload_gone")
    assert "the image that it started from was deleted" in answer.json()["detail"]
    api.delete(f"/v1/images/{image['id']}")
    assert api.post(f"/v1/images/{image['id']}/rerun").status_code == 410


def test_differences_are_named(api: httpx.Client, worker: WorkerSide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.overview.FRESH_SECONDS", 0.0)
    worker.record = RECORD | {"batch_sizes": [1, 1]}
    job = rendered(api, worker, strict=True)
    path = f"/v1/images/{job['outputs'][0]['id']}/rerun"  # type: ignore[index]
    report(worker, versions=RECORD["versions"] | {"compiled_blocks": "true", "compile_mode": "default"})  # type: ignore[operator]
    assert again(api, path) == [], "strict jobs run uncompiled"
    report(worker, versions=RECORD["versions"] | {"torch": "2.14.0"}, dtype="bfloat16")  # type: ignore[operator]
    assert again(api, path) == [
        "The number format was float32 then and is bfloat16 now: bits may differ.",
        "torch was 2.13.0 then and is 2.14.0 now: bits may differ.",
    ]
    report(worker, model="another", dtype="bfloat16", versions={"torch": "2.13.0", "scheduler": "LCM"})
    assert again(api, path) == [
        "demo is not loaded on the worker now, so number format, memory tier and weights could not be compared."
    ]
    report(worker)
    worker.record = RECORD | {"batch_sizes": [1, 3]}
    job = rendered(api, worker)
    (warning,) = again(api, f"/v1/images/{job['outputs'][0]['id']}/rerun")  # type: ignore[index]
    assert "micro-batches of up to 3 images" in warning


def again(api: httpx.Client, path: str) -> list[str]:
    answer = api.post(path)
    assert answer.status_code == 202, answer.text
    warnings: list[str] = answer.json()["warnings"]
    return warnings
