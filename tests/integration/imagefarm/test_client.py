"""The client's calls on a running farm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults.parts import FarmParts
from core.errors import Conflict, InvalidInput, NotFound
from core.imagefile import read_metadata
from core.lifecycle import JobStatus
from core.parameters import InvalidParameters
from core.schemas.jobs import Job, JobRequest
from imagefarm import Ended, ImageFarm, ImageStored, Progressed, StatusChanged, WaitTimeout
from tests.integration.farm.client import wait_until

SMALL: dict[str, Any] = {"width": 64, "height": 64, "num_inference_steps": 4}


def test_submit_wait_and_download(farm: ImageFarm, tmp_path: Path) -> None:
    seen: list[Job] = []
    job = farm.submit("a cat", seed=7, num_images=2, metadata={"k": "v"}, **SMALL)
    assert (job.status, job.metadata, job.input["seed"]) == (JobStatus.QUEUED, {"k": "v"}, 7)
    assert job.notice is not None and "noise" in job.notice
    done = farm.wait(job, on_progress=seen.append)
    assert done.status is JobStatus.SUCCEEDED
    assert seen[-1] == done
    assert {update.status for update in seen} <= {JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED}

    files = farm.download(done, tmp_path)
    written = [read_metadata(path.read_bytes()).imagefarm for path in files]
    assert [(data.seed, data.prompt) for data in written if data] == [(7, "a cat"), (8, "a cat")]
    assert farm.download(job.id, tmp_path) == files
    assert [image.seed for image in farm.images(job)] == [7, 8]
    assert [event.to_status for event in farm.history(job).events] == ["queued", "running", "succeeded"]


def test_events_cover_the_whole_job(farm: ImageFarm) -> None:
    events = list(farm.events(farm.submit("a cat", **SMALL | {"num_inference_steps": 50})))
    assert [event.change.to_status for event in events if isinstance(event, StatusChanged)] == [
        "queued",
        "running",
        "succeeded",
    ]
    assert any(isinstance(event, Progressed) for event in events)
    assert isinstance(events[-2], ImageStored)
    assert isinstance(events[-1], Ended) and events[-1].job.status is JobStatus.SUCCEEDED


def test_wait_times_out_and_cancel_ends_the_job(farm: ImageFarm) -> None:
    job = farm.submit("long", **SMALL | {"num_inference_steps": 100})
    with pytest.raises(WaitTimeout):
        farm.wait(job, timeout_seconds=0.2)
    assert farm.get(job).status in (JobStatus.QUEUED, JobStatus.RUNNING)
    with pytest.raises(Conflict):
        farm.retry(job)
    farm.cancel(job)
    assert farm.wait(job).status is JobStatus.CANCELED
    again = farm.retry(job)
    assert again.retried_from == job.id
    farm.cancel(again)


def test_listing_jobs_fetches_all_pages(farm: ImageFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagefarm.client.PAGE", 2)
    submitted = [farm.submit(JobRequest(prompt=f"zebra {number}", **SMALL)) for number in range(5)]
    assert [job.id for job in farm.jobs(query="zebra")] == [job.id for job in reversed(submitted)]
    assert len(list(farm.jobs(query="zebra", limit=3))) == 3
    for job in submitted:
        farm.wait(job)
    assert list(farm.jobs(query="zebra", status=["failed", "queued"])) == []


def test_an_uploaded_image_can_be_the_init_image(farm: ImageFarm) -> None:
    done = farm.wait(farm.submit("a cat", **SMALL))
    upload = farm.upload(farm.content(done.outputs[0]))
    assert (upload.width, upload.height) == (64, 64)
    second = farm.submit("a dog", init_image=upload.id, strength=0.5, **SMALL)
    assert farm.wait(second).status is JobStatus.SUCCEEDED
    with pytest.raises(InvalidInput):
        farm.upload(b"GIF89a")


def test_a_batch_is_submitted_with_one_call(farm: ImageFarm) -> None:
    batch = farm.batch(["by day", "by night"], seeds=[1, 2], base=SMALL)
    assert batch.total == 4
    done = farm.batches.wait(batch)
    assert done.counts == {JobStatus.SUCCEEDED: 4}
    assert farm.batches.contact_sheet(done).startswith(b"\x89PNG")
    with pytest.raises(InvalidParameters, match="seeds"):
        farm.batch(["a"], seeds=["x"])


def test_errors_keep_their_class_code_and_fields(farm: ImageFarm) -> None:
    with pytest.raises(InvalidParameters) as caught:
        farm.submit("a cat", width=511, num_inference_steps=0)
    assert {field for field, _ in caught.value.problems} == {"width", "num_inference_steps"}
    with pytest.raises(Conflict) as refused:
        farm.submit("a cat", model="z-image-turbo")
    assert refused.value.code == "model_not_served"
    with pytest.raises(NotFound) as missing:
        farm.get("../models")
    assert missing.value.code in ("job_not_found", "not_found")


def test_workers_models_presets_and_queue_can_be_read(farm: ImageFarm) -> None:
    # A job that was canceled before may still be ending.
    wait_until(lambda: {each.model: each.state for each in farm.workers().items} == {"demo": "ready", "upscale": "ready"})
    assert farm.models().data[0].id == "demo"
    assert farm.presets().items
    assert farm.queue().held == 0
    assert farm.ready().status == "ready"
    assert farm.answers()


def test_keys_and_labels_may_hold_any_letter(running: FarmParts) -> None:
    """As a pasted key, a person's name or an idempotency key may; the farm says what it does not take."""
    with ImageFarm(running.url, "ключ", label="李雷") as client:
        job = client.submit("a cat", idempotency_key="заказ-1", **SMALL)
        assert client.get(job).owner == "client:李雷"
        assert client.submit("a cat", idempotency_key="заказ-1", **SMALL).id == job.id
    with ImageFarm(running.url, "", label="韩梅") as client:
        assert client.submit("a cat", idempotency_key="заказ-1", **SMALL).owner == "client:韩梅"
    with pytest.raises(InvalidInput, match="The API key holds a line break"):
        ImageFarm(running.url, "a\nb")
    with pytest.raises(InvalidInput, match="The API key is not UTF-8"):
        ImageFarm(running.url, os.fsdecode(b"k\xe9y"))
    with ImageFarm(running.url, " \n") as client:
        assert client.workers().items
